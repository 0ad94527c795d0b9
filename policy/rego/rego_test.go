package rego

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
)

// leastRegoTests keeps an emptied test file from passing.
const leastRegoTests = 60

func TestDefaultRulesPassTheirRegoTests(t *testing.T) {
	runRegoTests(t, leastRegoTests, "load_test.rego", "fixtures_test.rego")
}

// TestExampleSiteRulesPassTheirTests runs what the README tells authors to run, on what they are shown.
func TestExampleSiteRulesPassTheirTests(t *testing.T) {
	const dir = "../../examples/policy/"
	runRegoTests(t, 2, dir+"site.rego", dir+"site_test.rego", dir+"data.json")
}

// runRegoTests runs the tests in files, beside the default rules, with OPA's own runner.
func runRegoTests(t *testing.T, least int, files ...string) {
	t.Helper()
	modules, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := addDefaults(nil, modules); err != nil {
		t.Fatal(err)
	}
	data := map[string]any{}
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(name) == ".json" {
			err = json.Unmarshal(source, &data)
		} else {
			modules[name], err = parseModule(name, string(source))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, store := context.Background(), inmem.NewFromObject(data)
	txn, err := store.NewTransaction(ctx, storage.TransactionParams{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Abort(ctx, txn)
	compiler := ast.NewCompiler().WithStrict(true).WithCapabilities(capabilities())
	results, err := tester.NewRunner().SetCompiler(compiler).SetStore(store).SetModules(modules).RunTests(ctx, txn)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for result := range results {
		ran++
		if !result.Pass() {
			t.Errorf("%s:%d: %s: %v", result.Location.File, result.Location.Row, result.Name, result)
		}
	}
	if ran < least {
		t.Errorf("%d Rego tests ran, want at least %d", ran, least)
	}
}

func TestRegoIsFormatted(t *testing.T) {
	names, err := filepath.Glob("*.rego")
	if err != nil || len(names) != 5 {
		t.Fatalf("%d Rego files, want 5: %v", len(names), err)
	}
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		formatted, err := format.SourceWithOpts(name, source, format.Opts{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(source, formatted) {
			t.Errorf("%s is not formatted: run opa fmt", name)
		}
	}
}
