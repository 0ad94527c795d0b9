package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/compile"
	_ "github.com/open-policy-agent/opa/v1/features/wasm" // OPA's own SDK for Wasm, which runs on wazero too
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/llorch/secrets-management/policy"
)

// POL-4010: the same hostile rules in OPA's own SDK for Wasm and in our sandbox. Each rule is about input.context.host, which
// a request can set to anything; the policy denies what is honest.

const header = `package secrets.load

default may_ask := false

decision := {"allow": bad, "reasons": [], "grants": [], "obligations": {"max_bytes": 0, "min_length": 0, "min_memory": ""}}

default bad := false

`

// rival evaluates a query over rules in OPA's SDK.
type rival struct{ query rego.PreparedEvalQuery }

func theirs(t *testing.T, rules string) *rival {
	t.Helper()
	q, err := rego.New(rego.Query("data.secrets.load.decision.allow"), rego.Module("rules.rego", header+rules), rego.Target("wasm")).PrepareForEval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &rival{q}
}

func (r *rival) allows(ctx context.Context, host string) (bool, error) {
	rs, err := r.query.Eval(ctx, rego.EvalInput(map[string]any{"context": map[string]any{"host": host}}))
	return rs.Allowed(), err
}

// wasm compiles rules as OPA does for its SDK: whatever builtin they call.
func wasm(t *testing.T, rules string) []byte {
	t.Helper()
	parsed, err := ast.ParseModule("rules.rego", header+rules)
	if err != nil {
		t.Fatal(err)
	}
	in := &bundle.Bundle{
		Data: map[string]any{}, Manifest: bundle.Manifest{Roots: &[]string{"secrets"}},
		Modules: []bundle.ModuleFile{{URL: "rules.rego", Path: "rules.rego", Parsed: parsed}},
	}
	c := compile.New().WithTarget(compile.TargetWasm).WithBundle(in).WithEntrypoints(policy.EntrypointDecision, policy.EntrypointMayAsk)
	if err := c.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c.Bundle().WasmModules[0].Raw
}

