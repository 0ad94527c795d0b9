package rego

import (
	"fmt"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"
)

// TestNativeBuiltinsNeedNoHost opens a policy that calls every builtin that is let through: the sandbox names those
// that OPA has left to the host.
func TestNativeBuiltinsNeedNoHost(t *testing.T) {
	var calls []string
	for _, name := range native() {
		builtin, known := ast.BuiltinMap[name]
		if !known {
			t.Errorf("OPA has no builtin %s", name)
			continue
		}
		calls = append(calls, call(builtin))
	}
	if len(calls) < 90 {
		t.Fatalf("%d calls only", len(calls))
	}
	rules := ownRules + "\nmay_ask if {\n\tinput.subject.service == \"b\"\n\t" + strings.Join(calls, "\n\t") + "\n}\n"
	t.Run("POL-1007", func(t *testing.T) {
		open(t, Source{Modules: map[string][]byte{"own.rego": []byte(rules)}})
	})
}

// call writes a call of a builtin, with arguments of the right types.
func call(b *ast.Builtin) string {
	special := map[string]string{
		"assign": "assigned := 1\n\tassigned == 1", "eq": "{1} = {1}", "walk": "walk(input, [_, 1])", "print": `print("a")`,
		"internal.member_2": "1 in [1]", "internal.member_3": "0, 1 in [1]", "internal.template_string": `$"{input.api}" == "a"`,
		"union": "union({{1}})", "intersection": "intersection({{1}})", "glob.match": `glob.match("a", ["/"], "a")`,
	}
	if text, ok := special[b.Name]; ok {
		return text
	}
	var args []string
	for _, arg := range b.Decl.FuncArgs().Args {
		args = append(args, argument(arg))
	}
	if b.Infix != "" {
		return args[0] + " " + b.Infix + " " + args[1]
	}
	return fmt.Sprintf("%s(%s)", b.Name, strings.Join(args, ", "))
}

// argument writes a value of a type.
func argument(t types.Type) string {
	if named, ok := t.(*types.NamedType); ok {
		return argument(named.Type)
	}
	switch t := t.(type) {
	case types.String:
		return `"1"`
	case types.Number:
		return "1"
	case types.Boolean:
		return "true"
	case *types.Array:
		return "[]"
	case *types.Set:
		return "set()"
	case *types.Object:
		return "{}"
	case types.Any:
		if len(t) > 0 {
			return argument(t[0])
		}
	}
	return "1"
}
