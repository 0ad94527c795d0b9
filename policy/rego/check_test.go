package rego

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	oparego "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/types"

	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/internal/builtins"
	"github.com/llorch/secrets-management/policy/internal/sandbox"
	"github.com/llorch/secrets-management/policy/internal/value"
)

// siteModule is a site's rules with a denial that depends on others, which begin on line 9.
func siteModule(rules string) Source {
	return Source{Dir: "site", Modules: map[string][]byte{"a.rego": []byte(`package secrets.load

import input as everything
import input.resource as asked_for

site_reasons contains {"code": "a", "message": "", "severity": "error", "fix": ""} if bad
same(x) := x

` + rules + "\n")}}
}

func TestCheckFindsAccessThatTheSchemaCannotSee(t *testing.T) {
	used := "\nbad if {\n\tsame(everything.action) == asked_for.path\n}\n" // the imports, which must be used
	for rules, want := range map[string]string{
		`bad if input[_] == "load_key"`:                                                      "9:8 dynamic_input",
		`bad if input[input.action] == "load_key"`:                                           "9:8 dynamic_input",
		"bad if {\n\tname := \"host\"\n\tinput.context[name] == \"a\"\n}":                    "11:2 dynamic_input",
		"bad if {\n\tsome name\n\tinput.context[name] == \"a\"\n}":                           "11:2 dynamic_input",
		`bad if "a" in input.context`:                                                        "9:15 dynamic_input",
		"bad if {\n\tsome k, v in input.context\n\tk == v\n}":                                "10:15 dynamic_input",
		`bad if asked_for[_] == "a"`:                                                         "9:8 dynamic_input",
		"bad if {\n\tpart := input.resource\n\tsome k\n\tpart[k] == \"a\"\n}":                "12:2 dynamic_input",
		`bad if every k, v in input.context { k == v }`:                                      "9:22 dynamic_input",
		`bad if {1 | input.context[_] == "a"} != set()`:                                      "9:13 dynamic_input",
		`bad if not input.subject.attested[input.action] == "a"`:                             "9:12 dynamic_input",
		"bad := false if input.action == \"a\"\n\nelse := true if input.context[_] == \"a\"": "11:1 dynamic_input",
		`bad if walk(input.context, [_, "a"])`:                                               "9:13 dynamic_input",
		`bad if walk(input, [_, "a"])`:                                                       "9:13 whole_input",
		`bad if same(input).action == "a"`:                                                   "9:13 whole_input",
		`bad if same(everything).action == "a"`:                                              "9:13 whole_input",
		`bad if object.get(input, "actoin", "a") == "a"`:                                     "9:19 whole_input",
		`bad if same({"a": input}).a.action == "a"`:                                          "9:19 whole_input",
		"bad if {\n\tx := input\n\tx.action == \"a\"\n}":                                     "10:7 whole_input",
		`bad if $"{input}" == "a"`:                                                           "9:11 whole_input",
		"bad if count(every_one) > 0\n\nevery_one contains input":                            "11:20 whole_input",
		"bad if copied.action == \"a\"\n\ncopied := input":                                   "11:11 whole_input",

		// what the schema does see
		`bad if input.resource.ancestors[_] == "/a"`:                                       "",
		`bad if "/a" in input.resource.ancestors`:                                          "",
		`bad if every dir in input.resource.ancestors { dir != "/a" }`:                     "",
		`bad if input.resource.file.readers.uids[input.subject.uid] == 1`:                  "",
		`bad if input["context"]["host"] == "a"`:                                           "",
		"bad if other with input.action as \"load_key\"\n\nother if input.action == \"a\"": "",
		"bad if {\n\tpart := input.resource\n\tpart.path == \"a\"\n}":                      "",
		`bad if walk(input.resource.ancestors, [_, "a"])`:                                  "",
		`bad if {"a": 1}[input.action] == 1`:                                               "",
	} {
		t.Run("POL-3040", func(t *testing.T) {
			findings, err := Check(t.Context(), siteModule(rules+used))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range findings {
				got = append(got, fmt.Sprintf("%d:%d %s", f.Line, f.Column, f.Rule))
				if f.Severity != policy.SeverityError || f.File != "site/a.rego" || f.Message == "" || f.Fix == "" {
					t.Errorf("%+v", f)
				}
			}
			if strings.Join(got, ", ") != want {
				t.Errorf("%s\nhas %q, want %q", rules, got, want)
			}
		})
	}
}

