package rego

import (
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/llorch/secrets-management/policy"
)

// reasonMembers are those of a reason in the result contract, all of them required.
func reasonMembers() []string { return []string{"code", "fix", "message", "severity"} }

var reasonCode = regexp.MustCompile("^[a-z0-9_]+$")

// malformedReasons finds what a site adds to its reasons and no decision may hold. In force it would turn every decision
// in which it applies into an error; what stands there as a literal can be told before.
func malformedReasons(modules map[string]*ast.Module) ast.Errors {
	var errs ast.Errors
	for _, module := range modules {
		if !policyPackage(module) {
			continue
		}
		for _, rule := range module.Rules {
			if ruleName(rule) != siteReasons || rule.Head.Key == nil {
				continue
			}
			if reason, literal := rule.Head.Key.Value.(ast.Object); literal {
				errs = append(errs, malformedReason(rule.Head.Key.Location, reason)...)
			}
		}
	}
	return errs
}

func malformedReason(at *ast.Location, reason ast.Object) ast.Errors {
	var errs ast.Errors
	missing := reasonMembers()
	reason.Foreach(func(key, value *ast.Term) {
		name, literal := key.Value.(ast.String)
		if !literal {
			return
		}
		if !slices.Contains(missing, string(name)) {
			errs = append(errs, ast.NewError(ast.CompileErr, key.Location,
				"a reason has no member %q; its members are %s", string(name), strings.Join(reasonMembers(), ", ")))
			return
		}
		missing = slices.DeleteFunc(missing, func(m string) bool { return m == string(name) })
		if fault := badMember(string(name), value.Value); fault != "" {
			errs = append(errs, ast.NewError(ast.CompileErr, value.Location, "%s", fault))
		}
	})
	if len(errs) == 0 && len(missing) > 0 && reason.IsGround() {
		errs = append(errs, ast.NewError(ast.CompileErr, at, "a reason needs also %s", strings.Join(missing, ", ")))
	}
	return errs
}

// badMember says what is wrong with a member's literal value; what is worked out is not looked at.
func badMember(name string, value ast.Value) string {
	text, isText := value.(ast.String)
	switch value.(type) {
	case ast.Null, ast.Boolean, ast.Number, *ast.Array, ast.Object, ast.Set:
		return "the " + name + " of a reason is a string"
	}
	switch {
	case !isText:
	case name == "code" && (len(text) > 64 || !reasonCode.MatchString(string(text))):
		return "the code of a reason is 1 to 64 of a-z, 0-9 and _"
	case name == "severity" && !slices.Contains(severities(), policy.Severity(text)):
		return "the severity of a reason is error, warning or note"
	}
	return ""
}

func severities() []policy.Severity {
	return []policy.Severity{policy.SeverityError, policy.SeverityWarning, policy.SeverityNote}
}
