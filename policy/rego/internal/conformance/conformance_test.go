package main

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/test/cases"
	"github.com/open-policy-agent/opa/v1/topdown"
	"pgregory.net/rapid"

	"github.com/llorch/secrets-management/policy/internal/builtins"
	"github.com/llorch/secrets-management/policy/internal/value"
)

// a case of our own: x is what a rule gives.
func rule(body string, want any) testCase {
	c := testCase{cases.TestCase{
		Note: body, Query: "data.test.p = x", Modules: []string{"package test\n\n" + body}, Filename: "own.yaml",
	}, ast.RegoV1}
	if want != nil {
		c.WantResult = &[]map[string]any{{"x": want}}
	}
	return c
}

func failing(body, code, text string, strict bool) testCase {
	c := rule(body, nil)
	c.WantErrorCode, c.WantError, c.StrictError = &code, &text, strict
	return c
}

// TestJudge: POL-3020. What the judge lets pass and what it does not, for each way in which a case can want something.
func TestJudge(t *testing.T) {
	nothing := rule("p := 1", nil)
	undefined := rule("p := to_number(\"a\")", nil)
	undefined.WantResult = &[]map[string]any{}
	for name, tt := range map[string]struct {
		c    testCase
		says string // none: it passes
	}{
		"a result":                {rule("p := {1, \"a\"}", []any{1, "a"}), ""},
		"another result":          {rule("p := {1, \"a\"}", []any{1, "b"}), "want"},
		"the order of an array":   {rule("p := [2, 1]", []any{1, 2}), "want"},
		"undefined":               {undefined, ""},
		"a result for undefined":  {rule("p := to_number(\"a\")", 1), "want"},
		"no want at all":          {nothing, "wants nothing"},
		"a host builtin":          {rule("p := crypto.md5(\"a\")", "0cc175b9c0f1b6a831c399e269772661"), ""},
		"an error for a result":   {rule("p := x if {\n\tx := {k: v | some [k, v] in [[1, 1], [1, 2]]}\n}", map[string]any{}), "error:"},
		"a conflict":              {failing("p := x if some x in [1, 2]", topdown.ConflictErr, "", false), ""},
		"no conflict":             {failing("p := x if some x in [1, 1]", topdown.ConflictErr, "", false), "no error"},
		"another code":            {failing("p := x if some x in [1, 2]", topdown.TypeErr, "", false), "another error"},
		"a host builtin fails":    {failing("p := urlquery.decode(\"%\")", topdown.BuiltinErr, "invalid URL escape", true), ""},
		"with other words":        {failing("p := urlquery.decode(\"%\")", topdown.BuiltinErr, "something else", true), "failed otherwise"},
		"with another code":       {failing("p := urlquery.decode(\"%\")", topdown.TypeErr, "invalid", true), "failed with code"},
		"one of ours fails":       {failing("p := units.parse_bytes(\"a\")", topdown.BuiltinErr, "no byte amount", true), ""},
		"a native one fails":      {failing("p := to_number(\"a\")", topdown.BuiltinErr, "", true), ""},
		"a native one that works": {failing("p := to_number(\"1\")", topdown.BuiltinErr, "", true), "neither an error nor undefined"},
		"does not compile":        {rule("p := nonsense(1)", 1), "compile"},
		"never ends":              {rule("p := count([1 | some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); i < j])", 1), "limit"},
	} {
		t.Run(name, func(t *testing.T) {
			r := judgeAll(t.Context(), []testCase{tt.c}, nil, 1)
			if got := strings.Join(r.failures, ""); (tt.says == "") != r.good() || !strings.Contains(got, tt.says) {
				t.Errorf("%s: %.500q", r, got)
			}
		})
	}
}

// TestRunOfNothingFails, and so do exceptions that are not needed.
func TestRunOfNothingFails(t *testing.T) {
	good, bad := rule("p := 1", 1), rule("p := 1", 2)
	for name, tt := range map[string]struct {
		cases      []testCase
		exceptions map[string]string
		good       bool
		line       string
	}{
		"nothing":             {nil, nil, false, "conformance: 0 passed, 0 failed, 0 excepted of 0"},
		"one":                 {[]testCase{good}, nil, true, "conformance: 1 passed, 0 failed, 0 excepted of 1"},
		"one that fails":      {[]testCase{good, bad}, nil, false, "conformance: 1 passed, 1 failed, 0 excepted of 2"},
		"one that is known":   {[]testCase{rule("p := 2", 2), bad}, map[string]string{bad.Note: "why"}, true, "conformance: 1 passed, 0 failed, 1 excepted of 2"},
		"an exception passes": {[]testCase{good}, map[string]string{good.Note: "why"}, false, "conformance: 0 passed, 1 failed, 0 excepted of 1"},
		"only exceptions":     {[]testCase{bad}, map[string]string{bad.Note: "why"}, false, "conformance: 0 passed, 0 failed, 1 excepted of 1"},
		"one without a case":  {[]testCase{good}, map[string]string{"gone": "why"}, false, "conformance: 1 passed, 1 failed, 0 excepted of 2"},
	} {
		t.Run("POL-3020/"+name, func(t *testing.T) {
			if r := judgeAll(t.Context(), tt.cases, tt.exceptions, 2); r.good() != tt.good || r.String() != tt.line {
				t.Errorf("good %v: %s", r.good(), r)
			}
		})
	}
	if _, err := run(t.Context(), t.TempDir(), 1); err == nil {
		t.Error("POL-3020: a folder without cases passes")
	}
}