func TestCheckWarnsOfHazards(t *testing.T) {
	for rules, want := range map[string]string{
		`bad if to_number(input.context.host) == 1`:                                          "9:8 silent_builtin",
		`bad if concat("", [json.unmarshal(input.context.host), "a"]) == "a"`:                "9:20 silent_builtin",
		`bad if input.resource.file.size / input.resource.file.nlink > 1`:                    "9:8 silent_builtin",
		`bad if input.resource.file.size / 2 > 1`:                                            "",
		`bad if substring(input.context.host, 0, input.subject.uid) == "a"`:                  "",
		`bad if regex.match("^a", input.context.host)`:                                       "9:8 slow_builtin",
		`bad if regex.match(input.context.host, "a")`:                                        "9:8 silent_builtin, 9:8 slow_builtin",
		"bad if {\n\tglob.match(\"a*\", [], input.context.host)\n\tto_number(\"1\") == 1\n}": "10:2 slow_builtin",
		`bad if sprintf("%d", [input.subject.uid]) == "1"`:                                   "",
	} {
		t.Run("POL-3041", func(t *testing.T) {
			src := siteModule(rules + "\nbad if same(everything.action) == asked_for.path")
			findings, err := Check(t.Context(), src)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range findings {
				got = append(got, fmt.Sprintf("%d:%d %s", f.Line, f.Column, f.Rule))
				if f.Severity != policy.SeverityWarning || f.File != "site/a.rego" || f.Message == "" || f.Fix == "" {
					t.Errorf("%+v", f)
				}
			}
			if strings.Join(got, ", ") != want {
				t.Errorf("%s\nhas %q, want %q", rules, got, want)
			}
			if _, err := Build(t.Context(), src); err != nil {
				t.Errorf("a warning keeps it from being built: %v", err)
			}
		})
	}
}

// TestCheckRefusesWhatBuildRefuses: POL-3042. And what has no place to name is an error.
func TestCheckRefusesWhatBuildRefuses(t *testing.T) {
	for rules, want := range map[string]string{
		"nonsense": "9:1", `bad if http.send({}) == 1`: "9:8", `bad if input.actoin == "a"`: "9:8", "unused if input.action == \"a\"": "9:1",
	} {
		src := siteModule(rules + "\nbad if same(everything.action) == asked_for.path")
		_, built := Build(t.Context(), src)
		findings, err := Check(t.Context(), src)
		if err != nil || built == nil || len(findings) == 0 || findings[0].Rule != RuleCompile || findings[0].Severity != policy.SeverityError ||
			!slices.ContainsFunc(findings, func(f Finding) bool { return fmt.Sprintf("%d:%d", f.Line, f.Column) == want }) {
			t.Errorf("%s: %+v, error %v", rules, findings, err)
		}
	}
	old := Source{Modules: map[string][]byte{"a.rego": []byte("package secrets.load\n\nbad { input.action == \"a\" }\n")}}
	if findings, err := Check(t.Context(), old); err != nil || len(findings) == 0 || findings[0].Fix != oldRegoFix {
		t.Errorf("%+v, error %v", findings, err)
	}
	if _, err := Check(t.Context(), Source{Data: []byte("{")}); !errors.Is(err, ErrSource) || !strings.Contains(err.Error(), "data.json:1:2") {
		t.Errorf("error %v", err)
	}
}

// TestOwnRulesAreClean: POL-3040 POL-3041. The default rules and the example are what they ask of others.
func TestOwnRulesAreClean(t *testing.T) {
	src, err := ReadDir(filepath.FromSlash("../../examples/policy"))
	if err != nil {
		t.Fatal(err)
	}
	b, compiler, err := build(t.Context(), src, toWasm)
	if err != nil || len(b.Rego) != len(src.Modules)+3 || len(src.Modules) == 0 {
		t.Fatalf("%d modules: %v", len(b.Rego), err)
	}
	modules, err := parse(b.Rego)
	if err != nil {
		t.Fatal(err)
	}
	for name, module := range modules {
		for _, f := range lint(&src, compiler, name, module) {
			t.Errorf("%+v", f)
		}
	}
	if _, err := os.Stat("text.rego"); err != nil {
		t.Fatal(err)
	}
}

