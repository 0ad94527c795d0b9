package rego

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/llorch/secrets-management/policy"
)

// compiled returns one of the schemas, ready to validate.
func compiled(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	raw, err := schemas.ReadFile("schemas/" + name)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(name, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// grantExamples are the members of one grant, and whether it is a good one.
var grantExamples = []struct {
	members string
	good    bool
}{
	{`"id":"a","actions":["load_secret"],"source":"file"`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":[],"dirs":[]`, false},
	{`"id":"a","actions":[],"source":"file","paths":["/a"]`, false},
	{`"id":"a","source":"file","paths":["/a"]`, false},
	{`"actions":["load_secret"],"source":"file","paths":["/a"]`, false},
	{`"id":"a","actions":["load_secret"],"paths":["/a"]`, false},
	{`"id":"","actions":["load_secret"],"source":"file","paths":["/a"]`, false},
	{`"id":"a b","actions":["load_secret"],"source":"file","paths":["/a"]`, false},
	{`"id":7,"actions":["load_secret"],"source":"file","paths":["/a"]`, false},
	{`"id":null,"actions":["load_secret"],"source":"file","paths":["/a"]`, false},
	{`"ID":"a","id":"a","actions":["load_secret"],"source":"file","paths":["/a"]`, false},
	{`"Id":"a","actions":["load_secret"],"source":"file","paths":["/a"]`, false},
	{`"id":"a","actions":["load"],"source":"file","paths":["/a"]`, false},
	{`"id":"a","actions":"load_secret","source":"file","paths":["/a"]`, false},
	{`"id":"a","actions":["load_secret","load_secret"],"source":"file","paths":["/a"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"vault","paths":["/a"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["a"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a/"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a//b"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a/./b"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a/../b"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a/.."]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a\u0000"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a\n"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a","/a"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":"/a"`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":[null]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","dirs":["relative"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","dirs":["/"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"names":["x"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"purposes":["x"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","path":["/a"],"paths":["/a"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"credential"`, false},
	{`"id":"a","actions":["load_secret"],"source":"credential","names":[]`, false},
	{`"id":"a","actions":["load_secret"],"source":"credential","names":[""]`, false},
	{`"id":"a","actions":["load_secret"],"source":"credential","names":["a/b"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"credential","names":["a:b"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"credential","names":[".."]`, false},
	{`"id":"a","actions":["load_secret"],"source":"credential","names":["ä"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"env","names":["A-B"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"env","names":["A"],"paths":["/a"]`, false},
	{`"id":"a","actions":["load_secret"],"source":"env","names":["A"],"relax":{"symlink":true}`, false},
	{`"id":"a","actions":["derive_key"],"source":"file","paths":["/a"]`, false},
	{`"id":"a","actions":["derive_key"],"source":"file","paths":["/a"],"purposes":[""]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"relax":null`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"relax":{"mode":"0644"}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"relax":{"group_read":-1}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"relax":{"group_read":4294967295}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"relax":{"group_read":"adm"}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"relax":{"group_read":1.5}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"relax":{"owner":0}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"relax":{"owner":4294967295}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"relax":{"owner":"1000"}`, false},
	{`"id":"a","actions":["load_secret"],"source":"credential","names":["a"],"relax":{"owner":1000}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"relax":{"world_read":false}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"relax":{"symlink":"yes"}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"relax":{"filesystem":"unknown"}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"relax":{"filesystem":""}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"relax":{"filesystem":["nfs"]}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"max_bytes":0`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"max_bytes":1048577`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"min_length":-1`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"min_length":"8"`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"min_memory":"ram"`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"min_memory":null`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":null`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":[]`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"exe":"/a"}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"uid":"990"}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"uid":-1}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"uid":4294967295}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"uid":null}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"unit":""}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"unit":"queen-rbee"}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"unit":"queen-rbee.socket"}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"unit":"queen@.service"}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"unit":"@a.service"}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"unit":"a/b.service"}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"unit":"a b.service"}`, false},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"unit":7}`, false},

	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"uid":0}`, true},
	{`"id":"a","actions":["load_secret"],"source":"env","names":["A"],"require":{"uid":990,"unit":"getty@tty1.service"}`, true},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"require":{"unit":"dev-disk\\x2dby_a:b.c.service"}`, true},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/etc/llorch/secrets/api-token"]`, true},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a/..data","/a/.b","/...","/a b/ü"]`, true},
	{`"id":"queen.token_1-a","actions":["load_secret","load_key"],"source":"file","dirs":["/srv/x"],"paths":[],"names":[],"purposes":[],"relax":{}`, true},
	{`"id":"a","actions":["derive_key","load_secret"],"source":"file","paths":["/a"],"purposes":["llorch-seal-key-v1"]`, true},
	{`"id":"a","actions":["load_secret"],"source":"credential","names":["a.b c","api_token"]`, true},
	{`"id":"a","actions":["load_secret"],"source":"credential","names":["x"],"paths":["/a"],"dirs":["/b"]`, true},
	{`"id":"a","actions":["load_secret"],"source":"env","names":["LLORCH_API_TOKEN"],"relax":{}`, true},
	{`"id":"a","actions":["load_key"],"source":"file","paths":["/a"],"relax":{"owner":1000,"group_read":990,"world_read":true,"symlink":true,"filesystem":"nfs"}`, true},
	{`"id":"a","actions":["load_secret"],"source":"credential","names":["a"],"relax":{"group_read":990}`, true},
	{`"id":"a","actions":["load_secret"],"source":"file","paths":["/a"],"min_length":32,"max_bytes":1048576,"min_memory":"memfd_secret"`, true},
}

func TestSchemaAndParserAgreeOnGrants(t *testing.T) {
	schema := compiled(t, "grants.json")
	for i, example := range grantExamples {
		data := fmt.Sprintf(`{"secrets":{"services":{"queen-rbee":[{%s}]}}}`, example.members)
		t.Run(fmt.Sprintf("POL-1004/%d", i), func(t *testing.T) {
			agree(t, schema, data, example.good)
		})
	}
	for i, example := range []struct {
		data string
		good bool
	}{
		{`[]`, false},
		{`{"services":{}}`, false},
		{`{"secrets":{}}`, false},
		{`{"secrets":null}`, false},
		{`{"secrets":{"services":{},"more":1}}`, false},
		{`{"secrets":{"services":[]}}`, false},
		{`{"secrets":{"services":{"a":{}}}}`, false},
		{`{"secrets":{"services":{"":[]}}}`, false},
		{`{"secrets":{"services":{"a b":[]}}}`, false},
		{`{"secrets":{"services":{"a":[null]}}}`, false},
		{`{"secrets":{"services":{"a":[]}}}`, true},
		{`{"secrets":{"services":{}}}`, true},
		{`{}`, true},
	} {
		t.Run(fmt.Sprintf("POL-1004/frame %d", i), func(t *testing.T) {
			agree(t, schema, example.data, example.good)
		})
	}
}

func agree(t *testing.T, schema *jsonschema.Schema, data string, good bool) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); (err == nil) != good {
		t.Errorf("schema on %s: %v, want good: %v", data, err, good)
	}
	_, err = policy.ParseGrants([]byte(data))
	if (err == nil) != good {
		t.Errorf("parser on %s: %v, want good: %v", data, err, good)
	}
	if err != nil && !errors.Is(err, policy.ErrGrants) {
		t.Errorf("%v does not match ErrGrants", err)
	}
}

// TestFixturesFollowTheInputSchema ties the requests of these tests to the contract.
func TestFixturesFollowTheInputSchema(t *testing.T) {
	schema := compiled(t, "input.json")
	for name, in := range requests(t) {
		if err := schema.Validate(in); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := fileRequest(t)
	remove(broken, "resource.file.acl")
	if schema.Validate(broken) == nil {
		t.Error("the schema accepts a request without acl")
	}
}
