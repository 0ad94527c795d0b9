package policy

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// granting wraps the members of one grant in the frame of grants data.
func granting(members string) []byte {
	return []byte(`{"secrets":{"services":{"queen-rbee":[{` + members + `}]}}}`)
}

// The examples that the JSON Schema must agree about are in package rego; here are the errors' texts, and what only
// this parser refuses.
func TestParseGrantsRefuses(t *testing.T) {
	const file = `"id":"token","actions":["load_secret"],"source":"file","paths":["/a"]`
	in := func(field, what string) string {
		return fmt.Sprintf(`service "queen-rbee": grant "token": field %q: %s`, field, what)
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":               {nil, "the JSON ends too early"},
		"not JSON":              {[]byte("secrets: {}"), "invalid character"},
		"not UTF-8":             {[]byte("{\"\xff\":1}"), "not UTF-8"},
		"a tail":                {[]byte(`{} {}`), "something follows"},
		"a list":                {[]byte(`[]`), "not a JSON object"},
		"a misspelt frame":      {[]byte(`{"secret":{}}`), `unknown field "secret"; known: secrets`},
		"no services":           {[]byte(`{"secrets":{}}`), "secrets.services: want an object"},
		"services null":         {[]byte(`{"secrets":{"services":null}}`), "secrets.services: want an object"},
		"more than services":    {[]byte(`{"secrets":{"services":{},"load":{}}}`), `secrets: unknown field "load"`},
		"a service twice":       {[]byte(`{"secrets":{"services":{"a":[],"a":[]}}}`), `duplicate member "secrets.services.a"`},
		"a service no list":     {[]byte(`{"secrets":{"services":{"a":{}}}}`), `service "a": want a list`},
		"a service unnamed":     {[]byte(`{"secrets":{"services":{"":[]}}}`), `service "": a service's name`},
		"no id":                 {granting(`"actions":["load_secret"]`), `grant number 1: field "id" is missing`},
		"an empty id":           {granting(`"id":""`), `grant number 1: field "id": "" is not 1 to 100`},
		"an id twice":           {granting(file + `},{` + file), in("id", "another grant of the service has this id")},
		"a field twice":         {granting(file + `,"paths":["/b"]`), `duplicate member "secrets.services.queen-rbee.[].paths"`},
		"a field of other case": {granting(file + `,"Relax":{}`), `unknown field "Relax"`},
		"an unknown field":      {granting(file + `,"path":["/b"]`), `grant number 1: unknown field "path"`},
		"no actions":            {granting(`"id":"token","source":"file","paths":["/a"]`), `grant "token": field "actions" is missing`},
		"an unknown action":     {granting(strings.Replace(file, "load_secret", "load", 1)), in("actions", `unknown value "load"; known: ["load_secret"`)},
		"an unknown source":     {granting(strings.Replace(file, `"file"`, `"vault"`, 1)), in("source", `unknown value "vault"`)},
		"a source no string":    {granting(strings.Replace(file, `"file"`, `1`, 1)), in("source", "want a string")},
		"a relative path":       {granting(strings.Replace(file, "/a", "a", 1)), in("paths", `"a" is not an absolute path`)},
		"a path that climbs":    {granting(strings.Replace(file, "/a", "/a/../b", 1)), in("paths", `"/a/../b" is not clean; write "/b"`)},
		"a path too long":       {granting(strings.Replace(file, "/a", "/"+strings.Repeat("ä", 2100), 1)), in("paths", "")},
		"a relative directory":  {granting(file + `,"dirs":["a"]`), in("dirs", `"a" is not an absolute path`)},
		"the root":              {granting(file + `,"dirs":["/"]`), in("dirs", `"/" would be everything`)},
		"no paths":              {granting(`"id":"token","actions":["load_secret"],"source":"file"`), in("paths", "a grant for files without paths or dirs never matches")},
		"no names":              {granting(`"id":"token","actions":["load_secret"],"source":"credential"`), in("names", `a grant for source "credential" without names never matches`)},
		"an action twice":       {granting(strings.Replace(file, `"load_secret"`, `"load_key","load_key"`, 1)), in("actions", `"load_key" is listed twice`)},
		"an empty action list":  {granting(strings.Replace(file, `"load_secret"`, ``, 1)), in("actions", "a grant without an action never matches")},
		"a file with a name":    {granting(file + `,"names":["x"]`), in("names", "a file has no name")},
		"a credential's path":   {granting(`"id":"token","actions":["load_secret"],"source":"credential","names":["a/b"]`), in("names", `"a/b" is not the name of a credential`)},
		"a credential too long": {granting(`"id":"token","actions":["load_secret"],"source":"credential","names":["` + strings.Repeat("a", 256) + `"]`), in("names", "")},
		"a variable's name":     {granting(`"id":"token","actions":["load_secret"],"source":"env","names":["A-B"]`), in("names", `"A-B" is not the name of a variable`)},
		"a variable's path":     {granting(`"id":"token","actions":["load_secret"],"source":"env","names":["A"],"paths":["/a"]`), in("paths", "a variable has no path")},
		"a variable's mode":     {granting(`"id":"token","actions":["load_secret"],"source":"env","names":["A"],"relax":{"symlink":true}`), in("relax", "there is nothing to relax for a variable")},
		"a purpose for nothing": {granting(file + `,"purposes":["p"]`), in("purposes", `only action "derive_key" has a purpose`)},
		"an empty purpose":      {granting(strings.Replace(file, "load_secret", "derive_key", 1) + `,"purposes":[""]`), in("purposes", `"" is not a label`)},
		"no purposes":           {granting(strings.Replace(file, "load_secret", "derive_key", 1)), in("purposes", `action "derive_key" without purposes never matches`)},
		"an unknown relax":      {granting(file + `,"relax":{"mode":420}`), in("relax", `unknown field "mode"; known: owner, group_read`)},
		"root as owner":         {granting(file + `,"relax":{"owner":0}`), in("relax", "owner: 0 is not between 1 and 4294967294")},
		"nobody as owner":       {granting(file + `,"relax":{"owner":4294967295}`), in("relax", "owner: 4294967295 is not between")},
		"a credential's owner":  {granting(`"id":"token","actions":["load_secret"],"source":"credential","names":["a"],"relax":{"owner":1}`), in("relax", "owner: a credential belongs to root")},
		"a wrong relax":         {granting(file + `,"relax":{"group_read":"adm"}`), in("relax", "group_read: want a number")},
		"an unknown group":      {granting(file + `,"relax":{"group_read":-1}`), in("relax", "group_read: -1 is not between 0 and 4294967294")},
		"a file system unknown": {granting(file + `,"relax":{"filesystem":"unknown"}`), in("relax", `filesystem: "unknown" is not the name`)},
		"a false relax":         {granting(file + `,"relax":{"world_read":false}`), in("relax", "world_read: write true, or leave it out")},
		"a relax no string":     {granting(file + `,"relax":{"filesystem":true}`), in("relax", "filesystem: want a string")},
		"an item no string":     {granting(file + `,"dirs":[1]`), in("dirs", "want a string")},
		"a switch no boolean":   {granting(file + `,"relax":{"symlink":"true"}`), in("relax", "symlink: want a boolean")},
		"an empty require":      {granting(file + `,"require":{}`), in("require", "it requires nothing")},
		"a user required":       {granting(file + `,"require":{"uid":-1}`), in("require", "uid: -1 is not between 0 and 4294967294")},
		"a unit no string":      {granting(file + `,"require":{"unit":1}`), in("require", "unit: want a string")},
		"a template required":   {granting(file + `,"require":{"unit":"queen-rbee@.service"}`), in("require", `unit: "queen-rbee@.service" is not the full name`)},
		"a number too large":    {granting(file + `,"max_bytes":1e30`), in("max_bytes", "want a number of the right kind")},
		"nothing fits":          {granting(file + `,"min_length":9,"max_bytes":8`), in("min_length", "more than max_bytes")},
		"memory unknown":        {granting(file + `,"min_memory":"ram"`), in("min_memory", `unknown value "ram"`)},
	} {
		t.Run("POL-1004/"+name, func(t *testing.T) {
			g, err := ParseGrants(c.data)
			if g != nil || !errors.Is(err, ErrGrants) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error\n%v\nwant one with\n%s", err, c.want)
			}
		})
	}
}

