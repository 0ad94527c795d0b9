package rego

import (
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/llorch/secrets-management/internal/spelling"
	"github.com/llorch/secrets-management/policy"
)

// siteReasons is the set that a site adds its denials to.
const siteReasons = "site_reasons"

// unused reports every rule of the sources that neither entrypoint comes to. To Rego a misspelt name is just another
// rule: a denial under it would never deny, and nobody would be told.
func unused(compiler *ast.Compiler, sources map[string][]byte) ast.Errors {
	used := reached(compiler)
	var errs ast.Errors
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		module := compiler.Modules[name]
		inPackage := policyPackage(module)
		seen := map[string]bool{}
		if !inPackage && !slices.ContainsFunc(module.Rules, func(rule *ast.Rule) bool { return used[rule] }) {
			errs = append(errs, ast.NewError(ast.CompileErr, module.Package.Location,
				"package %s is used by nothing; did you mean package secrets.load?", packageName(module)))
			continue
		}
		for _, rule := range module.Rules {
			if name := ruleName(rule); !used[rule] && !seen[name] {
				seen[name] = true
				errs = append(errs, ast.NewError(ast.CompileErr, rule.Location, "rule %q is used by nothing%s",
					name, meant(name, names(compiler, used, module, inPackage))))
			}
		}
	}
	return errs
}

// merged reports every rule of the sources that adds to a rule of the default ones, but for the set that is there for it.
// Rego joins rules of one name: a site's helper that happens to be called like one of theirs would loosen it.
func merged(modules map[string]*ast.Module, sources map[string][]byte) ast.Errors {
	theirs := map[string]bool{}
	for name, module := range modules {
		if _, own := sources[name]; !own && policyPackage(module) {
			for _, rule := range module.Rules {
				theirs[ruleName(rule)] = true
			}
		}
	}
	delete(theirs, siteReasons)
	var errs ast.Errors
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		for _, rule := range modules[name].Rules {
			if policyPackage(modules[name]) && theirs[ruleName(rule)] {
				errs = append(errs, ast.NewError(ast.CompileErr, rule.Location,
					"rule %q belongs to the default rules and would change them; choose another name", ruleName(rule)))
			}
		}
	}
	return errs
}

// undefined reports every reference of the sources to data that is neither a rule nor grants. It has no value, ever, and
// so has whatever depends on it. Only beside the default rules is it known what data there is.
func undefined(compiler *ast.Compiler, sources map[string][]byte) ast.Errors {
	var errs ast.Errors
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		ast.WalkRefs(compiler.Modules[name], func(ref ast.Ref) bool {
			known := !ref.HasPrefix(ast.Ref{ast.DefaultRootDocument}) || ref.HasPrefix(ast.MustParseRef("data.secrets.services")) ||
				len(compiler.GetRulesDynamicWithOpts(ref, ast.RulesOptions{})) > 0 || ref.Equal(compiler.Modules[name].Package.Path)
			if !known {
				errs = append(errs, ast.NewError(ast.CompileErr, ref[0].Location, "%s is defined by nothing", ref.GroundPrefix()))
			}
			return false
		})
	}
	return errs
}

// reached follows the compiler's graph of rules from the entrypoints.
func reached(compiler *ast.Compiler) map[*ast.Rule]bool {
	used := map[*ast.Rule]bool{}
	var todo []*ast.Rule
	for _, entrypoint := range []string{policy.EntrypointDecision, policy.EntrypointMayAsk} {
		todo = append(todo, compiler.GetRules(ast.MustParseRef("data."+strings.ReplaceAll(entrypoint, "/", ".")))...)
	}
	for len(todo) > 0 {
		rule := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if used[rule] {
			continue
		}
		used[rule] = true
		if rule.Else != nil {
			todo = append(todo, rule.Else)
		}
		for node := range compiler.Graph.Dependencies(util.T(rule)) {
			if next, ok := node.(*ast.Rule); ok {
				todo = append(todo, next)
			}
		}
	}
	return used
}

// names lists the rules that the author of a module can have meant, the one for denials first.
func names(compiler *ast.Compiler, used map[*ast.Rule]bool, module *ast.Module, inPackage bool) []string {
	var list []string
	for rule := range used {
		if rule.Module.Package.Equal(module.Package) {
			list = append(list, ruleName(rule))
		}
	}
	slices.Sort(list)
	if inPackage && len(compiler.GetRules(ast.MustParseRef("data.secrets.load."+siteReasons))) > 0 {
		list = append([]string{siteReasons}, list...)
	}
	return list
}

// meant says what to do about a rule that is used by nothing.
func meant(name string, known []string) string {
	switch near := spelling.Closest(name, known); {
	case strings.HasPrefix(name, "test_"):
		return "; tests belong in a file whose name ends in _test.rego"
	case near != "" && near != name:
		return "; did you mean " + near + "?"
	case slices.Contains(known, siteReasons):
		return "; to add denials, add to " + siteReasons
	}
	return ""
}

func ruleName(rule *ast.Rule) string { return rule.Head.Ref().GroundPrefix().String() }

func packageName(module *ast.Module) string {
	return strings.TrimPrefix(module.Package.Path.String(), "data.")
}

// policyPackage reports whether a module is part of the package that holds the entrypoints.
func policyPackage(module *ast.Module) bool {
	return module.Package.Path.Equal(ast.MustParseRef("data.secrets.load"))
}
