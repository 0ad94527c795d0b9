package kubernetes

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

// laughs is an alias bomb: each level names the one before it nine times.
func laughs(levels int, item, list string) string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Pod\nl0: &l0 " + item + "\n")
	for i := range levels {
		fmt.Fprintf(&b, "l%d: &l%d "+list+"\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*l%d,", i), 9), ","))
	}
	return b.String()
}

// TestHostile: CHK-1109. What is made to hurt is told about with its place, in time, and the documents beside it are
// judged.
func TestHostile(t *testing.T) {
	head := "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n"
	good := "\n---\n" + strings.Replace(inContainer("env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]"), "name: p", "name: good", 1)
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	var wide strings.Builder
	for i := range 60000 {
		fmt.Fprintf(&wide, "f%d: 1\n", i)
	}
	for name, c := range map[string]struct {
		doc     string
		message string
		line    int
		column  int
	}{
		"aliases that multiply": {laughs(9, "[x]", "[%s]"), "more than 524288 values", 3, 10},
		"merges that multiply":  {laughs(9, "{a: b}", "{<<: [%s]}"), "more than 524288 values", 0, 0},
		"an alias in itself":    {head + "spec: &a [*a, *a]\n", "", 4, 0},
		"a merge of itself":     {head + "spec: &a {<<: *a}\n", "", 4, 0},
		"nested":                {head + "spec: " + deep(200) + "\n", "nested deeper than 100 levels", 4, 107},
		"nested without end":    {head + "spec: " + strings.Repeat("[", 50000) + "\n", "not YAML", 0, 0},
		"nested mappings":       {head + "spec: " + strings.Repeat("{a: ", 9000) + "\n", "", 0, 0},
		"a large document":      {head + "# " + strings.Repeat("x", maxDocument) + "\n", "larger than 1048576 bytes", 1, 1},
		"a key twice":           {head + "spec:\n  hostname: a\n  hostname: b\n", `key "hostname" is given twice`, 6, 3},
		"a key twice, escaped":  {head + "\"spec\": {}\n\"sp\\u0065c\": {}\n", `key "spec" is given twice`, 5, 1},
		"a key that is a list":  {head + "spec: {[a]: b}\n", "a key that is no text", 4, 8},
		"not UTF-8":             {head + "spec: {hostname: ä\xe9}\n", "not UTF-8", 4, 19},
		"NUL":                   {head + "spec: {hostname: a\x00}\n", "not YAML", 1, 1},
		"an escape":             {head + "spec: {hostname: a\x1b[2J}\n", "not YAML", 1, 1},
		"a wrong type":          {head + "spec: {containers: [{name: [a]}]}\n", "a text is expected here, and this is a list", 4, 28},
		"a list for a mapping":  {head + "spec: []\n", "a mapping is expected here, and this is a list", 4, 7},
		"a kind that is a list": {"apiVersion: v1\nkind: [Pod]\n", "neither apiVersion nor kind", 1, 1},
		"a list that is text":   {"apiVersion: v1\nkind: List\nitems: [x]\n", "neither apiVersion nor kind", 3, 9},
		"a name to clear":       {"apiVersion: v1\nkind: Pod\nmetadata: {name: \"x\\e[2J\"}\nspec: {containers: []}\n", "not of 1 to 255 visible ASCII", 1, 1},
		"a path with a NUL":     {asVolume(`secret: {secretName: s, items: [{key: k, path: "a\0b"}]}`), "not a path beneath the volume", 7, 70},
		"a tag":                 {head + "spec: {hostname: !!binary '%%%'}\n", "not Base64", 4, 18},
		"files without end":     {crowded(), "more than 10000 files", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			loads, findings := NewReader().Read("m.yaml", []byte(c.doc+good))
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if len(loads) != 1 || loads[0].Service != "good" {
				t.Errorf("%d loads beside it", len(loads))
			}
			bad := slices.IndexFunc(findings, descriptor.Finding.Bad)
			if bad < 0 {
				t.Fatalf("nothing is told: %+v", findings)
			}
			f := findings[bad]
			if !strings.Contains(f.Message, c.message) || c.line > 0 && f.Line != c.line || c.column > 0 && f.Column != c.column || f.Fix == "" {
				t.Errorf("%d:%d %s, fix %q", f.Line, f.Column, f.Message, f.Fix)
			}
		})
	}
	t.Run("fields without end", func(t *testing.T) {
		_, findings := NewReader().Read("m.yaml", []byte(head+"spec: {containers: []}\n"+wide.String()))
		if len(findings) != maxFindings+2 || !strings.Contains(findings[maxFindings].Message, "the rest is not listed") {
			t.Errorf("%d findings", len(findings))
		}
	})
}

