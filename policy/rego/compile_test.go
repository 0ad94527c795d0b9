package rego

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/compile"

	"github.com/llorch/secrets-management/policy"
)

// ownRules is the smallest policy that brings its own verdict.
const ownRules = `package secrets.load

default may_ask := false

may_ask if input.subject.service == "a"

decision := {"allow": false, "grants": [], "obligations": {"max_bytes": 0, "min_length": 0, "min_memory": ""}, "reasons": []}
`

// helped is a module of a site whose denial needs helpers: a rule, a function with an else, and another package.
const helped = `package secrets.load

import data.secrets.acme

site_reasons contains {"code": "b", "message": spoken(input.action), "severity": "error", "fix": ""} if {
	in_production
	acme.strict
}

in_production if input.context.environment == "production"

spoken(action) := "a key" if {
	action == "load_key"
} else := "a secret"
`

const acme = "package secrets.acme\n\ndefault strict := false\n\nstrict if input.resource.source == \"env\"\n"

// denial is a rule as a site writes it, under a name.
func denial(name string) string {
	return name + ` contains {"code": "a", "message": "", "severity": "error", "fix": ""} if input.resource.source == "env"` + "\n"
}

func TestBadSourcesAreRefused(t *testing.T) {
	own := func(rule string) map[string][]byte {
		return map[string][]byte{"own.rego": []byte(ownRules), "site.rego": []byte("package secrets.load\n\n" + rule + "\n")}
	}
	module := func(name, source string) map[string][]byte { return map[string][]byte{name: []byte(source)} }
	reason := func(object string) map[string][]byte {
		return module("a.rego", "package secrets.load\n\nsite_reasons contains "+object+" if input.action == \"load_key\"\n")
	}
	for _, c := range []struct {
		id, name string
		src      Source
		want     string
	}{
		{"POL-1007", "http.send", Source{Modules: own(`x := http.send({"url": "http://a"})`)}, "site.rego:3:6: rego_compile_error: builtin http.send is not available"},
		{"POL-1007", "opa.runtime", Source{Modules: own(`x := opa.runtime()`)}, "site.rego:3:6: rego_compile_error: builtin opa.runtime"},
		{"POL-1007", "time.now_ns", Source{Modules: own("x if {\n\ttime.now_ns() > 1\n}")}, "site.rego:4:2: rego_compile_error: builtin time.now_ns"},
		{"POL-1007", "rand.intn", Source{Modules: own(`x := rand.intn("a", 3)`)}, "builtin rand.intn"},
		{"POL-1007", "net.lookup_ip_addr", Source{Modules: own(`x := net.lookup_ip_addr("a")`)}, "builtin net.lookup_ip_addr"},
		{"POL-1007", "within a call", Source{Modules: own(`x := concat("", [urlquery.encode("a"), "a"])`)}, "site.rego:3:18: rego_compile_error: builtin urlquery.encode"},
		{"POL-1007", "in a comprehension", Source{Modules: own(`x := [y | y := uuid.rfc4122("a")]`)}, "builtin uuid.rfc4122"},
		{"POL-1008", "misspelt input", Source{Modules: own(`x if input.subject.servce == "a"`)}, "site.rego:3:6: rego_type_error: undefined ref: input.subject.servce"},
		{"POL-1008", "misspelt fact", Source{Modules: own(`x if input.resource.file.modes == 1`)}, "undefined ref: input.resource.file.modes"},
		{"POL-1008", "mode compared with a string", Source{Modules: own(`x if input.resource.file.mode == "0600"`)}, "rego_type_error: match error"},
		{"POL-1008", "unknown function", Source{Modules: own(`x if granted("a")`)}, "rego_type_error: undefined function granted"},
		{"POL-1008", "unused variable", Source{Modules: own("x if {\n\ty := 1\n}")}, "site.rego:4:2: rego_compile_error: assigned var y unused"},
		{"POL-1008", "no Rego", Source{Modules: module("a.rego", "policy { allow }")}, "a.rego:1:1: rego_parse_error"},
		{"POL-1008", "Rego v0", Source{Modules: module("a.rego", "package secrets.load\n\nmay_ask { true }\n")}, "this is Rego v0"},
		{"POL-1008", "empty module", Source{Modules: module("a.rego", "")}, "a.rego"},
		{"POL-1008", "other package", Source{Modules: module("a.rego", "package example\n\nx := 1\n")}, "a.rego:1:1: rego_compile_error: package example"},
		{
			"POL-1008", "own verdict without may_ask",
			Source{Modules: module("a.rego", "package secrets.load\n\ndecision := {}\n")},
			"a.rego:3:1: rego_compile_error: decision replaces the default rules, which then lack may_ask; to add denials, add to site_reasons instead",
		},
		{
			"POL-1008", "own may_ask without verdict",
			Source{Modules: module("a.rego", "package secrets.load\n\nmay_ask if input.api == \"v1\"\n")},
			"a.rego:3:1: rego_compile_error: may_ask replaces the default rules, which then lack decision",
		},
		{"POL-1008", "folder", Source{Dir: "acme/policy", Modules: module("a.rego", "package secrets.load\n\nnonsense\n")}, "acme/policy/a.rego:3:1: rego_parse_error"},
		{
			"POL-1008", "misspelt rule",
			Source{Modules: module("a.rego", "package secrets.load\n\n"+denial("site_reason"))},
			`a.rego:3:1: rego_compile_error: rule "site_reason" is used by nothing; did you mean site_reasons?`,
		},
		{
			"POL-1008", "another rule",
			Source{Modules: module("a.rego", "package secrets.load\n\n"+denial("deny"))},
			`a.rego:3:1: rego_compile_error: rule "deny" is used by nothing; to add denials, add to site_reasons`,
		},
		{
			"POL-1008", "misspelt helper",
			Source{Modules: module("a.rego", "package secrets.load\n\n"+denial("site_reasons")+"\nin_prodution if input.action == \"\"\n")},
			`rule "in_prodution" is used by nothing`,
		},
		{
			"POL-1008", "misspelt package",
			Source{Modules: module("a.rego", "package secrets.loads\n\n"+denial("site_reasons"))},
			"a.rego:1:1: rego_compile_error: package secrets.loads is used by nothing; did you mean package secrets.load?",
		},
		{
			"POL-1008", "helper that loosens a default rule",
			Source{Modules: module("a.rego", "package secrets.load\n\n"+denial("site_reasons")+"\nown_uid(12345)\n")},
			`a.rego:5:1: rego_compile_error: rule "own_uid" belongs to the default rules and would change them`,
		},
		{"POL-1008", "misspelt package without rules", Source{Modules: module("a.rego", "package secrets.loads\n")}, "a.rego:1:1: rego_compile_error: package secrets.loads is used by nothing"},
		{"POL-1008", "denials beside an own verdict", Source{Modules: own(denial("site_reasons"))}, `site.rego:3:1: rego_compile_error: rule "site_reasons" is used by nothing`},
		{"POL-1008", "a rule used by itself only", Source{Modules: own("a if b\n\nb if {\n\tinput.api == \"v1\"\n}\n")}, `site.rego:3:1: rego_compile_error: rule "a" is used by nothing`},
		{"POL-1008", "reference to another package", Source{Modules: module("a.rego", helped)}, "a.rego:7:2: rego_compile_error: data.secrets.acme.strict is defined by nothing"},
		{"POL-1008", "a test among the rules", Source{Modules: module("a.rego", "package secrets.load\n\ntest_a if input.api == \"v1\"\n")}, "_test.rego"},
		{
			"POL-1008", "reason with a foreign member",
			Source{Modules: reason(`{"code": "a", "message": "", "severity": "error", "fix": "", "why": ""}`)},
			`a.rego:3:84: rego_compile_error: a reason has no member "why"; its members are code, fix, message, severity`,
		},
		{"POL-1008", "reason of a code alone", Source{Modules: reason(`{"code": "a"}`)}, `a.rego:3:23: rego_compile_error: a reason needs also fix, message, severity`},
		{"POL-1008", "reason without a fix", Source{Modules: reason(`{"code": "a", "message": "", "severity": "error"}`)}, `a.rego:3:23: rego_compile_error: a reason needs also fix`},
		{"POL-1008", "reason of a bad severity", Source{Modules: reason(`{"code": "a", "message": input.action, "severity": "fatal", "fix": ""}`)}, "the severity of a reason is error, warning or note"},
		{"POL-1008", "reason of a bad code", Source{Modules: reason(`{"code": "In-Prod", "message": "", "severity": "error", "fix": ""}`)}, "the code of a reason is 1 to 64 of a-z, 0-9 and _"},
		{"POL-1008", "reason with a number", Source{Modules: reason(`{"code": "a", "message": 1, "severity": "error", "fix": ""}`)}, "the message of a reason is a string"},
		{"POL-1004", "broken grants", Source{Dir: "acme", Data: []byte("{\"secrets\": {\n\t\"services\": {}\n\t]}\n}")}, "acme/data.json:3:2: invalid character ']' after object key:value pair"},
		{"POL-1008", "name of a default module", Source{Modules: module("default/load.rego", "package secrets.load\n")}, "belongs to the default rules"},
		{"POL-1004", "bad grants", Source{Data: []byte(`{"secrets":{"services":{"a":[{"id":"x"}]}}}`)}, `data.json: invalid grants: service "a": grant "x": field "source" is missing`},
		{"POL-1005", "data that is no object", Source{Modules: module("own.rego", ownRules), Data: []byte(`[]`)}, "data.json:1:1: not a JSON object"},
		{"POL-1005", "repeated data", Source{Modules: module("own.rego", ownRules), Data: []byte(`{"a":1,"a":2}`)}, `data.json:1:8: duplicate member "a"`},
		{"POL-1005", "path out of the bundle", Source{Modules: module("../own.rego", ownRules)}, "leads out of the bundle"},
	} {
		t.Run(c.id+"/"+c.name, func(t *testing.T) {
			b, err := Build(context.Background(), c.src)
			if err == nil || b != nil {
				t.Fatal("built")
			}
			if !errors.Is(err, ErrSource) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error\n%v\nwant\n%s", err, c.want)
			}
		})
	}
}

