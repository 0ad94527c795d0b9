package rego

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
)

func testsOf(t *testing.T, body string) map[string][]byte {
	t.Helper()
	return map[string][]byte{"a_test.rego": []byte("package secrets.load_test\n\n" + body + "\n")}
}

// CHK-1201: the tests of the default rules hold in both evaluators.
func TestDefaultRulesPassInBoth(t *testing.T) {
	tests := map[string][]byte{}
	for _, name := range []string{"load_test.rego", "fixtures_test.rego"} {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tests[name] = source
	}
	r, err := Test(context.Background(), Source{}, tests, TestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Tests) < leastRegoTests || r.Count(Passed) != len(r.Tests) {
		t.Errorf("%d of %d tests passed, want at least %d", r.Count(Passed), len(r.Tests), leastRegoTests)
	}
	for i := range r.Tests {
		if r.Tests[i].Outcome != Passed {
			t.Errorf("%s: %s: %s", r.Tests[i].Name, r.Tests[i].Outcome, r.Tests[i].Message)
		}
	}
}

// CHK-1201 CHK-1202: as many tests as fill several modules, whose constants go beyond the memory that OPA declares.
func TestManyTests(t *testing.T) {
	const many = 2*maxEntrypoints + 1
	var b strings.Builder
	for i := range many {
		fmt.Fprintf(&b, "test_with_a_name_that_is_as_long_as_those_of_people_are_%d if %d == %d\n\n", i, i, i%(many-1))
	}
	r, err := Test(context.Background(), Source{}, testsOf(t, b.String()), TestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Tests) != many || r.Count(Passed) != many-1 || r.Tests[many-1].Outcome != Failed {
		t.Errorf("%d tests, %d passed, the last %s; want %d, %d, failed", len(r.Tests), r.Count(Passed), r.Tests[many-1].Outcome, many, many-1)
	}
}

// CHK-1201: each pair of answers has its outcome.
func TestJudgedPairs(t *testing.T) {
	s := &suite{}
	plain, cases := &listedTest{name: "t", at: testPlace}, &listedTest{name: "t", at: testPlace, cases: true}
	pass, fail, broken := answer{ran: true, pass: true}, answer{ran: true}, answer{ran: true, err: errors.New("no")}
	one := func(pass bool) answer { return answer{ran: true, pass: pass, cases: map[string]bool{"a": pass}} }
	for name, c := range map[string]struct {
		t         *listedTest
		opa, wasm answer
		want      Outcome
	}{
		"both hold":                {plain, pass, pass, Passed},
		"neither holds":            {plain, fail, fail, Failed},
		"only OPA":                 {plain, pass, fail, Disagreed},
		"only the sandbox":         {plain, fail, pass, Disagreed},
		"an error in the sandbox":  {plain, fail, broken, Disagreed},
		"an error in OPA":          {plain, broken, pass, Disagreed},
		"errors in both":           {plain, broken, broken, Errored},
		"not run in OPA":           {plain, answer{}, pass, Errored},
		"not run in the sandbox":   {plain, pass, answer{}, Errored},
		"a case holds":             {cases, one(true), one(true), Passed},
		"a case fails":             {cases, one(false), answer{ran: true, pass: true, cases: map[string]bool{}}, Failed},
		"a case only in OPA":       {cases, one(true), answer{ran: true, pass: true, cases: map[string]bool{}}, Disagreed},
		"a case only in the other": {cases, answer{ran: true}, one(true), Disagreed},
		"no case":                  {cases, answer{ran: true, pass: true}, answer{ran: true, pass: true, cases: map[string]bool{}}, Failed},
	} {
		if got := s.judge(c.t, c.opa, c.wasm).Outcome; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// CHK-1204: what a test must not do is told with its place.
func TestRefusedTests(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"another host builtin":  {`test_a if opa.runtime().env.HOME == ""`, "a_test.rego:3:11: rego_compile_error: builtin opa.runtime is not available"},
		"time":                  {`test_a if time.now_ns() > 0`, "a_test.rego:3:11: rego_compile_error: builtin time.now_ns is not available"},
		"a mocked host builtin": {"fake := 1\n\ntest_a if time.now_ns() == 1 with time.now_ns as fake", "builtin time.now_ns is not available"},
		"a helper of the rules": {"test_a if true\n", ""},
		"nothing":               {"helper if true", "no tests"},
	} {
		_, err := Test(context.Background(), Source{}, testsOf(t, c.body), TestOptions{})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrSource)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	changing := map[string][]byte{"a_test.rego": []byte("package secrets.load\n\nmay_ask if true\n\ntest_a if may_ask\n")}
	if _, err := Test(context.Background(), Source{}, changing, TestOptions{}); err == nil || !strings.Contains(err.Error(), `a_test.rego:3:1: rego_compile_error: a test file would change rule "may_ask"`) {
		t.Errorf("a rule of the policy is changed: %v", err)
	}
	inPackage := map[string][]byte{"a_test.rego": []byte("package secrets.load\n\nhelper if true\n\ntest_a if helper\n")}
	if r, err := Test(context.Background(), Source{}, inPackage, TestOptions{}); err != nil || r.Count(Passed) != 1 {
		t.Errorf("a test in the package of the policy: %v", err)
	}
}

func TestReadTestsTakesTestsOnly(t *testing.T) {
	tests, err := ReadTests("../../examples/policy")
	if err != nil || len(tests) != 1 || tests["site_test.rego"] == nil {
		t.Errorf("CHK-1204: %d files, %v", len(tests), err)
	}
	if _, err := ReadTests("nowhere"); !errors.Is(err, ErrSource) {
		t.Errorf("CHK-1204: %v", err)
	}
}

var testPlace = ast.NewLocation(nil, "a_test.rego", 1, 1)
