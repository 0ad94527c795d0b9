package rego

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/llorch/secrets-management/policy"
)

// hazard is a builtin that can be called with sound arguments and yet gives nothing, in the Wasm that OPA compiles. Then
// the rule that the call stands in has no value, and a denial in it denies nothing. OPA's own evaluator can be told to make
// that an error; Wasm cannot.
type hazard struct {
	operands   []int // those that decide; what is written out there has been tried
	fails, fix string
}

// silent lists them. TestSilentBuiltins measures that these are all.
func silent() map[string]hazard {
	const literal = "write it out"
	first, second := []int{0}, []int{1}
	pattern := hazard{first, "has no value for a damaged pattern, or matches by another one", literal}
	return map[string]hazard{
		"base64.decode":                    {first, "has no value for a text that is not base64, or empty", "compare with base64.encode of what is expected"},
		"base64.is_valid":                  {first, "differs from OPA for an empty text and for some that are not base64", "compare with base64.encode of what is expected"},
		"base64url.decode":                 {first, "has no value for a text that is not base64, or empty", "compare with base64url.encode of what is expected"},
		"bits.lsh":                         {second, "has no value for a negative number of bits", literal},
		"bits.rsh":                         {second, "has no value for a negative number of bits", literal},
		"div":                              {second, "has no value, or ends the decision, when the divisor is 0", "multiply the other side instead"},
		"format_int":                       {[]int{0, 1}, "ends the decision for a number beyond 31 bits", `sprintf("%d", [number])`},
		"glob.match":                       pattern,
		"indexof":                          {second, "differs from OPA for an empty text", "contains, startswith or split"},
		"json.unmarshal":                   {first, "has no value for a text that is not JSON", "keep values in data.json as values, not as text"},
		"object.union_n":                   {first, "has no value for an empty list", "object.union, or {} in front of the list"},
		"regex.find_all_string_submatch_n": pattern,
		"regex.match":                      pattern,
		"rem":                              {second, "has no value when the divisor is 0", literal},
		"replace":                          {second, "never ends for an empty text", literal},
		"substring":                        {second, "has no value for a negative offset", "write it out, or startswith, trim_prefix or split"},
		"to_number":                        {first, "has no value for a text that is no number", "use the numbers of the input, and numbers in data.json"},
	}
}

// slow lists the builtins of which one call takes longer than a usual decision, because they compile an expression each
// time. TestSlowBuiltins measures that these are all.
func slow() []string {
	return []string{"glob.match", "regex.find_all_string_submatch_n", "regex.is_valid", "regex.match"}
}

// hazards finds the calls of both kinds.
func hazards(src *Source, module *ast.Module) []Finding {
	var findings []Finding
	warn := func(rule string, at *ast.Location, message, fix string) {
		findings = append(findings, Finding{
			Rule: rule, Severity: policy.SeverityWarning, File: src.place(at.File), Line: at.Row, Column: at.Col, Message: message, Fix: fix,
		})
	}
	dangers, tedious := silent(), slow()
	eachCall(module, func(name string, operands []*ast.Term, at *ast.Location) {
		if h, ok := dangers[name]; ok && h.depends(operands) {
			warn(RuleSilentBuiltin, at, name+" "+h.fails+", and the rule around it is lost in silence", h.fix)
		}
		if slices.Contains(tedious, name) {
			warn(RuleSlowBuiltin, at, name+" compiles its expression in every decision, which takes longer than the decision",
				"startswith, endswith, contains, or split and a comparison of the parts")
		}
	})
	return findings
}

// depends reports whether an operand that decides is worked out at run time.
func (h hazard) depends(operands []*ast.Term) bool {
	return slices.ContainsFunc(h.operands, func(i int) bool { return i < len(operands) && !ast.IsConstant(operands[i].Value) })
}

// eachCall goes through all calls of a module as it was written.
func eachCall(module *ast.Module, f func(name string, operands []*ast.Term, at *ast.Location)) {
	ast.WalkTerms(module, func(t *ast.Term) bool {
		if call, ok := t.Value.(ast.Call); ok {
			f(operator(call[0]), call[1:], t.Location)
		}
		return false
	})
	ast.WalkExprs(module, func(e *ast.Expr) bool {
		if terms, ok := e.Terms.([]*ast.Term); ok {
			f(operator(terms[0]), terms[1:], e.Location)
		}
		return false
	})
}

func operator(t *ast.Term) string { return strings.TrimSpace(t.Value.String()) }
