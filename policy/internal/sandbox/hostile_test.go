package sandbox

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
)

// loop is (loop (br 0)): it never ends.
var loop = []byte{opLoop, typeNone, opBr, 0, opEnd}

// hostileGuests misbehave when they are asked with a long input; every one of them must be stopped, and must not keep
// the engine from answering the next request.
func hostileGuests() map[string]struct {
	guest asmGuest
	want  error
} {
	type guest = struct {
		guest asmGuest
		want  error
	}
	calls := &asmGuest{}                                                                  // for the indices of extra functions
	exponential := cat([]byte{0x20, 0, 0x45, opIf, typeI32}, i32const(0), []byte{opElse}, // n == 0 ? 0 : f(n-1)+f(n-1)
		[]byte{0x20, 0}, i32const(1), []byte{opI32Sub, opCall}, calls.fn(0),
		[]byte{0x20, 0}, i32const(1), []byte{opI32Sub, opCall}, calls.fn(0), []byte{opI32Add, opEnd})
	return map[string]guest{
		"endless loop":          {asmGuest{eval: cat(loop, i32const(0))}, ErrLimit},
		"exponential calls":     {asmGuest{eval: cat(i32const(60), []byte{opCall}, calls.fn(0)), extra: []asmFunc{{typ: typeOne, body: exponential}}}, ErrLimit},
		"endless recursion":     {asmGuest{eval: cat(i32const(0), []byte{opCall}, calls.fn(0)), extra: []asmFunc{{typ: typeOne, body: cat([]byte{0x20, 0, opCall}, calls.fn(0))}}}, ErrLimit},
		"wide recursion":        {asmGuest{eval: cat(i32const(0), []byte{opCall}, calls.fn(0)), extra: []asmFunc{{typ: typeOne, locals: 4000, body: cat([]byte{0x20, 0, opCall}, calls.fn(0))}}}, ErrLimit},
		"memory growth":         {asmGuest{eval: cat([]byte{opLoop, typeNone}, i32const(1), []byte{opMemoryGrow, 0, 0x1a, opBr, 0, opEnd}, i32const(0))}, ErrLimit},
		"result outside memory": {asmGuest{eval: i32const(-8)}, ErrEvaluation},
		"result without an end": {asmGuest{pages: 8, eval: cat(i32const(8191), i32const(1), []byte{0x36, 2, 0}, i32const(65536), []byte{0x21, 7}, []byte{opLoop, typeNone, 0x20, 7}, i32const(0x20202020), []byte{0x36, 2, 0, 0x20, 7}, i32const(4), []byte{opI32Add, 0x22, 7}, i32const(524288), []byte{0x49, 0x0d, 0, opEnd}, i32const(65536))}, ErrLimit},
		"unreachable":           {asmGuest{eval: []byte{opUnreachable}}, ErrEvaluation},
		"store out of bounds":   {asmGuest{eval: cat(i32const(-4), i32const(1), []byte{0x36, 2, 0}, i32const(0))}, ErrEvaluation},
		"division by zero":      {asmGuest{eval: cat(i32const(1), i32const(0), []byte{0x6d})}, ErrEvaluation},
		"indirect call out of table": {
			asmGuest{eval: cat(i32const(77), []byte{opCallIndirect, typeGet, 0}), table: []byte{1, 0x70, 1, 1, 1}}, ErrEvaluation,
		},
	}
}

// A hostile input makes hostile guests misbehave, an honest one does not.
var (
	hostile = []byte(`"` + strings.Repeat("h", longInput) + `"`)
	honest  = []byte("{}")
)

const entrypoint = "secrets/load/decision"

