package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/llorch/secrets-management/policy/internal/sandbox"
)

// Inspection is what can be told of a bundle before anything is decided by it.
type Inspection struct {
	Info        Info // as an engine would have it; Since is zero
	Module      Module
	WasmBytes   int
	DataBytes   int
	Builtins    []string // of Rego that the module wants from its host
	Entrypoints []string // that it answers
}

// Module is what a bundle's policy.wasm declares.
type Module struct {
	Imports       []string // from the host, besides the memory
	StartBytes    int64    // of memory, at the start
	MostBytes     int64    // that it may grow to, by the limits
	CodeBytes     int
	StaticBytes   int // constants of the rules and of OPA's runtime
	Functions     int
	Types         int
	Globals       int
	TableEntries  int
	CallDepth     int // the longest chain of direct calls in which no function comes twice
	Recursive     int // functions that can come to call themselves by direct calls: those of OPA's runtime, Rego has none
	IndirectCalls int // places that call through the table, of which the code does not tell where they lead
}

// Inspect describes a bundle. It runs the module's start function and those that name its builtins and entrypoints, in the
// sandbox and within the limits, and decides nothing, so that it also describes a bundle that [Open] would refuse: one
// that wants builtins, lacks an entrypoint or fails its smoke test. The error matches ErrBundle, ErrLimit or
// ErrEvaluation. ctx bounds all of it.
func Inspect(ctx context.Context, b *Bundle, opts Options) (*Inspection, error) {
	limits, err := sandbox.Limits(opts.Limits).Resolve()
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	f, err := sandbox.Inspect(ctx, b.Wasm, sandbox.Config{Limits: limits, Interpreter: opts.Interpreter})
	if err != nil {
		return nil, moduleError(err)
	}
	const page = 64 << 10
	return &Inspection{
		Info:      Info{Engine: f.Engine, Revision: b.Manifest.Revision, Digest: digest(b), Signed: b.Statement()},
		WasmBytes: len(b.Wasm), DataBytes: len(b.data()), Builtins: f.Builtins, Entrypoints: f.Entrypoints,
		Module: Module{
			Imports: f.Imports, StartBytes: page * int64(f.StartPages), MostBytes: page * int64(f.MostPages),
			CodeBytes: f.CodeBytes, StaticBytes: f.StaticBytes, Functions: f.Functions, Types: f.Types, Globals: f.Globals,
			TableEntries: f.Table, CallDepth: f.Calls.Depth, Recursive: f.Calls.Recursive, IndirectCalls: f.Calls.Indirect,
		},
	}, nil
}

// moduleError says which file of a bundle is at fault.
func moduleError(err error) error {
	if errors.Is(err, sandbox.ErrModule) {
		return fmt.Errorf("%w: %s: %w", ErrBundle, wasmFile, err)
	}
	return fmt.Errorf("%s: %w", wasmFile, err)
}

// Cost is what judging took.
type Cost struct {
	Fuel int64         // about one unit an instruction; Limits.Fuel bounds it
	Time time.Duration // with encoding and parsing, and the wait for a free instance
}

// Worst judges requests as Decide and MayAsk do, without remembering anything, and returns the most fuel and the most time
// that one evaluation took. Errors are those of Decide, about the first request that has one.
func (e *Engine) Worst(ctx context.Context, requests ...*Request) (Cost, error) {
	a := e.active.Load()
	if a == nil {
		return Cost{}, ErrClosed
	}
	var worst Cost
	for _, r := range requests {
		for _, q := range []question{judgeFacts, askReference} {
			start := time.Now()
			_, fuel, err := a.evaluate(ctx, q, r)
			if err != nil {
				return worst, err
			}
			worst = Cost{max(worst.Fuel, fuel), max(worst.Time, time.Since(start))}
		}
	}
	return worst, nil
}