func TestParseGrants(t *testing.T) {
	gid, uid := int64(990), int64(1000)
	for name, c := range map[string]struct {
		data string
		want map[string][]Grant
	}{
		"{} grants nothing": {`{}`, map[string][]Grant{}},
		"all fields": {
			`{"secrets":{"services":{"a":[],"queen-rbee":[
			{"id":"t","actions":["load_secret","derive_key"],"source":"credential","paths":["/etc/t"],"dirs":["/srv/..data"],
			 "names":["a.b c"],"purposes":["llorch-seal-key-v1"],"min_length":32,"max_bytes":100,"min_memory":"locked",
			 "relax":{"group_read":990,"world_read":true,"symlink":true,"filesystem":"nfs"}},
			{"id":"u","actions":["load_key"],"source":"file","paths":["/k"],"dirs":[],"names":[],"purposes":[],"relax":{"owner":1000}}]}}}`,
			map[string][]Grant{"a": {}, "queen-rbee": {
				{
					ID: "t", Actions: []Action{LoadSecret, DeriveKey}, Source: SourceCredential, Paths: []string{"/etc/t"},
					Dirs: []string{"/srv/..data"}, Names: []string{"a.b c"}, Purposes: []string{"llorch-seal-key-v1"},
					MinLength: 32, MaxBytes: 100, MinMemory: MemoryLocked,
					Relax: Relax{GroupRead: &gid, WorldRead: true, Symlink: true, Filesystem: "nfs"},
				},
				{ID: "u", Actions: []Action{LoadKey}, Source: SourceFile, Paths: []string{"/k"}, Relax: Relax{Owner: &uid}},
			}},
		},
		"one id in two services": {
			`{"secrets":{"services":{
			"a":[{"id":"t","actions":["load_secret"],"source":"env","names":["A"]}],
			"b":[{"id":"t","actions":["load_secret"],"source":"env","names":["A"]}]}}}`,
			map[string][]Grant{
				"a": {{ID: "t", Actions: []Action{LoadSecret}, Source: SourceEnv, Names: []string{"A"}}},
				"b": {{ID: "t", Actions: []Action{LoadSecret}, Source: SourceEnv, Names: []string{"A"}}},
			},
		},
	} {
		t.Run("POL-1004/"+name, func(t *testing.T) {
			g, err := ParseGrants([]byte(c.data))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(g.Services, c.want) {
				t.Errorf("parsed\n%+v\nwant\n%+v", g.Services, c.want)
			}
		})
	}
}

