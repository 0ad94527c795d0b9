package rego

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/llorch/secrets-management/policy/internal/builtins"
	"github.com/llorch/secrets-management/policy/internal/sandbox"
)

// testLimits are wider than those of a service: a test makes many decisions, on a machine that is busy with others.
func testLimits() (sandbox.Limits, error) {
	return sandbox.Limits{
		Deadline: 10 * time.Second, Fuel: 10_000_000_000, GrowthBytes: 256 << 20, InputBytes: 4 << 20, ResultBytes: 4 << 20,
		ModuleBytes: 16 << 20, DataBytes: 256 << 20, LoadingBudget: time.Minute, Instances: 1,
	}.Resolve()
}

// fewTests are done sooner by the interpreter, which starts at once and takes some 20 ms for a test of several decisions.
const fewTests = 10

// What of tests goes into one module: the sandbox reads no list of entrypoints of more than 64 KiB, and compiles no function
// that branches without end, as that does which tells entrypoints apart.
const (
	maxEntrypoints     = 100
	maxEntrypointBytes = 48 << 10
)

// runWasm answers the tests by the sandbox: each is an entrypoint of a module that has the policy's rules too.
func (s *suite) runWasm(ctx context.Context) (map[string]answer, error) {
	answers := map[string]answer{}
	for rest := s.listed; len(rest) > 0; {
		n, size := 0, 0
		for ; n < min(len(rest), maxEntrypoints) && (n == 0 || size+len(rest[n].entrypoint) < maxEntrypointBytes); n++ {
			size += len(rest[n].entrypoint) + len(`"":10000,`)
		}
		if err := s.runModule(ctx, rest[:n], answers); err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	return answers, nil
}

// runModule answers tests that are the entrypoints of one module.
func (s *suite) runModule(ctx context.Context, tests []listedTest, answers map[string]answer) error {
	program, err := s.program(ctx, tests)
	if err != nil {
		return err
	}
	defer program.Close() //nolint:contextcheck // closing waits for guests that are bounded themselves
	for i := range tests {
		if err := ctx.Err(); err != nil {
			return err
		}
		answers[tests[i].name] = evaluateTest(ctx, program, &tests[i])
	}
	return nil
}

func (s *suite) program(ctx context.Context, tests []listedTest) (*sandbox.Program, error) {
	modules, err := s.modules()
	if err != nil {
		return nil, err
	}
	entrypoints := make([]string, len(tests))
	for i := range tests {
		entrypoints[i] = tests[i].entrypoint
	}
	wasm, err := wasmOf(ctx, modules, "", entrypoints...)
	if err != nil {
		return nil, fmt.Errorf("the tests cannot be compiled to Wasm: %w", err)
	}
	limits, err := testLimits()
	if err != nil {
		return nil, err
	}
	data := s.src.Data
	if data == nil {
		data = []byte(noGrants)
	}
	program, err := sandbox.Open(ctx, wasm, data, sandbox.Config{
		Limits: limits, Interpreter: len(entrypoints) < fewTests, Builtins: builtins.All(), Entrypoints: entrypoints,
	})
	if err != nil {
		return nil, fmt.Errorf("the tests cannot be run in the sandbox: %w", err)
	}
	return program, nil
}

// evaluateTest puts a test to the sandbox. There is no input, as in OPA: tests bring theirs.
func evaluateTest(ctx context.Context, program *sandbox.Program, t *listedTest) answer {
	inst, err := program.Acquire(ctx)
	if err != nil {
		return answer{ran: true, err: err}
	}
	start := time.Now()
	inst.Input = inst.Input[:0]
	raw, err := inst.Evaluate(ctx, t.entrypoint)
	a := answer{ran: true, err: err}
	if err == nil {
		a.err = a.read(raw, t.cases)
	}
	program.Release(inst, err == nil) //nolint:contextcheck // likewise
	a.took = time.Since(start)
	return a
}

// read takes what a test evaluates to: nothing, a boolean, or booleans by the names of cases.
func (a *answer) read(raw []byte, cases bool) error {
	var results []struct{ Result any }
	if err := json.Unmarshal(raw, &results); err != nil {
		return err // unreachable: the sandbox gives JSON
	}
	if cases {
		a.cases = map[string]bool{}
	}
	switch {
	case len(results) == 0:
		return nil
	case len(results) > 1:
		return errors.New("more than one result") // unreachable: it is one rule
	case !cases:
		a.pass = results[0].Result == true
		return nil
	}
	a.pass = true
	a.flatten("", results[0].Result)
	return nil
}

// flatten names cases as OPA's runner does.
func (a *answer) flatten(prefix string, v any) {
	members, isObject := v.(map[string]any)
	if !isObject {
		a.cases[prefix] = v == true
		a.pass = a.pass && v == true
		return
	}
	for name, member := range members {
		if prefix != "" {
			name = prefix + "." + name
		}
		a.flatten(name, member)
	}
}