// TestOwnBuiltinsPassOPAsCases: POL-3010. All of OPA's cases that call what services offer.
func TestOwnBuiltinsPassOPAsCases(t *testing.T) {
	dir, err := moduleDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := load(dir)
	if err != nil || len(all) < 4000 {
		t.Fatalf("%d cases, error %v", len(all), err)
	}
	exceptions, err := readExceptions(filepath.Join(dir, opasExceptions))
	if err != nil {
		t.Fatal(err)
	}
	calls := func(c testCase) bool {
		for name := range builtins.All() {
			if strings.Contains(strings.Join(c.Modules, ""), name+"(") {
				return true
			}
		}
		return false
	}
	mine := slices.DeleteFunc(all, func(c testCase) bool { return !calls(c) || exceptions[c.Note] != "" })
	r := judgeAll(t.Context(), mine, nil, runtime.GOMAXPROCS(0))
	t.Log(r, r.own)
	if !r.good() {
		t.Error(strings.Join(r.failures, "\n"))
	}
	for name, least := range map[string]int{"sprintf": 30, "semver.compare": 20, "time.parse_rfc3339_ns": 6, "units.parse_bytes": 100} {
		if r.own[name] < least {
			t.Errorf("%s is called by %d cases only, want %d", name, r.own[name], least)
		}
	}
}

// TestOwnBuiltinsAgreeWithOPA: POL-3010. On random arguments they give what OPA's give, or fail where those do.
func TestOwnBuiltinsAgreeWithOPA(t *testing.T) {
	bctx := topdown.BuiltinContext{Metrics: metrics.New()}
	number := rapid.OneOf(
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,5})?`), rapid.StringMatching(`-?[1-9](\.[0-9]{1,3})?[eE][-+]?[0-9]{1,3}`),
	)
	arguments := map[string]func(*rapid.T) []value.Value{
		"sprintf": func(rt *rapid.T) []value.Value {
			format := rapid.StringMatching(`([a-zé ]{0,3}%[-+# 0]{0,2}([1-9]?[0-9])?(\.[0-9])?(\[[1-3]\])?[a-zA-Z%*]){0,4}`).Draw(rt, "format")
			return []value.Value{format, value.Array(rapid.SliceOfN(rapid.Custom(anyValue), 0, 4).Draw(rt, "values"))}
		},
		"semver.compare": func(rt *rapid.T) []value.Value {
			version := rapid.StringMatching(`v?([0-9]|[1-9][0-9])\.[0-9]\.[0-9](-[a-c0-2]{1,2}(\.[a-c0-2]{0,2}){0,2})?(\+[a-z.]{1,3})?`)
			return []value.Value{version.Draw(rt, "a"), version.Draw(rt, "b")}
		},
		"time.parse_rfc3339_ns": func(rt *rapid.T) []value.Value {
			return []value.Value{rapid.StringMatching(
				`(19|20|16|22|99)[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\.[0-9]{1,11})?(Z|[-+][01][0-9]:[0-6][0-9]|)`,
			).Draw(rt, "time")}
		},
		"units.parse_bytes": func(rt *rapid.T) []value.Value {
			return []value.Value{rapid.OneOf(number, rapid.StringMatching(`[-+.0-9e]{0,5}`)).Draw(rt, "amount") +
				rapid.StringMatching(`[ "]?[kKmMgGtTpPeEx]?[iI]?[bB]?`).Draw(rt, "unit")}
		},
	}
	for name, own := range builtins.All() {
		theirs := adapt(bctx, topdown.GetBuiltin(name))
		var good, bad int
		t.Run(name, rapid.MakeCheck(func(rt *rapid.T) {
			for range 30 {
				args := arguments[name](rt)
				got, err := own.Call(t.Context(), args)
				want, opas := theirs(t.Context(), args)
				if (err == nil) != (opas == nil) && !ours(err) {
					rt.Fatalf("%s: error %v, OPA's %v", value.Text(value.Array(args)), err, opas)
				}
				if err != nil {
					bad++
					continue
				}
				good++
				if value.Text(got) != value.Text(want) {
					rt.Fatalf("%s: %s, OPA has %s", value.Text(value.Array(args)), value.Text(got), value.Text(want))
				}
			}
		}))
		if good < 200 || bad < 200 && name != "sprintf" {
			t.Errorf("%s: %d good and %d bad: one side was hardly tried", name, good, bad)
		}
	}
}

