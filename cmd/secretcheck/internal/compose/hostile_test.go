package compose

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
	b.WriteString("x-l0: &l0 " + item + "\n")
	for i := range levels {
		fmt.Fprintf(&b, "x-l%d: &l%d "+list+"\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*l%d,", i), 9), ","))
	}
	return b.String()
}

// TestHostile: CHK-1125. What is made to hurt is told about with its place, in time, and loads nothing.
func TestHostile(t *testing.T) {
	app := service("secrets: [s]") + top
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	var many strings.Builder
	for i := range 200 {
		fmt.Fprintf(&many, "  s%d: {image: i, extends: s%d}\n", i, i+1)
	}
	for name, c := range map[string]struct {
		files   map[string]string
		message string
		file    string
		line    int
		column  int
	}{
		"aliases that multiply":  {one(laughs(9, "[x]", "[%s]") + app), "more than 65536 values", "", 0, 0},
		"merges that multiply":   {one(laughs(9, "{a: b}", "{<<: [%s]}") + app), "more than 65536 values", "", 0, 0},
		"an alias in itself":     {one("x-a: &a [*a, *a]\n" + app), "", "compose.yaml", 0, 0},
		"a merge of itself":      {one("x-a: &a {<<: *a}\n" + app), "", "compose.yaml", 0, 0},
		"nested":                 {one("x-a: " + deep(200) + "\n" + app), "nested deeper than 64 levels", "compose.yaml", 1, 70},
		"nested without end":     {one("x-a: " + strings.Repeat("[", 50000) + "\n"), "not YAML", "", 0, 0},
		"nested mappings":        {one("x-a: " + strings.Repeat("{a: ", 9000) + "\n"), "", "", 0, 0},
		"a key twice":            {one("services:\n  app:\n    image: a\n    image: b\n"), `key "image" is given twice`, "compose.yaml", 4, 5},
		"a key twice, escaped":   {one("services:\n  app:\n    image: a\n    \"im\\u0061ge\": b\n"), `key "image" is given twice`, "compose.yaml", 4, 5},
		"a key that is a list":   {one("services: {[a]: b}\n"), "a key that is no text", "compose.yaml", 1, 12},
		"not UTF-8":              {one("services: {ä\xe9: {}}\n"), "not UTF-8", "compose.yaml", 1, 13},
		"NUL":                    {one("services: {a\x00: {}}\n"), "not YAML", "", 0, 0},
		"an escape":              {one("services: {a\x1b[2J: {}}\n"), "not YAML", "", 0, 0},
		"an escape in a name":    {one("services: {\"a\\e[2J\": {image: i}}\n"), "", "compose.yaml", 0, 0},
		"a text for a mapping":   {one("services: text\n"), `for "services"`, "compose.yaml", 1, 11},
		"a list for a mapping":   {one("services: {app: [a]}\n"), `for "app"`, "compose.yaml", 1, 17},
		"a number for a text":    {one("services: {app: {image: 7}}\n"), `for "image"`, "compose.yaml", 1, 25},
		"a mapping for a secret": {one("services: {app: {image: i, secrets: {s: x}}}\n"), `for "secrets"`, "compose.yaml", 1, 37},
		"a secret that is text":  {one(service("secrets: [s]") + "secrets: {s: ./x}\n"), `for "s"`, "compose.yaml", 3, 14},
		"an unknown key":         {one("services:\n  app:\n    image: i\n    secret: [s]\n"), `no key "secret"`, "compose.yaml", 4, 5},
		"an unknown section":     {one("service: {}\n" + app), `no key "service"`, "compose.yaml", 1, 1},
		"not a mapping":          {one("- services: {}\n"), "a mapping", "compose.yaml", 1, 1},
		"nothing":                {one("# nothing\n"), "", "compose.yaml", 1, 1},
		"a template":             {one("services: {app: {image: '${'}}\n"), "not the form of a variable", "compose.yaml", 1, 25},
		"a required variable":    {one("services: {app: {image: '${TAG:?canary}'}}\n"), "a variable that has to be set, TAG, is not", "compose.yaml", 1, 25},
		"an undefined secret":    {one("services:\n  app:\n    image: i\n    secrets:\n      - nobody\n"), "no secret of that name", "compose.yaml", 5, 9},
		"an undefined config":    {one("services:\n  app:\n    image: i\n    configs: [nobody]\n"), "no config of that name", "compose.yaml", 4, 15},
		"a uid that is text":     {one(service("secrets: [{source: e, uid: root}]") + top), "uid is not a number", "compose.yaml", 2, 46},
		"a wrong action":         {one(service("x-secretcheck-action: 's:steal'") + top), "is not NAME:load_secret", "compose.yaml", 2, 41},
		"a subject to clear":     {one(service("x-secretcheck-service: \"x\\e[2J\"") + top), "not of 1 to 255 visible ASCII", "compose.yaml", 2, 8},
		"extends of nobody":      {one(service("extends: nobody")), "no service of that name", "compose.yaml", 2, 28},
		"extends of a number":    {one(service("extends: {file: [1], service: x}")), "not what extends takes", "compose.yaml", 2, 28},
		"extends in a circle":    {one("services:\n  a: {image: i, extends: b}\n  b: {image: i, extends: a}\n"), "extend each other", "compose.yaml", 2, 26},
		"extends without end":    {one("services:\n" + many.String() + "  s200: {image: i}\n"), "more than 64 times", "", 0, 0},
		"includes in a circle": {
			map[string]string{"compose.yaml": "include: [b.yaml]\n" + app, "b.yaml": "include: [compose.yaml]\nservices: {}\n"},
			"include each other", "b.yaml", 1, 11,
		},
		"an include of itself":    {one("include: [compose.yaml]\n" + app), "include each other", "compose.yaml", 1, 11},
		"a remote include":        {one("include: ['https://github.com/canary/x.git']\n" + app), "nothing is fetched", "compose.yaml", 1, 11},
		"a remote artifact":       {one("include: ['oci://registry.example.com/x:1']\n" + app), "nothing is fetched", "compose.yaml", 1, 11},
		"a remote base":           {one(service("extends: {file: 'git@github.com:x/y.git', service: s}")), "nothing is fetched", "compose.yaml", 2, 35},
		"an include from outside": {one("include: [../../../../../../etc/passwd]\n" + app), "outside of the folder", "compose.yaml", 1, 11},
		"an absolute include":     {one("include: [/etc/passwd]\n" + app), "outside of the folder", "compose.yaml", 1, 11},
		"extends from outside":    {one(service("extends: {file: /etc/passwd, service: root}")), "outside of the folder", "compose.yaml", 2, 35},
		"extends through a link":  {one(service("extends: {file: link.yaml, service: root}")), "outside of the folder", "compose.yaml", 2, 35},
		"an env_file of outside":  {one("include: [{path: ok.yaml, env_file: /etc/passwd}]\n" + app), "outside of the folder", "compose.yaml", 1, 37},
		"an include in the home":  {one("include: ['~/x.yaml']\n" + app), "not the path of a file", "compose.yaml", 1, 11},
		"an include that is not":  {one("include: [nothing.yaml]\n" + app), "cannot be read", "compose.yaml", 1, 11},
		"a fault in an include":   {map[string]string{"compose.yaml": "include: [b.yaml]\n" + app, "b.yaml": "services:\n  b: {immage: x}\n"}, `no key "immage"`, "b.yaml", 2, 7},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.yaml")); err != nil {
				t.Fatal(err)
			}
			files := map[string]string{dir + "/ok.yaml": "services: {ok: {image: i}}\n"}
			for f, content := range c.files {
				files[filepath.Join(dir, f)] = content
			}
			start := time.Now()
			r := Read(written(t, dir, files))
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			bad := slices.IndexFunc(r.Findings, descriptor.Finding.Bad)
			if bad < 0 || len(r.Loads) != 0 {
				t.Fatalf("%d loads, %+v", len(r.Loads), r.Findings)
			}
			f := r.Findings[bad]
			if !strings.Contains(f.Message, c.message) || c.file != "" && f.File != c.file || c.line > 0 && (f.Line != c.line || f.Column != c.column) || f.Fix == "" {
				t.Errorf("%s:%d:%d %s, fix %q", f.File, f.Line, f.Column, f.Message, f.Fix)
			}
			if strings.Contains(fmt.Sprintf("%+v", r), "canary") {
				t.Errorf("a value is repeated: %+v", r)
			}
		})
	}
}

