package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/test/cases"
)

// testCase is one of OPA's with the version of Rego that it is written in.
type testCase struct {
	cases.TestCase
	version ast.RegoVersion
}

func (c *testCase) String() string { return fmt.Sprintf("%v/%s", c.version, c.Note) }

// load reads the cases of the module in a folder.
func load(dir string) ([]testCase, error) {
	var all []testCase
	for name, version := range map[string]ast.RegoVersion{"v0": ast.RegoV0, "v1": ast.RegoV1} {
		set, err := cases.Load(filepath.Join(dir, "v1/test/cases/testdata", name))
		if err != nil {
			return nil, err
		}
		for _, c := range set.Sorted().Cases {
			all = append(all, testCase{c, version})
		}
	}
	return all, nil
}

// compile makes Wasm of the case as OPA does for its own runtime.
func (c *testCase) compile(ctx context.Context) ([]byte, error) {
	opts := []func(*rego.Rego){
		rego.Query(c.Query), rego.SetRegoVersion(c.version),
		rego.Capabilities(ast.CapabilitiesForThisVersion(ast.CapabilitiesExperimentalKeywords(c.ExperimentalKeywords))),
	}
	for i, module := range c.Modules {
		opts = append(opts, rego.Module(fmt.Sprintf("module-%d.rego", i), module))
	}
	out, err := rego.New(opts...).Compile(ctx)
	if err != nil {
		return nil, err
	}
	return out.Bytes, nil
}