func TestHelpersOfASiteAreUsed(t *testing.T) {
	t.Run("POL-1008", func(t *testing.T) {
		b := open(t, Source{Modules: map[string][]byte{
			"a.rego": []byte(helped), "acme/acme.rego": []byte(acme), "note.rego": []byte("# Nothing yet.\npackage secrets.load\n"),
		}})
		if ReplacesDefaults(b) {
			t.Error("a site's denials are taken for rules of its own")
		}
		if b := open(t, Source{Modules: map[string][]byte{"own.rego": []byte(ownRules)}}); !ReplacesDefaults(b) {
			t.Error("a policy with a verdict of its own is taken for the default one")
		}
	})
}

func TestBadGrantsMatchTheirSentinel(t *testing.T) {
	_, err := Build(context.Background(), Source{Data: []byte(`{"secret":{}}`)})
	if !errors.Is(err, policy.ErrGrants) {
		t.Errorf("%v does not match ErrGrants", err)
	}
}

func TestNothingRewritesTheWasm(t *testing.T) {
	t.Setenv("EXPERIMENTAL_WASM_OPT", "1")
	if _, err := Default(context.Background()); err == nil {
		t.Error("built although OPA would have called another program")
	}
}

func TestBuildsAreReproducible(t *testing.T) {
	t.Run("POL-1006", func(t *testing.T) {
		src := Source{Name: "n", Data: []byte(testGrants), Modules: map[string][]byte{
			"b.rego": []byte("package secrets.load\n\n" + denial("site_reasons")), "a.rego": []byte(helped), "c.rego": []byte(acme),
		}}
		first := archive(t, src)
		for range 5 {
			if !bytes.Equal(first, archive(t, src)) {
				t.Fatal("two builds of the same source differ")
			}
		}
		src.Data = bytes.Replace(src.Data, []byte("token-file"), []byte("token-folder"), 1)
		if bytes.Equal(first, archive(t, src)) {
			t.Fatal("builds of different sources are equal")
		}
	})
}