// FuzzParseGrants: whatever is accepted names a service, an action and a reference in every grant.
func FuzzParseGrants(f *testing.F) {
	f.Add(granting(`"id":"t","actions":["load_secret"],"source":"file","paths":["/a"]`))
	f.Add(granting(`"id":"t","actions":["derive_key"],"source":"credential","names":["a"],"purposes":["p"]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		grants, err := ParseGrants(data)
		if err != nil {
			if !errors.Is(err, ErrGrants) {
				t.Fatalf("%v does not match ErrGrants", err)
			}
			return
		}
		for service, list := range grants.Services {
			for _, g := range list {
				if service == "" || g.ID == "" || len(g.Actions) == 0 || len(g.Paths)+len(g.Dirs)+len(g.Names) == 0 {
					t.Fatalf("service %q: grant %+v", service, g)
				}
			}
		}
	})
}

// TestOnlyKnownFieldsAreSet: POL-1004. A field that was listed and is not read would be taken for granted.
func TestOnlyKnownFieldsAreSet(t *testing.T) {
	if err := new(Grant).set("path", []byte(`"/a"`)); err == nil {
		t.Error("a field is set that no grant has")
	}
	for _, field := range grantFields() {
		if err := new(Grant).set(field, []byte("null")); err == nil || err.Error() == "not handled" {
			t.Errorf("field %q: %v", field, err)
		}
	}
}
