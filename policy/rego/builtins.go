package rego

import (
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/llorch/secrets-management/policy/internal/builtins"
)

// native lists the builtins that OPA compiles to Wasm, so that a guest needs nothing from its host. Left out although
// native: net.*, whose kin need a resolver, and what OPA has deprecated.
func native() []string {
	return strings.Fields(`
		abs array.concat array.flatten array.reverse array.slice assign and base64.decode base64.encode base64.is_valid
		base64url.decode base64url.encode bits.and bits.lsh bits.negate bits.or bits.rsh bits.xor ceil concat contains count
		div endswith eq equal floor format_int glob.match graph.reachable gt gte indexof internal.member_2
		internal.member_3 internal.template_string intersection is_array is_boolean is_null is_number is_object is_set
		is_string json.filter json.is_valid json.marshal json.remove json.unmarshal lower lt lte max min minus mul neq
		numbers.range object.filter object.get object.keys object.remove object.union object.union_n or plus print product
		regex.find_all_string_submatch_n regex.is_valid regex.match rem replace round sort split startswith
		strings.replace_n strings.reverse substring sum to_number trim trim_left trim_prefix trim_right trim_space
		trim_suffix type_name union upper walk
	`)
}

// available lists what a policy may call: the native builtins, and those that every service offers.
func available() []string {
	return slices.AppendSeq(native(), maps.Keys(builtins.All()))
}

// capabilities tells OPA's compiler what there is: the available builtins, and no network for its schema loader. Calls of
// print are erased by the compiler.
func capabilities() *ast.Capabilities {
	caps, names := ast.CapabilitiesForThisVersion(), available()
	caps.Builtins = slices.DeleteFunc(slices.Clone(caps.Builtins), func(b *ast.Builtin) bool {
		return !slices.Contains(names, b.Name)
	})
	caps.AllowNet = []string{}
	return caps
}

// unavailable finds calls of builtins that OPA has and the sandbox does not. The compiler would refuse them too, as
// undefined functions, which leaves an author who knows OPA wondering.
func unavailable(module *ast.Module) ast.Errors {
	var errs ast.Errors
	names := available()
	eachCall(module, func(name string, _ []*ast.Term, at *ast.Location) {
		if _, known := ast.BuiltinMap[name]; known && !slices.Contains(names, name) {
			errs = append(errs, ast.NewError(ast.CompileErr, at,
				"builtin %s is not available in the sandbox: a decision depends on its input and data alone", name))
		}
	})
	return errs
}