// crowded is a pod in which many containers see many files.
func crowded() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  volumes:\n  - name: v\n    secret:\n      secretName: s\n      items:\n")
	for i := range 200 {
		fmt.Fprintf(&b, "      - {key: k, path: p%d}\n", i)
	}
	b.WriteString("  containers:\n")
	for i := range 100 {
		fmt.Fprintf(&b, "  - {name: c%d, image: i, volumeMounts: [{name: v, mountPath: /v}]}\n", i)
	}
	return b.String()
}

// TestHalves: CHK-1109. JSON escapes a character beyond 16 bits in halves, which YAML does not know.
func TestHalves(t *testing.T) {
	for in, want := range map[string]string{
		`{"a": "\ud83d\ude80"}`:  `{"a": "\ufffd\ufffd"}`,
		`{"a": "\\ud83d\u00e9"}`: `{"a": "\\ud83d\u00e9"}`,
		`{"a": "\uD83D"}`:        `{"a": "\ufffd"}`,
		`{"a": "\ud7ff\`:         `{"a": "\ud7ff\`,
		`a: "\ud83d"`:            `a: "\ud83d"`,
	} {
		if got := string(halves([]byte(in))); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

// TestIs: CHK-1101. What is taken for a manifest.
func TestIs(t *testing.T) {
	for text, want := range map[string]bool{
		"apiVersion: v1\nkind: Pod\n": true, "kind: Pod\r\napiVersion: v1\r\n": true, `{"kind":"Pod","apiVersion":"v1"}`: true,
		"{{ if .Values.x }}\napiVersion: v1\nkind: Pod\n{{ end }}": true, "\"apiVersion\": v1\n'kind': Pod\n": true,
		"\ufeff{\n  \"apiVersion\": \"v1\", \"kind\": \"Pod\"}": true,
		"services: []\n": false, "apiVersion: v2\nname: chart\n": false, "spec:\n  apiVersion: v1\n  kind: Pod\n": false, "": false,
		`{"name": "kind"}`: false,
	} {
		if Is([]byte(text)) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

// FuzzRead holds for every file: it ends, twice the same, each place is in the file, and no message is made of what the
// file says.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.[yj]*")
	if err != nil || len(files) < 25 {
		f.Fatalf("%d manifests, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, of := range fields {
		f.Add([]byte(of.manifest))
	}
	f.Add([]byte(laughs(4, "[x]", "[%s]")))
	f.Add([]byte(strings.ReplaceAll(inContainer("reMounts: []"), "\n", "\r"))) // a line ends there too
	f.Fuzz(func(t *testing.T, data []byte) {
		loads, findings := NewReader().Read("m", data)
		again, same := NewReader().Read("m", data)
		if !reflect.DeepEqual(loads, again) || !reflect.DeepEqual(findings, same) {
			t.Fatal("not the same twice")
		}
		lines := len(breaks.FindAll(data, -1)) + 1
		for _, l := range loads {
			for _, v := range append([]descriptor.Load{l}, l.Also...) {
				sound(t, v, lines)
			}
		}
		for _, f := range findings {
			if f.Rule == "" || f.Message == "" || len(f.Message) > 500 || f.Line < 1 || f.Line > lines || f.Column < 1 {
				t.Errorf("finding %+v of %d lines", f, lines)
			}
		}
	})
}

// breaks are those of YAML 1.1.
var breaks = regexp.MustCompile("\r\n|[\r\n\u0085\u2028\u2029]")

func sound(t *testing.T, l descriptor.Load, lines int) {
	t.Helper()
	if !descriptor.ValidService(l.Service) || l.Source == "" || l.Line < 1 || l.Line > lines || l.Column < 1 || !utf8.ValidString(l.Name+l.Path+l.Origin) {
		t.Errorf("load %+v of %d lines", l, lines)
	}
	if (l.Path == "") == (l.Name == "") || l.Path != "" && filepath.Clean(l.Path) != l.Path {
		t.Errorf("load %+v", l)
	}
	if r := l.Runtime; r != nil && (r.File.Mode&^0o777 != 0 || r.File.UID != 0 && r.File.Mode&0o077&^0o040 != 0 || len(r.Above) != strings.Count(r.Resolved, "/")) {
		t.Errorf("load %+v, %+v", l, r)
	}
}