func one(text string) map[string]string { return map[string]string{"compose.yaml": text} }

// TestIs: CHK-1120. What is taken for a Compose file: an inventory has a list under services.
func TestIs(t *testing.T) {
	for text, want := range map[string]bool{
		"services:\n  a:\n    image: i\n": true, "# x\nservices:   # all\n\n  # first\n  a: {image: i}\n": true, "services: {a: {image: i}}\n": true,
		"\"services\":\r\n  a:\r\n": true, "version: '3'\nservices:\n  a-b.c:\n    image: i\n": true, `{"services": {"a": {"image": "i"}}}`: true,
		"include:\n  - a.yaml\n": true, "name: x\nservices: &all\n  a: {}\n": true,
		"services:\n  - service: a\n": false, "services:\n- service: a\n": false, "services: []\n": false, "service:\n  a: b\n": false, "a:\n  services:\n    b: c\n": false,
		"include:\n  - project: x\n": false, "": false,
	} {
		if Is([]byte(text)) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

// breaks are the ends of lines in YAML.
var breaks = regexp.MustCompile("\r\n|[\n\r\u0085\u2028\u2029]")

// FuzzRead holds for every file: reading ends, twice the same, each place is in a file of the project, and no message is
// made of what a file says.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*compose.y*")
	if err != nil || len(files) < 25 {
		f.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, c := range carriers {
		f.Add([]byte(c.project))
	}
	f.Add([]byte(laughs(4, "[x]", "[%s]")))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := Project{Files: []File{{"/p/compose.yaml", data}}, Within: "/p", Read: func(string) ([]byte, error) { return nil, os.ErrNotExist }, Name: filepath.Base}
		r, again := Read(p), Read(p)
		if !reflect.DeepEqual(r, again) {
			t.Fatalf("not the same twice:\n%+v\n%+v", r, again)
		}
		lines := len(breaks.FindAll(data, -1)) + 1
		for _, l := range r.Loads {
			for _, v := range append([]descriptor.Load{l}, l.Also...) {
				if !descriptor.ValidService(v.Service) || v.Source != "file" || v.Line < 1 || v.Line > lines || v.Column < 1 || !filepath.IsAbs(v.Path) ||
					filepath.Clean(v.Path) != v.Path || !utf8.ValidString(v.Path+v.Origin) {
					t.Errorf("load %+v of %d lines", v, lines)
				}
			}
		}
		for _, f := range r.Findings {
			if f.Rule == "" || f.Message == "" || len(f.Message) > 500 || f.Line < 1 || f.Line > lines || f.Column < 1 {
				t.Errorf("finding %+v of %d lines", f, lines)
			}
		}
	})
}
