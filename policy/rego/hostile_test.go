package rego

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/llorch/secrets-management/policy"
)

// TestHostileRego: POL-2001. Rego that compiles and still cannot decide is a denial, and the engine goes on.
func TestHostileRego(t *testing.T) {
	const granted = `{"secrets":{"services":{"s":[{"id":"g","actions":["load_secret"],"source":"file","paths":["/p"]}]}}}`
	tests := map[string]struct {
		rules string
		want  error
	}{
		"rule conflict": {
			"verdict := 1 if input.context.host == \"bad\"\nverdict := 2 if input.context.host == \"bad\"\nbad if verdict == 1\n", policy.ErrEvaluation,
		},
		"endless loop": {
			`bad if {
	input.context.host == "bad"
	some i in numbers.range(1, 100000)
	some j in numbers.range(1, 100000)
	i + j < 0
}`, policy.ErrLimit,
		},
		"1 GiB comprehension": {
			`bad if {
	input.context.host == "bad"
	count([x | some i in numbers.range(1, 100000000); x := {"a": i}]) > 0
}`, policy.ErrLimit,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			site := "package secrets.load\n\nsite_reasons contains " +
				`{"code": "a", "message": "", "severity": "error", "fix": ""} if bad` + "\n\n" + tt.rules
			b, err := Build(t.Context(), Source{Modules: map[string][]byte{"site.rego": []byte(site)}, Data: []byte(granted)})
			if err != nil {
				t.Fatal(err)
			}
			// A deadline that a busy machine does not reach: fuel and memory decide.
			e, err := policy.Open(t.Context(), b, policy.Options{Limits: policy.Limits{Deadline: 10 * time.Second}})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			for _, host := range []string{"bad", "good", "bad"} {
				d, err := e.Decide(t.Context(), hostileRequest(host))
				switch {
				case d.Allowed():
					t.Errorf("%s: allowed", host)
				case host == "bad" && !errors.Is(err, tt.want):
					t.Errorf("error %v, want %v", err, tt.want)
				case host == "good" && err != nil:
					t.Errorf("an honest request: %v", err)
				}
			}
		})
	}
}

// TestManyWriters: POL-1003. A refusal has its reasons within the fuel that services give, however many have access.
func TestManyWriters(t *testing.T) {
	const granted = `{"secrets":{"services":{"s":[{"id":"g","actions":["load_secret"],"source":"file","paths":["/p"]}]}}}`
	b, err := policy.DefaultBundle([]byte(granted))
	if err != nil {
		t.Fatal(err)
	}
	e, err := policy.Open(t.Context(), b, policy.Options{Limits: policy.Limits{Deadline: 10 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	r := hostileRequest("h")
	for uid := range int64(500) {
		r.Resource.File.Writers.UIDs = append(r.Resource.File.Writers.UIDs, 4_000_000_000+uid)
	}
	if d, err := e.Decide(t.Context(), r); err != nil || d.Allowed() || !slices.Contains(d.Codes(), "writable_by_others") {
		t.Errorf("codes %q, error %v", d.Codes(), err)
	}
}

func hostileRequest(host string) *policy.Request {
	return &policy.Request{
		Subject: policy.Subject{Service: "s", UID: 1}, Action: policy.LoadSecret,
		Resource: policy.Resource{Source: policy.SourceFile, Path: "/p", Facts: policy.FactsObserved},
		Context:  policy.Context{Phase: policy.PhaseRuntime, Host: host, Memory: policy.MemoryLocked},
	}
}
