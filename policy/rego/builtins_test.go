package rego

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/compile"
	"github.com/open-policy-agent/opa/v1/types"

	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/internal/builtins"
	"github.com/llorch/secrets-management/policy/internal/sandbox"
)

// TestNativeBuiltinsNeedNoHost opens a policy that calls every builtin that OPA is to compile into the module, in a sandbox
// that offers none, and one that calls those of services too, which only a service opens.
func TestNativeBuiltinsNeedNoHost(t *testing.T) {
	offered := slices.Sorted(maps.Keys(builtins.All()))
	if len(native()) < 90 || len(offered) != 4 {
		t.Fatalf("%d native builtins, %d of services", len(native()), len(offered))
	}
	t.Run("POL-1007", func(t *testing.T) {
		if err := instantiate(t, open(t, calling(t, native())), nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("POL-3001", func(t *testing.T) {
		b := open(t, calling(t, available()))
		err := instantiate(t, b, nil)
		for _, name := range offered {
			if err == nil || !strings.Contains(err.Error(), strconv.Quote(name)) {
				t.Errorf("%s is not named: %v", name, err)
			}
		}
		if err := instantiate(t, b, builtins.All()); err != nil {
			t.Error(err)
		}
	})
}

// TestForeignBuiltinsAreRefused: POL-3001. A bundle that another compiler let call the network is refused by name.
func TestForeignBuiltinsAreRefused(t *testing.T) {
	rules := ownRules + "\nmay_ask if http.send({\"url\": input.resource.path, \"method\": \"get\"}).status_code == 200\n" +
		"\nmay_ask if rand.intn(\"a\", 2) == 1\n\nmay_ask if sprintf(\"%d\", [1]) == \"1\"\n"
	c := compile.New().WithTarget(compile.TargetWasm).WithEntrypoints(policy.EntrypointDecision, policy.EntrypointMayAsk).
		WithBundle(&bundle.Bundle{Data: map[string]any{}, Modules: []bundle.ModuleFile{
			{URL: "a.rego", Path: "a.rego", Parsed: ast.MustParseModule(rules)},
		}})
	if err := c.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := &policy.Bundle{Wasm: c.Bundle().WasmModules[0].Raw, Manifest: policy.NewManifest("a", "r")}
	e, err := policy.Open(t.Context(), b, policy.Options{Interpreter: true})
	if e != nil || err == nil || !strings.Contains(err.Error(), `needs builtins that no service offers: "http.send", "rand.intn"`) {
		t.Errorf("error %v", err)
	}
}

// TestBuiltinsOfServices decides by a rule that calls all four, and by their failure.
func TestBuiltinsOfServices(t *testing.T) {
	const granted = `{"secrets":{"services":{"s":[{"id":"g","actions":["load_secret"],"source":"file","paths":["/p"]}]}}}`
	site := `package secrets.load

site_reasons contains {"code": "late", "message": sprintf("%s: %d", [input.context.host, size]), "severity": "error", "fix": ""} if {
	size := units.parse_bytes("2KiB")
	semver.compare(input.context.environment, "1.2.0") > 0
	time.parse_rfc3339_ns(input.context.host) > 1e18
}
`
	b := open(t, Source{Modules: map[string][]byte{"site.rego": []byte(site)}, Data: []byte(granted)})
	e, err := policy.Open(t.Context(), b, policy.Options{Interpreter: true, Limits: policy.Limits{Deadline: 10 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, tt := range []struct{ host, environment, message, fails string }{
		{"2026-01-01T00:00:00Z", "1.10.0", "2026-01-01T00:00:00Z: 2048", ""},
		{"2026-01-01T00:00:00Z", "1.2.0-rc", "", ""},
		{"2026-01-01T00:00:00Z", "one", "", `builtin "semver.compare"`},
		{"yesterday", "1.10.0", "", `builtin "time.parse_rfc3339_ns"`},
		{"2026-01-01T00:00:00Z", "1.10.0", "2026-01-01T00:00:00Z: 2048", ""},
	} {
		t.Run("POL-3005", func(t *testing.T) {
			r := hostileRequest(tt.host)
			r.Context.Environment = tt.environment
			d, err := e.Decide(t.Context(), r)
			if d.Allowed() || (tt.fails != "") != errors.Is(err, policy.ErrEvaluation) || err != nil && !strings.Contains(err.Error(), tt.fails) {
				t.Fatalf("%q on %q: allowed %v, error %v", tt.host, tt.environment, d.Allowed(), err)
			}
			said := slices.ContainsFunc(d.Reasons(), func(why policy.Reason) bool { return why.Code == "late" && why.Message == tt.message })
			if said != (tt.message != "") {
				t.Errorf("reasons %+v", d.Reasons())
			}
		})
	}
}

// instantiate gives a bundle's module to a sandbox.
func instantiate(t *testing.T, b *policy.Bundle, offered map[string]sandbox.Builtin) error {
	t.Helper()
	limits, err := sandbox.Limits{Instances: 1}.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	p, err := sandbox.Open(t.Context(), b.Wasm, []byte("{}"), sandbox.Config{Limits: limits, Interpreter: true, Builtins: offered})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	inst, err := p.Acquire(t.Context())
	if err == nil {
		p.Release(inst, true)
	}
	return err
}

// calling is a policy that calls builtins, each once.
func calling(t *testing.T, names []string) Source {
	t.Helper()
	var calls []string
	for _, name := range names {
		builtin, known := ast.BuiltinMap[name]
		if !known {
			t.Errorf("OPA has no builtin %s", name)
			continue
		}
		calls = append(calls, call(builtin))
	}
	rules := ownRules + "\nmay_ask if {\n\tinput.subject.service == \"b\"\n\t" + strings.Join(calls, "\n\t") + "\n}\n"
	return Source{Modules: map[string][]byte{"own.rego": []byte(rules)}}
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
