package inventory

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/policy"
)

// Evidence for CHK-1030.
func TestCHK1030Read(t *testing.T) {
	loads, findings := Read("i.yaml", []byte(`services:
  - service: queen-rbee
    uid: 990
    loads:
      - {action: load_secret, source: file, path: /etc/llorch/secrets/api-token}
      - {action: derive_key, source: credential, name: worker_token, purpose: seal-v1}
  - {service: idle, uid: 0, loads: []}
`))
	if len(findings) != 0 || len(loads) != 2 {
		t.Fatalf("%v %v", loads, findings)
	}
	a, b := loads[0], loads[1]
	if a.Service != "queen-rbee" || a.UID != 990 || a.Action != policy.LoadSecret || a.Source != policy.SourceFile ||
		a.Path != "/etc/llorch/secrets/api-token" || a.Line != 5 || a.Column != 51 {
		t.Errorf("%+v", a)
	}
	if b.Name != "worker_token" || b.Purpose != "seal-v1" || b.Action != policy.DeriveKey || b.Line != 6 || b.File != "i.yaml" {
		t.Errorf("%+v", b)
	}
}

// faults are complete files, or loads of a service, with the place and a part of the message.
var faults = []struct{ text, want string }{
	{"", "1:1: the file is empty"},
	{"---\n", "2:1: expected a mapping"},
	{"- a\n", "1:1: expected a mapping"},
	{"services: [\n", "1:1: not YAML"},
	{"a: b: c\n", "1:1: not YAML"},
	{"services: []\n---\nservices: []\n", "2:1: more than one"},
	{"services: []\nservices: []\n", `2:1: key "services" is given twice`},
	{"servces: []\n", `1:1: unknown key "servces"`},
	{"{}\n", `1:1: key "services" is missing`},
	{"services: {web: {}}\n", "1:11: services is not a list"},
	{"services: [&a {}]\n", "1:12: anchors and aliases"},
	{"services: [{<<: {}}]\n", `1:13: unknown key "<<"`},
	{"services: [{service: a, uid: 1}]\n", `1:12: key "loads" is missing`},
	{"services: [{service: a, loads: []}]\n", `1:12: key "uid" is missing: it is required`},
	{"services: [{service: a b, uid: 1, loads: []}]\n", "1:22: service is not a name"},
	{"services: [{service: 1, uid: 1, loads: []}]\n", "1:22: service is not a text"},
	{"services: [{service: a, uid: -1, loads: []}]\n", "1:30: uid is not"},
	{"services: [{service: a, uid: \"1\", loads: []}]\n", "1:30: uid is not"},
	{"services: [{service: a, uid: 4294967296, loads: []}]\n", "1:30: uid is not"},
	{"{action: steal, source: env, name: A}", `4:16: action "steal" is none of`},
	{"{action: load_secret, source: vault, name: A}", `4:37: source "vault" is none of`},
	{"{action: \"\\e[2J" + strings.Repeat("a", 999) + "\", source: env}", `4:16: action "\x1b[2J` + strings.Repeat("a", 60) + `" is none of`},
	{"{action: load_secret, source: env}", `4:7: key "name" is missing`},
	{"{action: load_secret, source: env, name: A, path: /x}", "4:57: a load from source env has a name, not a path"},
	{"{action: load_secret, source: file, path: /x, name: A}", "4:59: a load from source file has a path, not a name"},
	{"{action: load_secret, source: file, path: x}", "4:49: path is not absolute and clean"},
	{"{action: load_secret, source: file, path: /x/../y}", "4:49: path is not absolute and clean"},
	{"{action: load_secret, source: file, path: /x/}", "4:49: path is not absolute and clean"},
	{"{action: load_secret, source: file, path: \"/x\\0\"}", "4:49: path is not absolute and clean"},
	{"{action: load_secret, source: credential, name: ..}", "4:55: name is not"},
	{"{action: load_secret, source: credential, name: a/b}", "4:55: name is not"},
	{"{action: load_secret, source: env, name: [A]}", "4:48: name is not a text"},
	{"{action: derive_key, source: credential, name: a}", "4:7: purpose belongs to derive_key"},
	{"{action: load_key, source: credential, name: a, purpose: p}", "4:7: purpose belongs to derive_key"},
	{"{action: derive_key, source: credential, name: a, purpose: 1}", "4:66: purpose is not a text"},
}

// Evidence for CHK-1030.
func TestCHK1030Faults(t *testing.T) {
	for _, c := range faults {
		text := c.text
		if strings.HasPrefix(text, "{action") { // a load, put on line 4 from column 7
			text = "services:\n- {service: a, uid: 1,\n   loads: [\n      " + text + "]}\n"
		}
		loads, findings := Read("i.yaml", []byte(text))
		if len(loads) != 0 || len(findings) != 1 {
			t.Errorf("%q: %d loads, findings %v", text, len(loads), findings)
			continue
		}
		f := findings[0]
		if got := fmt.Sprintf("%d:%d: %s", f.Line, f.Column, f.Message); !strings.HasPrefix(got, c.want) {
			t.Errorf("%q: got %q, want %q", text, got, c.want)
		}
		if !f.Bad() || f.File != "i.yaml" || f.Fix == "" {
			t.Errorf("%q: %+v", text, f)
		}
	}
}

// Evidence for CHK-1031.
func TestCHK1031IsInventory(t *testing.T) {
	for text, want := range map[string]bool{
		"services: []":           true,
		"services: [":            true, // told as a fault rather than passed over
		"services: {web: {}}":    false,
		"apiVersion: v1":         false,
		"- services: []":         false,
		"a: 1\nservices:\n- b\n": true,
	} {
		if IsInventory([]byte(text)) != want {
			t.Errorf("%q: want %v", text, want)
		}
	}
}

// FuzzRead holds for every file: no panic, and either loads or one finding, with places inside the file.
func FuzzRead(f *testing.F) {
	for _, c := range faults {
		f.Add([]byte(c.text))
	}
	f.Add([]byte("services: [{service: a, uid: 1, loads: [{action: load_key, source: file, path: /x}]}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		loads, findings := Read("i.yaml", data)
		if len(findings) > 1 || len(findings) == 1 && len(loads) > 0 {
			t.Fatalf("%d loads, %d findings", len(loads), len(findings))
		}
		for _, l := range loads {
			if l.Line < 1 || l.Column < 1 || l.Service == "" || l.Action == "" || l.Name+l.Path == "" {
				t.Errorf("%+v", l)
			}
		}
		IsInventory(data)
	})
}

func TestExampleInComment(t *testing.T) {
	source, err := os.ReadFile("inventory.go")
	if err != nil {
		t.Fatal(err)
	}
	var example strings.Builder
	for line := range strings.Lines(string(source)) {
		if text, ok := strings.CutPrefix(line, "//\t"); ok {
			example.WriteString(text)
		}
	}
	loads, findings := Read(filepath.Base("doc"), []byte(example.String()))
	if len(loads) != 2 || len(findings) != 0 {
		t.Errorf("the example of the package comment: %v %v", loads, findings)
	}
}