// run opens a program over a guest without data.
func run(t testing.TB, module []byte, interpreter bool, limits Limits) *Program {
	t.Helper()
	p, err := start(t.Context(), module, interpreter, limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// start opens a program and makes its first instance.
func start(ctx context.Context, module []byte, interpreter bool, limits Limits) (*Program, error) {
	limits, err := limits.Resolve()
	if err != nil {
		return nil, err
	}
	p, err := Open(ctx, module, []byte("{}"), Config{Limits: limits, Interpreter: interpreter, Entrypoints: []string{entrypoint}})
	if err != nil {
		return nil, err
	}
	inst, err := p.Acquire(ctx)
	if err != nil {
		p.Close()
		return nil, err
	}
	p.Release(inst, true)
	return p, nil
}

// evaluate returns a copy of what a guest answers.
func evaluate(ctx context.Context, p *Program, input []byte) (string, error) {
	inst, err := p.Acquire(ctx)
	if err != nil {
		return "", err
	}
	inst.Input = append(inst.Input[:0], input...)
	raw, err := inst.Evaluate(ctx, entrypoint)
	answer := string(raw)
	p.Release(inst, err == nil)
	return answer, err
}

func TestHostileGuests(t *testing.T) {
	for name, h := range hostileGuests() {
		for _, interpreter := range []bool{false, true} {
			t.Run("POL-2001/"+name, func(t *testing.T) {
				p := run(t, h.guest.build(), interpreter, Limits{Instances: 1})
				for range 2 {
					start := time.Now()
					if _, err := evaluate(t.Context(), p, hostile); !errors.Is(err, h.want) {
						t.Errorf("error %v, want %v", err, h.want)
					}
					if took := time.Since(start); took > 5*time.Second {
						t.Errorf("took %v", took)
					}
					if answer, err := evaluate(t.Context(), p, honest); err != nil || answer != denyJSON {
						t.Errorf("the next honest request: %q, error %v", answer, err)
					}
				}
			})
		}
	}
}

// TestHostileControl shows that the attacks work where the guest is not metered: the same loop runs past the same
// deadline until wazero is told to end it.
func TestHostileControl(t *testing.T) {
	guest := hostileGuests()["endless loop"].guest
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCloseOnContextDone(true))
	defer rt.Close(t.Context())
	if _, err := rt.InstantiateWithConfig(ctx, memoryModule(), wazero.NewModuleConfig().WithName(envModule)); err != nil {
		t.Fatal(err)
	}
	mod, err := rt.InstantiateWithConfig(ctx, guest.build(), wazero.NewModuleConfig().WithName("guest"))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = mod.ExportedFunction("opa_eval").Call(ctx, 0, 0, 0, 0, longInput+1, 0, 0)
	if took := time.Since(start); err == nil || took < 250*time.Millisecond {
		t.Errorf("the loop ended by itself after %v: %v", took, err)
	}
}

// memoryModule exports the memory that OPA guests import.
func memoryModule() []byte {
	out := append([]byte{}, wasmHeader...)
	out = append(out, byte(secMemory), 3, 1, 0, 16)
	return appendBytes(append(out, byte(secExport)), vec(append(appendName(nil, memoryImport), kindMemory, 0)))
}

func TestRefusedModules(t *testing.T) {
	many := asmGuest{extra: []asmFunc{{typ: typeVoid, locals: maxLocals + 1}}}
	everywhere := asmGuest{extra: slices.Repeat([]asmFunc{{typ: typeVoid, locals: maxLocals}}, maxAllLocals/maxLocals+1)}
	deep := cat(slices.Repeat([]byte{opBlock, typeNone}, maxNesting+1), slices.Repeat([]byte{opEnd}, maxNesting+1))
	tests := map[string]struct {
		module []byte
		says   string
	}{
		"empty":                   {nil, "not a WebAssembly"},
		"not Wasm":                {[]byte("#!/bin/sh\n"), "not a WebAssembly"},
		"truncated":               {(&asmGuest{}).build()[:200], "malformed module"},
		"WASI import":             {(&asmGuest{imports: []string{"fd_write"}, module: "wasi_snapshot_preview1"}).build(), `"wasi_snapshot_preview1"."fd_write"`},
		"clock import":            {(&asmGuest{imports: []string{"now"}}).build(), `"env"."now"`},
		"the hook itself":         {(&asmGuest{imports: []string{hookName}, module: hookModule}).build(), `"engine"."refill"`},
		"wrong import type":       {(&asmGuest{imports: []string{"opa_abort"}}).build(), "wrong type"},
		"exports engine.fuel":     {(&asmGuest{exports: map[string]uint32{exportFuel: 0}}).build(), "is taken"},
		"global one past its own": {(&asmGuest{eval: cat([]byte{opI64Const, 0, opGlobalSet, 2}, i32const(0))}).build(), "global"},
		"memory of its own":       {(&asmGuest{sections: map[sectionID][]byte{secMemory: {1, 0, 1}}}).build(), "malformed module"},
		"starts with 4 GiB":       {(&asmGuest{pages: 65536}).build(), "pages of memory"},
		"starts with all memory":  {(&asmGuest{pages: 1025}).build(), "pages of memory"}, // room that is there for decisions
		"too many locals":         {many.build(), "locals"},
		"locals everywhere":       {everywhere.build(), "locals"},
		"deep nesting":            {(&asmGuest{extra: []asmFunc{{typ: typeVoid, body: deep}}}).build(), "nested"},
		"values that meet": {
			(&asmGuest{extra: []asmFunc{{typ: typeVoid, locals: 1000, body: mergeBomb(1000, 150)}}}).build(), "too many locals in too many blocks",
		},
		"4 billion data segments": {
			(&asmGuest{sections: map[sectionID][]byte{secData: {0xff, 0xff, 0xff, 0xff, 0x0f}}}).build(), "data segments",
		},
		"huge table":               {(&asmGuest{table: []byte{1, 0x70, 1, 0xff, 0xff, 0x3f, 0xff, 0xff, 0x3f}}).build(), "table"},
		"data outside memory":      {(&asmGuest{sections: map[sectionID][]byte{secData: cat([]byte{1, 0}, i32const(1<<30), []byte{opEnd, 1, 0})}}).build(), "data"},
		"bulk memory":              {(&asmGuest{eval: cat(i32const(0), i32const(0), i32const(9), []byte{0xfc, 11, 0}, i32const(0))}).build(), "malformed module"},
		"start that never returns": {(&asmGuest{start: loop}).build(), "deadline"},
		"start that traps":         {(&asmGuest{start: []byte{opUnreachable}}).build(), "unreachable"},
	}
	for name, tt := range tests {
		t.Run("POL-2002/"+name, func(t *testing.T) {
			_, err := start(t.Context(), tt.module, false, Limits{LoadingBudget: 50 * time.Millisecond})
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one that says %q", err, tt.says)
			}
		})
	}
}