// samples are values of a type, sound ones that are awkward all the same.
func samples(t types.Type, name string) []string {
	if named, ok := t.(*types.NamedType); ok {
		return samples(named.Type, name)
	}
	switch t := t.(type) {
	case types.String:
		return []string{`"1"`, `""`, `"x"`, `"YQ=="`, `"("`, `"[a"`, `"a{2"`, `"é"`}
	case types.Number:
		if strings.HasPrefix(name, "bits.") || name == "numbers.range" { // a bit, or an element, for each
			return []string{"0", "1", "-1", "16", "40"}
		}
		return []string{"0", "1", "-1", "16", "3000000000"}
	case types.Boolean:
		return []string{"true", "false"}
	case *types.Array:
		return []string{"[]", "[1]", `["a"]`, `[{}]`}
	case *types.Set:
		return []string{"set()", "{1}", `{"a"}`, "{{1}}"}
	case *types.Object:
		return []string{"{}", `{"a": "b"}`}
	case types.Any:
		var all []string
		for _, of := range t {
			all = append(all, samples(of, name)...)
		}
		return append(all, "null")
	}
	return []string{"1"}
}

// attempt is a call with what became of it.
type attempt struct {
	operands []string
	text     string
	fails    bool
}

// attempts calls a builtin with samples of its types, those that OPA's compiler takes.
func attempts(b *ast.Builtin) []attempt {
	all := [][]string{nil}
	for _, arg := range b.Decl.FuncArgs().Args {
		var longer [][]string
		for _, operands := range all {
			for _, v := range samples(arg, b.Name) {
				longer = append(longer, append(slices.Clone(operands), v))
			}
		}
		all = longer
	}
	var list []attempt
	for i := 0; i < len(all); i += len(all)/50 | 1 { // odd, so that every operand changes
		operands := all[i]
		a := attempt{operands: operands, text: b.Name + "(" + strings.Join(operands, ", ") + ")"}
		if b.Infix != "" {
			a.text = operands[0] + " " + b.Infix + " " + operands[1]
		}
		if m, err := ast.ParseModule("", "package test\n\np := "+a.text); err == nil {
			c := ast.NewCompiler()
			if c.Compile(map[string]*ast.Module{"": m}); !c.Failed() {
				list = append(list, a)
			}
		}
	}
	return list
}

// try evaluates calls in OPA's evaluator and in the sandbox. A call fails that has no value in either, or another one in
// the sandbox, or that ends the evaluation.
func try(t *testing.T, list []attempt) {
	t.Helper()
	module := "package test\n"
	for i, a := range list {
		module += fmt.Sprintf("\np%d := %s\n", i, a.text)
	}
	opts := []func(*oparego.Rego){oparego.Query("data.test = x"), oparego.Module("test.rego", module)}
	there, err := oparego.New(opts...).Eval(t.Context())
	if err != nil || len(there) != 1 {
		t.Fatalf("%s: %v", module, err)
	}
	wanted, err := ast.InterfaceToValue(there[0].Bindings["x"])
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := oparego.New(opts...).Compile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	here, err := evaluated(t, compiled.Bytes)
	switch {
	case err != nil && len(list) == 1:
		list[0].fails = true
	case err != nil: // which one was it?
		for i := range list {
			try(t, list[i:i+1])
		}
	default:
		for i := range list {
			want, werr := wanted.Find(ast.Ref{ast.StringTerm(fmt.Sprintf("p%d", i))})
			got, ok := here[fmt.Sprintf("p%d", i)]
			list[i].fails = werr != nil || !ok || value.Text(got) != jsonText(t, want)
		}
	}
}

// jsonText is a value of OPA's as the sandbox writes it.
func jsonText(t *testing.T, v ast.Value) string {
	t.Helper()
	parsed, err := value.Parse([]byte(v.String()))
	if err != nil {
		t.Fatal(err)
	}
	return value.Text(parsed)
}