func archive(t *testing.T, src Source) []byte {
	t.Helper()
	b, err := Build(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestEmbeddedDefaultIsFresh(t *testing.T) {
	t.Run("POL-1006", func(t *testing.T) {
		fresh, err := Default(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		raw, err := fresh.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		sum := fmt.Sprintf("%x\n", sha256.Sum256(fresh.Wasm))
		for name, want := range map[string][]byte{"default.tar.gz": raw, "default.sha256": []byte(sum)} {
			committed, err := os.ReadFile("../" + name)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(committed, want) {
				t.Errorf("policy/%s is not what the rules compile to; run: go generate ./policy/rego", name)
			}
		}
		if !bytes.Equal(raw, archive(t, Source{Name: "default"})) {
			t.Error("without rules of its own a policy has another module than the default one")
		}
	})
}

// TestDefaultRulesRun opens what was built in the sandbox, which refuses a guest that needs anything from its host.
func TestDefaultRulesRun(t *testing.T) {
	t.Run("POL-1007", func(t *testing.T) {
		open(t, Source{Data: []byte(testGrants)})
	})
}

func open(t *testing.T, src Source) *policy.Bundle {
	t.Helper()
	b, err := policy.ReadBundle(archive(t, src))
	if err != nil {
		t.Fatal(err)
	}
	limits := policy.Limits{Deadline: 10 * time.Second} // which a busy machine does not reach
	e, err := policy.Open(context.Background(), b, policy.Options{Interpreter: true, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
	return b
}

func TestBundleSaysWhatItIs(t *testing.T) {
	src := Source{Name: "acme", Data: []byte(testGrants), Modules: map[string][]byte{"site/a.rego": []byte(helped), "site/c.rego": []byte(acme)}}
	b := open(t, src)
	t.Run("POL-1005", func(t *testing.T) {
		if b.Manifest.Metadata != (policy.Metadata{API: "v1", Name: "acme"}) || !slices.Equal(b.Manifest.Roots, []string{"secrets"}) {
			t.Errorf("manifest %+v", b.Manifest)
		}
		if len(b.Manifest.Revision) != 16 {
			t.Errorf("revision %q", b.Manifest.Revision)
		}
		if string(b.Data) != testGrants {
			t.Error("the data is not what was given")
		}
		for _, name := range []string{"default/load.rego", "default/reasons.rego", "default/text.rego", "site/a.rego"} {
			if len(b.Rego[name]) == 0 {
				t.Errorf("no %s for explanations", name)
			}
		}
		if bytes.Contains(b.Wasm, []byte("token-file")) {
			t.Error("the grants are compiled into the policy")
		}
	})
}

// TestStockBundleIsRead builds with OPA's own compiler and writer, as `opa build -t wasm` does.
func TestStockBundleIsRead(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "own.rego", ownRules)
	write(t, dir, "data.json", testGrants)
	var out bytes.Buffer
	err := compile.New().WithTarget("wasm").WithPaths(dir).WithOutput(&out).
		WithEntrypoints(policy.EntrypointDecision, policy.EntrypointMayAsk).Build(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("POL-1005", func(t *testing.T) {
		b, err := policy.ReadBundle(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Wasm) == 0 || !bytes.Contains(b.Data, []byte("token-file")) {
			t.Errorf("read %d bytes of Wasm and data %s", len(b.Wasm), b.Data)
		}
		e, err := policy.Open(context.Background(), b, policy.Options{Interpreter: true})
		if err != nil {
			t.Fatal(err)
		}
		e.Close()
	})
	t.Run("POL-1005/one entrypoint is not enough", func(t *testing.T) {
		out.Reset()
		err := compile.New().WithTarget("wasm").WithPaths(dir).WithOutput(&out).
			WithEntrypoints(policy.EntrypointDecision).Build(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := policy.ReadBundle(out.Bytes()); !errors.Is(err, policy.ErrBundle) {
			t.Errorf("%v, want ErrBundle", err)
		}
	})
}

func TestReadDir(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "data.json", testGrants)
	write(t, dir, "site.rego", "package secrets.load\n\n"+denial("site_reasons"))
	write(t, dir, "sub/more.rego", "package secrets.load\n\n"+denial("site_reasons"))
	write(t, dir, "site_test.rego", "package secrets.load_test\n\ntest_a if false\n")
	write(t, dir, ".git/x.rego", "not Rego")
	write(t, dir, "README.md", "# about")
	src, err := ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(src.Modules) != 2 || src.Modules["site.rego"] == nil || src.Modules["sub/more.rego"] == nil || string(src.Data) != testGrants {
		t.Errorf("read %d modules and %d bytes of data", len(src.Modules), len(src.Data))
	}
	open(t, src)
}

func TestReadDirRefuses(t *testing.T) {
	for name, prepare := range map[string]func(dir string){
		"no folder":             func(dir string) { _ = os.RemoveAll(dir) },
		"nothing":               func(string) {},
		"only tests":            func(dir string) { write(t, dir, "a_test.rego", "package a") },
		"data in a sub-folder":  func(dir string) { write(t, dir, "sub/data.json", "{}") },
		"data as YAML":          func(dir string) { write(t, dir, "data.yaml", "a: 1") },
		"a module too large":    func(dir string) { write(t, dir, "a.rego", strings.Repeat("#", maxModuleBytes+1)) },
		"a folder named a.rego": func(dir string) { write(t, dir, "a.rego/x.txt", "") },
		"a dangling link":       func(dir string) { _ = os.Symlink("absent", filepath.Join(dir, "a.rego")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			prepare(dir)
			if src, err := ReadDir(dir); !errors.Is(err, ErrSource) {
				t.Errorf("read %+v, %v", src, err)
			}
		})
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