func ours(t *testing.T, rules string, l policy.Limits) *policy.Engine {
	t.Helper()
	e, err := policy.Open(t.Context(), &policy.Bundle{Wasm: wasm(t, rules)}, policy.Options{Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func ask(host string) *policy.Request {
	r := provoking()
	r.Context.Host = host
	return r
}

// TestHTTPSend: POL-4010. There, a rule talks to a server; here, the module is refused by the name of the builtin.
func TestHTTPSend(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer server.Close()
	rules := `bad if http.send({"method": "GET", "url": sprintf("` + server.URL + `/%s", [input.context.host])}).status_code == 200`
	if allowed, err := theirs(t, rules).allows(t.Context(), "secret"); !allowed || err != nil || asked.Load() != 1 {
		t.Errorf("OPA's SDK: allowed %v, error %v, %d requests", allowed, err, asked.Load())
	}
	e, err := policy.Open(t.Context(), &policy.Bundle{Wasm: wasm(t, rules)}, policy.Options{})
	if e != nil || err == nil || !strings.Contains(err.Error(), "http.send") || asked.Load() != 1 {
		t.Errorf("ours: error %v, %d requests", err, asked.Load())
	}
}

// TestMemory: POL-4010. There, one decision takes the memory that it wants; here, the limit ends it.
func TestMemory(t *testing.T) {
	const rules = `bad if count(numbers.range(1, to_number(input.context.host))) > 0`
	const hungry = "500000"
	if allowed, err := theirs(t, rules).allows(t.Context(), hungry); !allowed || err != nil {
		t.Errorf("OPA's SDK: allowed %v, error %v", allowed, err)
	}
	e := ours(t, rules, policy.Limits{Deadline: 10 * time.Second, Fuel: 10_000_000_000})
	if d, err := e.Decide(t.Context(), ask(hungry)); d.Allowed() || !errors.Is(err, policy.ErrLimit) || !strings.Contains(err.Error(), "memory") {
		t.Errorf("ours: allowed %v, error %v", d.Allowed(), err)
	}
	if d, err := e.Decide(t.Context(), ask("1")); !d.Allowed() || err != nil {
		t.Errorf("ours, the next request: allowed %v, error %v", d.Allowed(), err)
	}
}

// TestDeadline: POL-4010. There, a decision takes as long as it takes, unless its caller ends it; here, it has a deadline of
// its own.
func TestDeadline(t *testing.T) {
	const rules = `bad if {
	n := to_number(input.context.host)
	some i in numbers.range(1, n)
	some j in numbers.range(1, n)
	i + j < 0
}`
	const long = "5000"
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // the test's patience
	defer cancel()
	start := time.Now()
	if _, err := theirs(t, rules).allows(ctx, long); err == nil || time.Since(start) < 900*time.Millisecond {
		t.Errorf("OPA's SDK was done after %v: error %v", time.Since(start), err)
	}
	e := ours(t, rules, policy.Limits{Fuel: 10_000_000_000, GrowthBytes: 256 << 20}) // time is what runs out first
	start = time.Now()
	if d, err := e.Decide(t.Context(), ask(long)); d.Allowed() || !errors.Is(err, policy.ErrLimit) || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("ours, after %v: allowed %v, error %v", time.Since(start), d.Allowed(), err)
	}
	if d, err := e.Decide(t.Context(), ask("1")); d.Allowed() || err != nil {
		t.Errorf("ours, the next request: allowed %v, error %v", d.Allowed(), err)
	}
}

// TestBuiltinError: POL-4010. There, a builtin that fails is undefined, and what stands behind a "not" allows; here, it is a
// denial.
func TestBuiltinError(t *testing.T) {
	const rules = `bad if {
	input.context.host != ""
	not enough
}

enough if units.parse_bytes(input.context.host) > 10`
	if allowed, err := theirs(t, rules).allows(t.Context(), "no size"); !allowed || err != nil {
		t.Errorf("OPA's SDK: allowed %v, error %v", allowed, err)
	}
	e := ours(t, rules, policy.Limits{Deadline: 10 * time.Second})
	if d, err := e.Decide(t.Context(), ask("no size")); d.Allowed() || !errors.Is(err, policy.ErrEvaluation) || !strings.Contains(err.Error(), "units.parse_bytes") {
		t.Errorf("ours: allowed %v, error %v", d.Allowed(), err)
	}
	if d, err := e.Decide(t.Context(), ask("20MB")); d.Allowed() || err != nil {
		t.Errorf("ours, the next request: allowed %v, error %v", d.Allowed(), err)
	}
}

// TestReuseAfterATrap: POL-4010. A conflict of rules traps. There, the instance is used again, with its stack pointer where
// the trap left it, until its stack is used up and no request is answered any more; here, it is thrown away.
func TestReuseAfterATrap(t *testing.T) {
	const rules = "clash := 1 if input.context.host == \"clash\"\n\nclash := 2 if input.context.host == \"clash\"\n\nbad if clash == 1\n"
	const times = 1100
	sdk := theirs(t, rules)
	if allowed, err := sdk.allows(t.Context(), "honest"); allowed || err != nil {
		t.Errorf("OPA's SDK: allowed %v, error %v", allowed, err)
	}
	for range times {
		if _, err := sdk.allows(t.Context(), "clash"); err == nil {
			t.Fatal("OPA's SDK: no conflict")
		}
	}
	if _, err := sdk.allows(t.Context(), "honest"); err == nil || !strings.Contains(err.Error(), "out of bounds") {
		t.Errorf("OPA's SDK, an honest request after %d conflicts: error %v", times, err)
	}
	e := ours(t, rules, policy.Limits{Instances: 1, Deadline: 10 * time.Second})
	for range times {
		if d, err := e.Decide(t.Context(), ask("clash")); d.Allowed() || !errors.Is(err, policy.ErrEvaluation) {
			t.Fatalf("ours: allowed %v, error %v", d.Allowed(), err)
		}
	}
	if d, err := e.Decide(t.Context(), ask("honest")); d.Allowed() || err != nil {
		t.Errorf("ours, an honest request after %d conflicts: allowed %v, error %v", times, d.Allowed(), err)
	}
}