// ours are the errors by which services bound what OPA does not.
func ours(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "exponent too large") || strings.Contains(err.Error(), "can give more than"))
}

func anyValue(rt *rapid.T) value.Value {
	return drawValue(rt, 3)
}

func drawValue(rt *rapid.T, depth int) value.Value {
	kinds := 4
	if depth > 0 {
		kinds = 7
	}
	list := func() []value.Value {
		return rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) value.Value { return drawValue(rt, depth-1) }), 0, 3).Draw(rt, "list")
	}
	switch rapid.IntRange(0, kinds-1).Draw(rt, "kind") {
	case 0:
		return value.Null{}
	case 1:
		return rapid.Bool().Draw(rt, "bool")
	case 2:
		return value.Number(rapid.OneOf(
			rapid.StringMatching(`-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,3})?`), rapid.StringMatching(`-?[0-3](\.[05])?[eE][-+]?[0-2]`),
		).Draw(rt, "number"))
	case 3:
		return strings.ReplaceAll(rapid.String().Draw(rt, "string"), "\ufeff", "") // OPA cannot read it back
	case 4:
		return value.Array(list())
	case 5:
		return value.NewSet(list())
	}
	var text strings.Builder
	for i, v := range list() {
		encoded, err := value.Encode(v)
		if err != nil {
			rt.Fatal(err)
		}
		fmt.Fprintf(&text, ",%s:%d", encoded, i)
	}
	v, err := value.Parse([]byte("{" + strings.TrimPrefix(text.String(), ",") + "}"))
	if err != nil {
		rt.Fatal(err)
	}
	return v
}

// TestValuesAreOPAs: POL-3002. OPA reads, orders and prints values as ours do.
func TestValuesAreOPAs(t *testing.T) {
	sign := func(n int) int { return max(-1, min(1, n)) }
	rapid.Check(t, func(rt *rapid.T) {
		a, b := anyValue(rt), anyValue(rt)
		if got, want := sign(value.Compare(a, b)), sign(ast.Compare(toTerm(a), toTerm(b))); got != want {
			rt.Fatalf("%s is %d of %s, %d to OPA", value.Text(a), got, value.Text(b), want)
		}
		if value.Text(a) != toTerm(a).String() {
			rt.Fatalf("%s is %s to OPA", value.Text(a), toTerm(a))
		}
		encoded, err := value.Encode(a)
		if err != nil {
			rt.Fatal(err)
		}
		if term, err := ast.ParseTerm(string(encoded)); err != nil || ast.Compare(term, toTerm(a)) != 0 {
			rt.Fatalf("%s is %v to OPA: %v", encoded, term, err)
		}
		if back, err := fromTerm(toTerm(a)); err != nil || value.Compare(a, back) != 0 {
			rt.Fatalf("%s came back as %s: %v", value.Text(a), value.Text(back), err)
		}
	})
}

// TestSameJSON: POL-3020. The comparison of a result with its JSON finds what differs.
func TestSameJSON(t *testing.T) {
	for _, tt := range []struct {
		rego, json string
		same       bool
	}{
		{`{1,"a",{2}}`, `[[2],"a",1]`, true},
		{`{1,2}`, `[1,1]`, false},
		{`{1,2}`, `[1]`, false},
		{`[1,2]`, `[2,1]`, false},
		{`{"a":1,[1,{2}]:null}`, `{"[1,[2]]":null,"a":1}`, true},
		{`{"a":1}`, `{"a":1,"b":2}`, false},
		{`{[1]:2}`, `{"[2]":2}`, false},
		{`1.0`, `1`, false},
		{`12345678901234567890123`, `12345678901234567890123`, true},
		{`"a"`, `"b"`, false},
		{`true`, `true`, true},
		{`null`, `false`, false},
		{`1`, `1 1`, false},
		{`1`, `nonsense`, false},
	} {
		v, err := value.Parse([]byte(tt.rego))
		if err != nil {
			t.Fatal(err)
		}
		if err := sameJSON(v, []byte(tt.json)); (err == nil) != tt.same {
			t.Errorf("%s and %s: %v", tt.rego, tt.json, err)
		}
	}
}
