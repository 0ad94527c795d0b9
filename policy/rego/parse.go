package rego

import (
	"embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The default rules, and the schemas of what goes in and comes out.
var (
	//go:embed load.rego reasons.rego text.rego
	defaults embed.FS

	//go:embed schemas/*.json
	schemas embed.FS
)

// defaultDir is where the default rules lie in a bundle, apart from the files of a site.
const defaultDir = "default/"

// parse reads modules as Rego v1.
func parse(sources map[string][]byte) (map[string]*ast.Module, error) {
	modules := make(map[string]*ast.Module, len(sources))
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		module, err := parseModule(name, string(sources[name]))
		if err != nil {
			return nil, err
		}
		modules[name] = module
	}
	return modules, nil
}

func parseModule(name, source string) (*ast.Module, error) {
	module, err := ast.ParseModuleWithOpts(name, source, options(ast.RegoV1))
	if err == nil && module == nil {
		return nil, ast.Errors{ast.NewError(ast.ParseErr, ast.NewLocation(nil, name, 1, 1), "no Rego in it")}
	}
	if err == nil {
		return module, nil
	}
	if _, v0 := ast.ParseModuleWithOpts(name, source, options(ast.RegoV0)); v0 == nil {
		return nil, &oldRego{err}
	}
	return nil, err
}

// oldRego is the error about a module in the language of OPA 0.x.
type oldRego struct{ error }

const oldRegoFix = "this is Rego v0; rewrite it as v1, for example with: opa fmt --write --v0-v1"

func (e *oldRego) Unwrap() error { return e.error }

func options(version ast.RegoVersion) ast.ParserOptions {
	return ast.ParserOptions{RegoVersion: version}
}

// replacesDefaults tells whether a policy brings its own rules or relies on the default ones. One that defines only a
// part of the verdict is refused: the rest would be missing, or would be what it never meant to change.
func replacesDefaults(modules map[string]*ast.Module) (bool, error) {
	decision, mayAsk := defining(modules, "decision"), defining(modules, "may_ask")
	switch {
	case decision != nil && mayAsk != nil:
		return true, nil
	case decision != nil:
		return false, halfVerdict(decision, "decision", "may_ask")
	case mayAsk != nil:
		return false, halfVerdict(mayAsk, "may_ask", "decision")
	}
	return false, nil
}

// defining finds the first rule of package secrets.load with a name.
func defining(modules map[string]*ast.Module, name string) *ast.Rule {
	for _, file := range slices.Sorted(maps.Keys(modules)) {
		for _, rule := range modules[file].Rules {
			if rule.Ref().GroundPrefix().HasPrefix(ast.MustParseRef("data.secrets.load." + name)) {
				return rule
			}
		}
	}
	return nil
}

func halfVerdict(rule *ast.Rule, has, lacks string) error {
	return ast.Errors{ast.NewError(ast.CompileErr, rule.Location,
		"%s replaces the default rules, which then lack %s; to add denials, add to %s instead", has, lacks, siteReasons)}
}

// addDefaults adds the default rules to modules and returns sources with theirs.
func addDefaults(sources map[string][]byte, modules map[string]*ast.Module) (map[string][]byte, error) {
	all := map[string][]byte{}
	maps.Copy(all, sources)
	entries, err := defaults.ReadDir(".")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		name := defaultDir + entry.Name()
		if all[name] != nil {
			return nil, fmt.Errorf("%s: this name belongs to the default rules", name)
		}
		if all[name], err = defaults.ReadFile(entry.Name()); err != nil {
			return nil, err
		}
		if modules[name], err = parseModule(name, string(all[name])); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// misplaced reports a module that is outside of the bundle's root.
func misplaced(module *ast.Module) ast.Errors {
	if module.Package.Path.HasPrefix(ast.MustParseRef("data.secrets")) {
		return nil
	}
	return ast.Errors{ast.NewError(ast.CompileErr, module.Package.Location,
		"package %s: a policy lives in package secrets.load, or in one beneath secrets",
		strings.TrimPrefix(module.Package.Path.String(), "data."))}
}

// positioned words OPA's errors with the folder, which OPA does not know, and the column, which OPA itself leaves out.
func positioned(src *Source, err error) error {
	var list ast.Errors
	if !errors.As(err, &list) {
		return err
	}
	lines := make([]string, 0, len(list))
	for _, e := range list {
		line := e.Code + ": " + e.Message
		if e.Location != nil {
			line = fmt.Sprintf("%s:%d:%d: %s", src.place(e.Location.File), e.Location.Row, e.Location.Col, line)
		}
		if e.Details != nil {
			line += "\n\t" + strings.Join(e.Details.Lines(), "\n\t")
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	var old *oldRego
	if errors.As(err, &old) {
		lines = append(lines, oldRegoFix)
	}
	return errors.New(strings.Join(lines, "\n"))
}

// Schemas are the JSON schemas of the contract by file name: of the input, of a result, and of the grants in data.json.
func Schemas() map[string][]byte {
	all := map[string][]byte{}
	for _, name := range []string{"grants.json", "input.json", "result.json"} {
		all[name], _ = schemas.ReadFile("schemas/" + name) // embedded above
	}
	return all
}
