package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/llorch/secrets-management/policy/internal/sandbox"
	"github.com/llorch/secrets-management/policy/internal/value"
)

const entrypoint = "eval"

// outcome is what the sandbox made of a case.
type outcome struct {
	result   value.Value // what OPA calls the result set
	json     []byte      // the same as services read it
	err      error
	builtins []string // of the host that were called
	failed   []error  // what those said that failed
}

// evaluate runs a case twice in one instance: for Rego's own notation, and for JSON.
func (c *testCase) evaluate(ctx context.Context) (*outcome, error) {
	wasm, err := c.compile(ctx)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	input, data, err := c.documents()
	if err != nil {
		return nil, err
	}
	// Fuel and deadline for an interpreter on a busy machine; one case needs 100 million instructions. All else is what
	// services have.
	limits, err := sandbox.Limits{
		Deadline: 10 * time.Second, LoadingBudget: time.Minute, Fuel: 1_000_000_000, Instances: 1,
	}.Resolve()
	if err != nil {
		return nil, err
	}
	o := new(outcome)
	program, err := sandbox.Open(ctx, wasm, data, sandbox.Config{
		Limits: limits, Interpreter: true, Entrypoints: []string{entrypoint}, Builtins: o.record(offered()), Lenient: !c.StrictError,
	})
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer program.Close()
	inst, err := program.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("instantiate: %w", err)
	}
	inst.Input, inst.Notation = input, true
	o.err = o.read(ctx, inst)
	program.Release(inst, o.err == nil)
	return o, nil
}

func (o *outcome) read(ctx context.Context, inst *sandbox.Instance) error {
	raw, err := inst.Evaluate(ctx, entrypoint)
	if err != nil {
		return err
	}
	if o.result, err = value.Parse(raw); err != nil {
		return fmt.Errorf("result %.300q: %w", raw, err)
	}
	inst.Notation = false
	if raw, err = inst.Evaluate(ctx, entrypoint); err != nil {
		return fmt.Errorf("the second time: %w", err)
	}
	o.json = bytes.Clone(raw)
	return nil
}

// record wraps builtins to tell what they were asked and what they said.
func (o *outcome) record(all map[string]sandbox.Builtin) map[string]sandbox.Builtin {
	for name, b := range all {
		call := b.Call
		b.Call = func(ctx context.Context, args []value.Value) (value.Value, error) {
			if !slices.Contains(o.builtins, name) {
				o.builtins = append(o.builtins, name)
			}
			v, err := call(ctx, args)
			if err != nil {
				o.failed = append(o.failed, fmt.Errorf("%s: %w", name, err))
			}
			return v, err
		}
		all[name] = b
	}
	return all
}

// documents are the input, empty where it is undefined, and the data.
func (c *testCase) documents() (input, data []byte, err error) {
	switch {
	case c.InputTerm != nil:
		term, err := ast.ParseTerm(*c.InputTerm)
		if err != nil {
			return nil, nil, fmt.Errorf("input_term: %w", err)
		}
		input = []byte(term.String())
	case c.Input != nil:
		if input, err = json.Marshal(*c.Input); err != nil {
			return nil, nil, err
		}
	}
	data = []byte("{}")
	if c.Data != nil {
		data, err = json.Marshal(*c.Data)
	}
	return input, data, err
}
