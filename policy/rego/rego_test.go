package rego

import (
	"bytes"
	"context"
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
	modules, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := addDefaults(nil, modules); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"load_test.rego", "fixtures_test.rego"} {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if modules[name], err = parseModule(name, string(source)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, store := context.Background(), inmem.New()
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
	if ran < leastRegoTests {
		t.Errorf("%d Rego tests ran, want at least %d", ran, leastRegoTests)
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
