package policy

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/policy/internal/sandbox"
)

// guest opens an engine over a guest of the sandbox's assembler.
func guest(t *testing.T, name string, data []byte, opts Options) *Engine {
	t.Helper()
	wasm, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Open(t.Context(), &Bundle{Wasm: wasm, Data: data}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// provoking is a request that is long, which is what those guests wait for.
func provoking() *Request {
	r := smokeRequest()
	r.Context.Host = strings.Repeat("h", 2000)
	return r
}

// TestHostileVerdicts: POL-4004. Whatever a guest gives for its verdict, only a well-formed one counts, and the engine goes
// on. Each verdict says yes to a reader that is less strict.
func TestHostileVerdicts(t *testing.T) {
	swap := func(old, replacement string) string { return strings.Replace(allowJSON, old, replacement, 1) }
	nested := strings.Repeat("[", 1_000_000)
	tests := map[string]struct {
		verdict string
		fools   func(string) bool // a reader that takes it for an allow
	}{
		"truncated":              {allowJSON[:len(allowJSON)-2], streams},
		"nested 1,000,000 deep":  {swap(`[]`, nested+strings.Repeat("]", 1_000_000)), func(s string) bool { return depth(s) > 1_000_000 }},
		"nested without an end":  {swap(`[]`, nested), streams},
		"a member twice":         {swap(`"allow":true`, `"allow":false,"allow":true`), unmarshals},
		"another case":           {swap(`"allow"`, `"ALLOW"`), unmarshals},
		"an escaped name":        {swap(`"allow"`, `"\u0061llow"`), unmarshals},
		"not UTF-8":              {swap(`"g"`, "\"\xff\xfe\""), unmarshals},
		"bytes behind it":        {allowJSON + `[{"result":{"allow":false}}]`, streams},
		"two results":            {swap(`}]`, `},{"result":{"allow":false}}]`), unmarshals},
		"an unknown member":      {swap(`"allow":true`, `"allow":true,"audit":false`), unmarshals},
		"an error beside an yes": {swap(`"reasons":[]`, `"reasons":[`+reasonJSON("x", "error")+`]`), unmarshals},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			limits := Limits{ResultBytes: 4 << 20, Deadline: 10 * time.Second}
			e := guest(t, "parrot.wasm", []byte(tt.verdict), Options{Limits: limits})
			for range 2 {
				if d, err := e.Decide(t.Context(), provoking()); d.Allowed() || !errors.Is(err, ErrEvaluation) {
					t.Errorf("allowed %v, error %.200v", d.Allowed(), err)
				} else if len(err.Error()) > 500 {
					t.Errorf("an error of %d bytes", len(err.Error()))
				}
				if d, err := e.Decide(t.Context(), smokeRequest()); d.Allowed() || err != nil {
					t.Errorf("the next honest request: allowed %v, error %v", d.Allowed(), err)
				}
			}
			if !tt.fools(tt.verdict) {
				t.Error("a careless reader is not fooled either")
			}
		})
	}
	e := guest(t, "parrot.wasm", []byte(allowJSON), Options{})
	if d, err := e.Decide(t.Context(), provoking()); !d.Allowed() || err != nil {
		t.Errorf("well-formed: allowed %v, error %v", d.Allowed(), err)
	}
}

// unmarshals reads as most programs do.
func unmarshals(s string) bool {
	var results []struct{ Result struct{ Allow bool } }
	err := json.Unmarshal([]byte(s), &results)
	return err == nil && len(results) > 0 && results[0].Result.Allow
}

// streams stops reading when it knows enough.
func streams(s string) bool {
	d := json.NewDecoder(strings.NewReader(s))
	for {
		token, err := d.Token()
		if err != nil {
			return false
		}
		if token == "allow" {
			token, err = d.Token()
			return err == nil && token == true
		}
	}
}

// depth is how deep a reader that calls itself for each bracket would go.
func depth(s string) (deepest int) {
	at := 0
	for _, c := range s {
		switch c {
		case '[':
			at++
			deepest = max(deepest, at)
		case ']':
			at--
		}
	}
	return deepest
}

