package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/policy"
)

// smokeOf is a smoke.json with one case over a request.
func smokeOf(t testing.TB, r *policy.Request, verdict string) []byte {
	t.Helper()
	input, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, `{"cases":[{"name":"queen reads its token","input":%s,%s}]}`, input, verdict)
}

func TestSmokeInputs(t *testing.T) {
	foreign := goodRequest()
	foreign.Subject.Service = "pool-managerd"
	open644 := goodRequest()
	open644.Resource.File.Mode = 0o644
	for name, c := range map[string]struct {
		smoke []byte
		want  string // in the error; empty for none
	}{
		"an allow":              {smokeOf(t, goodRequest(), `"allow":true`), ""},
		"an allow with codes":   {smokeOf(t, goodRequest(), `"allow":true,"codes":[]`), ""},
		"a denial":              {smokeOf(t, foreign, `"allow":false`), ""},
		"a denial with codes":   {smokeOf(t, open644, `"allow":false,"codes":["mode_too_open"]`), ""},
		"an allow expected":     {smokeOf(t, foreign, `"allow":true`), `"queen reads its token": allow is false, codes ["no_grant"]`},
		"a denial expected":     {smokeOf(t, goodRequest(), `"allow":false`), "allow is true"},
		"other codes":           {smokeOf(t, open644, `"allow":false,"codes":["no_grant"]`), `codes are ["mode_too_open"]`},
		"codes of an allow":     {smokeOf(t, goodRequest(), `"allow":true,"codes":["x"]`), "codes are []"},
		"what is no request":    {[]byte(`{"cases":[{"name":"a","input":{},"allow":false}]}`), ""},
		"more than the limit":   {[]byte(`{"cases":[{"name":"a","input":{"a":"` + strings.Repeat("x", 300<<10) + `"},"allow":false}]}`), "exceeded a limit"},
		"no request is allowed": {[]byte(`{"cases":[{"name":"a","input":{},"allow":true}]}`), "allow is false"},
	} {
		t.Run("POL-5010 "+name, func(t *testing.T) {
			b := bundleOf(t, grants)
			b.Smoke = c.smoke
			read, err := policy.ReadBundle(marshal(t, b)) // it survives the archive
			if err != nil {
				t.Fatal(err)
			}
			e, err := policy.Open(t.Context(), read, patient)
			if err == nil {
				e.Close()
			}
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!errors.Is(err, policy.ErrSmoke) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestAllowedButNotAskable: what is allowed and may not be asked for is never loaded.
func TestAllowedButNotAskable(t *testing.T) {
	b := tinyPolicy("g-1")
	b.Smoke = smokeOf(t, longRequest(), `"allow":true`)
	yes, no := "\x41\x80\x06", "\x41\xa0\x06" // the addresses of its two answers
	b.Wasm = []byte(strings.Replace(string(b.Wasm), yes, no, 1))
	if _, err := policy.Open(t.Context(), b, patient); !errors.Is(err, policy.ErrSmoke) || !strings.Contains(err.Error(), "may not be asked for") {
		t.Errorf("POL-5010: %v", err)
	}
}

// TestNoAnswerToTheFirstQuestion: POL-5010. A policy that cannot refuse what every sane one refuses is not opened.
func TestNoAnswerToTheFirstQuestion(t *testing.T) {
	b := tinyPolicy("g-1")
	b.Wasm = []byte(strings.Replace(string(b.Wasm), `"allow":false`, `"allow":"no"!`, 1))
	if e, err := policy.Open(t.Context(), b, patient); e != nil || !errors.Is(err, policy.ErrSmoke) || !errors.Is(err, policy.ErrEvaluation) {
		t.Errorf("engine %v, error %v", e, err)
	}
}

func TestMalformedSmoke(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`{"name":"a","input":{},"allow":false},`, 101), ",")
	for name, c := range map[string]struct{ smoke, want string }{
		"empty":          {"", "the JSON ends too early"},
		"a list":         {"[]", "not a JSON object"},
		"no cases":       {"{}", "cases: want a list"},
		"none":           {`{"cases":[]}`, "0 cases"},
		"many":           {`{"cases":[` + many + `]}`, "101 cases"},
		"a misspelling":  {`{"cases":[],"case":[]}`, `unknown field "case"`},
		"no name":        {`{"cases":[{"input":{},"allow":false}]}`, "case 1: name: want a string"},
		"no input":       {`{"cases":[{"name":"a","allow":false}]}`, "case 1: input: want an object"},
		"no verdict":     {`{"cases":[{"name":"a","input":{}}]}`, "case 1: allow: want a boolean"},
		"a null verdict": {`{"cases":[{"name":"a","input":{},"allow":null}]}`, "case 1: allow: want a boolean"},
		"codes":          {`{"cases":[{"name":"a","input":{},"allow":false,"codes":"x"}]}`, "case 1: codes: want a list"},
		"a field more":   {`{"cases":[{"name":"a","input":{},"allow":false,"skip":true}]}`, `case 1: unknown field "skip"`},
		"twice":          {`{"cases":[{"name":"a","input":{"a":1,"a":2},"allow":false}]}`, `duplicate member`},
		"too large":      {`{"cases":[{"name":"` + strings.Repeat("x", 1<<20) + `","input":{},"allow":false}]}`, "smoke.json has"},
	} {
		t.Run("POL-5010 "+name, func(t *testing.T) {
			b := bundleOf(t, grants)
			b.Smoke = []byte(c.smoke)
			raw, err := b.Marshal()
			if raw != nil || !errors.Is(err, policy.ErrBundle) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("written: error %v, want one with %q", err, c.want)
			}
			if name == "too large" {
				return
			}
			if e, err := policy.Open(t.Context(), b, patient); e != nil || !errors.Is(err, policy.ErrBundle) {
				t.Errorf("opened: %v", err)
			}
		})
	}
}
