package inventory

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// cases are inventories, in order and not, of which a schema can tell which.
var cases = map[string]bool{
	"services: []": true,
	"services: [{service: a, uid: 0, loads: []}]":          true,
	"services: [{service: a, uid: 4294967295, loads: []}]": true,
	"services: [{service: a, uid: 4294967296, loads: []}]": false,
	"services: [{service: a, uid: -1, loads: []}]":         false,
	"services: [{service: a, uid: '0', loads: []}]":        false,
	"services: [{service: a, uid: 1.5, loads: []}]":        false,
	"services: [{service: a b, uid: 0, loads: []}]":        false,
	"services: [{service: ä, uid: 0, loads: []}]":          false,
	"services: [{service: '', uid: 0, loads: []}]":         false,
	"services: [{service: 7, uid: 0, loads: []}]":          false,
	"services: [{service: a, loads: []}]":                  false,
	"services: [{uid: 0, loads: []}]":                      false,
	"services: [{service: a, uid: 0}]":                     false,
	"services: [{service: a, uid: 0, loads: [], more: 1}]": false,
	"services: {}":          false,
	"service: []":           false,
	"services: []\nmore: 1": false,
	"[]":                    false,
	load("action: load_secret, source: file, path: /a"):                                     true,
	load("action: load_secret, source: file, path: /"):                                      true,
	load("action: load_secret, source: file, path: /a/.b/..c/...d/e."):                      true,
	load("action: load_secret, source: file, path: /a//b"):                                  false,
	load("action: load_secret, source: file, path: /a/./b"):                                 false,
	load("action: load_secret, source: file, path: /a/../b"):                                false,
	load("action: load_secret, source: file, path: /a/.."):                                  false,
	load("action: load_secret, source: file, path: /a/"):                                    false,
	load("action: load_secret, source: file, path: a"):                                      false,
	load("action: load_secret, source: file, path: '/a b'"):                                 true,
	load("action: load_secret, source: file"):                                               false,
	load("action: load_secret, source: file, path: /a, name: a"):                            false,
	load("action: load_key, source: credential, name: a"):                                   true,
	load("action: load_key, source: credential, name: 'a b'"):                               true,
	load("action: load_key, source: credential, name: a/b"):                                 false,
	load("action: load_key, source: credential, name: a=b"):                                 false,
	load("action: load_key, source: credential, name: 'a:b'"):                               false,
	load("action: load_key, source: credential, name: .."):                                  false,
	load("action: load_key, source: credential, name: ..."):                                 true,
	load("action: load_key, source: credential, name: " + strings.Repeat("a", 255)):         true,
	load("action: load_key, source: credential, name: " + strings.Repeat("a", 256)):         false,
	load("action: load_key, source: credential, path: /a"):                                  false,
	load("action: load_key, source: env, name: A"):                                          true,
	load("action: load_key, source: network, name: A"):                                      false,
	load("action: steal, source: env, name: A"):                                             false,
	load("source: env, name: A"):                                                            false,
	load("action: load_key, name: A"):                                                       false,
	load("action: derive_key, source: env, name: A, purpose: p-v1"):                         true,
	load("action: derive_key, source: env, name: A"):                                        false,
	load("action: derive_key, source: env, name: A, purpose: ''"):                           false,
	load("action: load_key, source: env, name: A, purpose: p-v1"):                           false,
	load("action: load_key, source: env, name: A, mode: 0400"):                              false,
	load("action: load_secret, source: file, path: /" + strings.Repeat("a/", 2046) + "ab"):  true,
	load("action: load_secret, source: file, path: /" + strings.Repeat("a/", 2046) + "abc"): false,
}

func load(fields string) string { return "services: [{service: a, uid: 0, loads: [{" + fields + "}]}]" }

// TestSchema: CHK-1132. The published schema takes and refuses what the reader does.
func TestSchema(t *testing.T) {
	data, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("inventory.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("inventory.json")
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for text, want := range cases {
		_, findings := Read("i", []byte(text))
		if read := len(findings) == 0; read != want {
			t.Errorf("%s: the reader takes it: %v", text, read)
		}
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(instance); (err == nil) != want {
			t.Errorf("%s: the schema: %v", text, err)
		}
		if want {
			taken++
		}
	}
	if taken < 10 || len(cases)-taken < 30 {
		t.Errorf("%d of %d taken: too little is shown", taken, len(cases))
	}
}