// TestOnlyTheHostWritesJSON: POL-4004. OPA's own parser, in the guest, takes for an input what is none: what is written here
// is right by construction, and data is checked where it comes in.
func TestOnlyTheHostWritesJSON(t *testing.T) {
	const data = `{"secrets":{"services":{"s":[{"id":"g","actions":["load_secret"],"source":"env","names":["N"]}]}}}`
	asked := &Request{
		Subject: Subject{Service: "s", UID: 1, GID: 1}, Action: LoadSecret,
		Resource: Resource{Source: SourceEnv, Name: "N", Facts: FactsObserved}, Context: Context{Phase: PhaseRuntime, Memory: MemoryLocked},
	}
	whole, err := asked.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	input, err := askOf(whole)
	if err != nil {
		t.Fatal(err)
	}
	b, err := DefaultBundle([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	p := program(t, b.Wasm, data)
	other := strings.Replace(string(input), `"action":"load_secret"`, `"action":"derive_key","action":"load_secret"`, 1)
	for name, tt := range map[string]struct{ input, answer string }{
		"whole":           {string(input), "true"},
		"truncated":       {string(input[:len(input)-1]), "false"},
		"bytes behind it": {string(input) + `,"action":"derive_key"}`, "true"},
		"a member twice":  {other, "true"},
	} {
		if answer, err := ask(t.Context(), p, tt.input); err != nil || answer != `[{"result":`+tt.answer+`}]` {
			t.Errorf("%s: %q, error %v", name, answer, err)
		}
	}
	for name, data := range map[string]struct {
		data  string
		takes bool // OPA's parser does
	}{
		"truncated":             {data[:len(data)-1], false},
		"a member twice":        {`{"secrets":{"services":{}},` + data[1:], true},
		"nested 1,000,000 deep": {`{"secrets":{"services":` + strings.Repeat("[", 1_000_000), false},
		"not UTF-8":             {strings.Replace(data, `"g"`, "\"\xff\"", 1), false},
		"bytes behind it":       {data + "{}", true},
	} {
		if _, err := ParseGrants([]byte(data.data)); !errors.Is(err, ErrGrants) {
			t.Errorf("%s: %v", name, err)
		}
		if (&Bundle{Wasm: b.Wasm, Data: []byte(data.data), Manifest: b.Manifest}).check() == nil {
			t.Errorf("%s: a bundle has it", name)
		}
		if err := takes(t, b.Wasm, data.data); (err == nil) != data.takes {
			t.Errorf("%s: OPA's own parser: %v", name, err)
		}
	}
}

func program(t *testing.T, wasm []byte, data string) *sandbox.Program {
	t.Helper()
	limits, err := sandbox.Limits{Deadline: 10 * time.Second}.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	p, err := sandbox.Open(t.Context(), wasm, []byte(data), sandbox.Config{Limits: limits, Interpreter: true, Entrypoints: []string{EntrypointMayAsk}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func ask(ctx context.Context, p *sandbox.Program, input string) (string, error) {
	inst, err := p.Acquire(ctx)
	if err != nil {
		return "", err
	}
	inst.Input = []byte(input)
	raw, err := inst.Evaluate(ctx, EntrypointMayAsk)
	answer := string(raw)
	p.Release(inst, err == nil)
	return answer, err
}

// takes reports whether a guest loads data.
func takes(t *testing.T, wasm []byte, data string) error {
	p := program(t, wasm, data)
	inst, err := p.Acquire(t.Context())
	if err == nil {
		p.Release(inst, true)
	}
	return err
}

// TestFailedInstanceIsThrownAway: POL-2001. A guest whose answer was no decision does not get to give another one.
func TestFailedInstanceIsThrownAway(t *testing.T) {
	e := guest(t, "parrot.wasm", []byte(allowJSON+"x"), Options{Limits: Limits{Instances: 1}})
	program := e.active.Load().program
	idle := func() *sandbox.Instance {
		inst, err := program.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		program.Release(inst, true)
		return inst
	}
	first := idle()
	if _, err := e.Decide(t.Context(), smokeRequest()); err != nil || idle() != first { // the control
		t.Errorf("not used again after a good answer, error %v", err)
	}
	if d, err := e.Decide(t.Context(), provoking()); d.Allowed() || !errors.Is(err, ErrEvaluation) || idle() == first {
		t.Errorf("allowed %v, error %v; used again: %v", d.Allowed(), err, idle() == first)
	}
}

// TestFresh: POL-4009. A module that no Rego was compiled to can remember a request and answer the next one by it, unless
// every decision has an instance of its own.
func TestFresh(t *testing.T) {
	for fresh := range map[bool]int{false: 0, true: 1} {
		e := guest(t, "remembers.wasm", nil, Options{Fresh: fresh, Limits: Limits{Instances: 1}})
		if d, err := e.Decide(t.Context(), provoking()); d.Allowed() || err != nil {
			t.Errorf("fresh %v: allowed %v, error %v", fresh, d.Allowed(), err)
		}
		if d, err := e.Decide(t.Context(), smokeRequest()); d.Allowed() == fresh || err != nil {
			t.Errorf("fresh %v: after that, allowed %v, error %v", fresh, d.Allowed(), err)
		}
	}
}

// TestSmokeInputsOfGuestsThatTakeAnything: POL-5010. A case that cannot be put as the other question is not passed.
func TestSmokeInputsOfGuestsThatTakeAnything(t *testing.T) {
	e := guest(t, "parrot.wasm", []byte(allowJSON), Options{Limits: Limits{Deadline: 10 * time.Second}})
	a := e.active.Load()
	c := &smokeCase{input: json.RawMessage("[" + strings.Repeat(" ", 4000) + "]"), allow: true}
	var fault *json.UnmarshalTypeError
	if err := a.runCase(t.Context(), c); !errors.As(err, &fault) {
		t.Errorf("no object: %v", err)
	}
	c.input = json.RawMessage(`{"a":"` + strings.Repeat("x", 4000) + `"}`)
	e.Close()
	if err := a.runCase(t.Context(), c); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestADamagedDefaultIsNotRun: POL-1005. What is built in is read as strictly as what comes from outside.
func TestADamagedDefaultIsNotRun(t *testing.T) {
	whole := defaultBundle
	t.Cleanup(func() { defaultBundle = whole })
	defaultBundle = whole[:len(whole)-1]
	if b, err := DefaultBundle([]byte("{}")); b != nil || !errors.Is(err, ErrBundle) {
		t.Errorf("bundle %v, error %v", b, err)
	}
}