// mergeBomb changes every local in the innermost of nested loops: a value of each meets at each loop.
func mergeBomb(locals, loops int) []byte {
	b := slices.Repeat([]byte{opLoop, typeNone}, loops)
	for i := range locals {
		b = appendU32(cat(appendU32(append(b, 0x20), uint32(i)), i32const(1), []byte{opI32Add, 0x21}), uint32(i))
	}
	return append(b, slices.Repeat([]byte{opEnd}, loops)...)
}

// TestCustomSectionsAreNotRead: the names in one of 20 bytes would have wazero allocate 100 GB, which ends the process.
func TestCustomSectionsAreNotRead(t *testing.T) { // POL-2002
	names := cat(appendName(nil, "name"), []byte{1}, appendBytes(nil, appendU32(nil, 0xffffffff)))
	module := appendBytes(append((&asmGuest{}).build(), byte(secCustom)), names)
	run(t, module, false, Limits{})
}

// TestBareGuest is the control of the tests above: the assembler's guest itself is acceptable.
func TestBareGuest(t *testing.T) {
	p := run(t, (&asmGuest{}).build(), false, Limits{})
	if answer, err := evaluate(t.Context(), p, hostile); err != nil || answer != denyJSON {
		t.Errorf("%q, error %v", answer, err)
	}
}

func TestDeadlineHolds(t *testing.T) {
	guest := hostileGuests()["endless loop"].guest
	p := run(t, guest.build(), false, Limits{Deadline: 20 * time.Millisecond, Fuel: 10_000_000_000})
	start := time.Now()
	_, err := evaluate(t.Context(), p, hostile)
	if took := time.Since(start); !errors.Is(err, ErrLimit) || took < 20*time.Millisecond || took > time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(5*time.Millisecond, cancel)
	if _, err := evaluate(ctx, p, hostile); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestWaitersHonourTheirContext: while the only instance is busy, a waiter leaves when its context ends.
func TestWaitersHonourTheirContext(t *testing.T) {
	guest := hostileGuests()["endless loop"].guest
	p := run(t, guest.build(), false, Limits{Instances: 1, Deadline: 2 * time.Second, Fuel: 10_000_000_000})
	busy := make(chan error)
	go func() {
		_, err := evaluate(context.Background(), p, hostile)
		busy <- err
	}()
	time.Sleep(50 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := evaluate(ctx, p, honest); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it waited for %v", took)
	}
	if err := <-busy; !errors.Is(err, ErrLimit) {
		t.Errorf("error %v", err)
	}
}
