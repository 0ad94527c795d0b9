package policy

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestInspectDefault(t *testing.T) { // POL-6004
	b, err := DefaultBundle([]byte(memoGrants))
	if err != nil {
		t.Fatal(err)
	}
	for _, interpreter := range []bool{false, true} {
		e := openMemo(t, Options{Interpreter: interpreter})
		defer e.Close()
		got, err := Inspect(t.Context(), b, Options{Interpreter: interpreter})
		if err != nil {
			t.Fatal(err)
		}
		want := e.Info()
		want.Since = time.Time{}
		if got.Info != want || got.WasmBytes != len(b.Wasm) || got.DataBytes != len(memoGrants) || len(got.Builtins) != 0 {
			t.Errorf("%+v, want %+v", got, want)
		}
		if !slices.Equal(got.Entrypoints, []string{EntrypointDecision, EntrypointMayAsk}) {
			t.Errorf("entrypoints %q", got.Entrypoints)
		}
		m := got.Module
		if !slices.Contains(m.Imports, "opa_abort") || m.StartBytes < 64<<10 || m.MostBytes < 80<<20 ||
			m.CodeBytes+m.StaticBytes > got.WasmBytes || m.CodeBytes < got.WasmBytes/2 || m.StaticBytes == 0 {
			t.Errorf("%+v", m)
		}
		if m.Functions < 700 || m.Types < 20 || m.Globals < 3 || m.TableEntries < 100 || m.CallDepth < 10 || m.CallDepth > 200 ||
			m.Recursive < 5 || m.Recursive > 200 || m.IndirectCalls < 5 {
			t.Errorf("%+v", m)
		}
	}
}

func TestInspectRefuses(t *testing.T) { // POL-6004
	for name, c := range map[string]struct {
		wasm string
		o    Options
		want error
	}{
		"no module":     {"#!/bin/sh", Options{}, ErrBundle},
		"a large one":   {"\x00asm", Options{Limits: Limits{ModuleBytes: 3}}, ErrLimit},
		"a header only": {"\x00asm\x01\x00\x00\x00", Options{}, ErrBundle},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Inspect(t.Context(), &Bundle{Wasm: []byte(c.wasm)}, c.o); got != nil || !errors.Is(err, c.want) {
				t.Errorf("%+v, error %v", got, err)
			}
		})
	}
	if _, err := Inspect(t.Context(), &Bundle{}, Options{Limits: Limits{Fuel: -1}}); err == nil {
		t.Error("a limit out of its range is accepted")
	}
}

// TestWorst: the dearest of several requests counts, and a memory of verdicts makes none cheaper.
func TestWorst(t *testing.T) { // POL-6004
	e := openMemo(t, Options{})
	denied := allowedInput()
	denied.Resource.File = File{}
	cheap, err := e.Worst(t.Context(), allowedInput())
	if err != nil {
		t.Fatal(err)
	}
	dear, err := e.Worst(t.Context(), denied, allowedInput())
	if err != nil || dear.Fuel <= cheap.Fuel || cheap.Fuel < 100_000 || dear.Fuel > 10_000_000 || dear.Time <= 0 || dear.Time > time.Minute {
		t.Errorf("%+v and %+v, error %v", cheap, dear, err)
	}
	again, err := e.Worst(t.Context(), denied, allowedInput())
	if err != nil || again.Fuel < dear.Fuel/2 {
		t.Errorf("%+v after %+v, error %v", again, dear, err)
	}
	if _, err := e.Worst(t.Context(), allowedInput(), &Request{}); !errors.Is(err, ErrRequest) {
		t.Errorf("error %v", err)
	}
	e.Close()
	if _, err := e.Worst(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v", err)
	}
}