// evaluated are the rules of a module that have a value in the sandbox; sets are lists, as in what OPA's API returns.
func evaluated(t *testing.T, wasm []byte) (map[string]value.Value, error) {
	t.Helper()
	limits, err := sandbox.Limits{Instances: 1, Deadline: 10 * time.Second, Fuel: 5_000_000}.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	p, err := sandbox.Open(t.Context(), wasm, []byte("{}"), sandbox.Config{Limits: limits, Interpreter: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	inst, err := p.Acquire(t.Context())
	if err != nil {
		return nil, err
	}
	inst.Input = []byte("{}")
	raw, err := inst.Evaluate(t.Context(), "eval")
	var result value.Value
	if err == nil {
		result, err = value.Parse(raw)
	}
	p.Release(inst, err == nil)
	if err != nil {
		return nil, err
	}
	rules := map[string]value.Value{}
	for _, binding := range result.(value.Array) {
		for _, m := range binding.(value.Object)[0].Value.(value.Object) {
			rules[m.Key.(string)] = m.Value
		}
	}
	return rules, nil
}

// TestSilentBuiltins measures which native builtins have no value, or another one than in OPA, for arguments of the right
// types, and that it is the operand in the list which decides.
func TestSilentBuiltins(t *testing.T) {
	hazards, tried := silent(), 0
	for _, name := range native() {
		builtin := ast.BuiltinMap[name]
		switch name {
		case "max", "min": // of nothing: no value in OPA either, by their definition
			continue
		case "assign", "eq", "print", "walk", "internal.template_string", "internal.member_2", "internal.member_3": // syntax
			continue
		case "or", "minus": // sets and lists look the same here, and one of each is not of one type
			continue
		}
		t.Run("POL-3041/"+name, func(t *testing.T) {
			list := attempts(builtin)
			if tried += len(list); len(list) == 0 {
				t.Fatal("nothing to try")
			}
			try(t, list)
			var failing []string
			sound := map[string]bool{}
			h, listed := hazards[name]
			for _, a := range list {
				if a.fails {
					failing = append(failing, a.text)
				}
				if listed {
					var decide string
					for _, i := range h.operands {
						decide += a.operands[i] + " "
					}
					before, seen := sound[decide]
					sound[decide] = !a.fails && (before || !seen)
				}
			}
			switch {
			case listed != (len(failing) > 0):
				t.Errorf("listed as failing: %v; fails: %.500q", listed, failing)
			case listed && !slices.Contains(slices.Collect(maps.Values(sound)), true):
				t.Errorf("operands %d do not decide: %.500q", h.operands, failing)
			}
		})
	}
	if tried < 1000 {
		t.Errorf("%d calls only", tried)
	}
}

// TestSlowBuiltins measures which builtins take longer than usual decisions do: a call of any other fits into what one
// of these does not.
func TestSlowBuiltins(t *testing.T) {
	for _, name := range available() {
		builtin := ast.BuiltinMap[name]
		t.Run("POL-3041/"+name, func(t *testing.T) {
			body := call(builtin)
			if own := map[string]string{
				"semver.compare": `semver.compare("1.0.0", "1.0.0")`, "time.parse_rfc3339_ns": `time.parse_rfc3339_ns("2026-01-01T00:00:00Z")`,
			}[name]; own != "" {
				body = own
			}
			b, err := Build(t.Context(), Source{Modules: map[string][]byte{"own.rego": []byte(ownRules + "\nmay_ask if {\n\t" + body + "\n}\n")}})
			if err != nil {
				t.Fatal(err)
			}
			limits, err := sandbox.Limits{Instances: 1, Deadline: 10 * time.Second, Fuel: 150_000}.Resolve()
			if err != nil {
				t.Fatal(err)
			}
			p, err := sandbox.Open(t.Context(), b.Wasm, []byte("{}"), sandbox.Config{Limits: limits, Interpreter: true, Builtins: builtins.All()})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			inst, err := p.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			inst.Input = []byte("{}")
			_, err = inst.Evaluate(t.Context(), policy.EntrypointMayAsk)
			p.Release(inst, err == nil)
			if slices.Contains(slow(), name) != errors.Is(err, sandbox.ErrLimit) || err != nil && !errors.Is(err, sandbox.ErrLimit) {
				t.Errorf("listed as slow: %v; error %v", slices.Contains(slow(), name), err)
			}
		})
	}
}
