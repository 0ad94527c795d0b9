package sandbox

import (
	"errors"
	"slices"
	"testing"
)

// TestInspectGuest: what the assembler wrote is what is found.
func TestInspectGuest(t *testing.T) { // POL-6004
	calls := &asmGuest{}
	call := func(k int) []byte { return cat([]byte{opCall}, calls.fn(k)) }
	chain := &asmGuest{extra: []asmFunc{
		{typ: typeVoid, body: call(1)}, {typ: typeVoid, body: call(2)}, {typ: typeVoid},
	}}
	itself := &asmGuest{extra: []asmFunc{{typ: typeVoid, body: call(0)}}}
	round := &asmGuest{extra: []asmFunc{
		{typ: typeVoid, body: call(1)}, {typ: typeVoid, body: cat(call(2), call(1))}, {typ: typeVoid, body: call(0)}, {typ: typeVoid, body: call(2)},
	}}
	indirect := &asmGuest{table: []byte{1, 0x70, 0, 9}, pages: 3, globals: 4, extra: []asmFunc{
		{typ: typeVoid, body: cat(i32const(0), []byte{opCallIndirect, typeVoid, 0}, i32const(0), []byte{opCallIndirect, typeVoid, 0})},
	}}
	for name, c := range map[string]struct {
		guest *asmGuest
		want  Facts
	}{
		"bare":            {&asmGuest{}, Facts{StartPages: 1, Functions: firstDefined, Globals: 2, Calls: Calls{Depth: 1}}},
		"a chain":         {chain, Facts{StartPages: 1, Functions: firstDefined + 3, Globals: 2, Calls: Calls{Depth: 3}}},
		"recursion":       {itself, Facts{StartPages: 1, Functions: firstDefined + 1, Globals: 2, Calls: Calls{Depth: 1, Recursive: 1}}},
		"a round":         {round, Facts{StartPages: 1, Functions: firstDefined + 4, Globals: 2, Calls: Calls{Depth: 4, Recursive: 3}}},
		"through a table": {indirect, Facts{StartPages: 3, Functions: firstDefined + 1, Globals: 6, Table: 9, Calls: Calls{Depth: 1, Indirect: 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			limits, err := Limits{}.Resolve()
			if err != nil {
				t.Fatal(err)
			}
			got, err := Inspect(t.Context(), c.guest.build(), Config{Limits: limits})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Entrypoints, []string{"secrets/load/decision", "secrets/load/may_ask"}) || len(got.Builtins) != 0 ||
				got.CodeBytes == 0 || got.StaticBytes == 0 || got.MostPages != limits.maxPages() || got.Engine == "" {
				t.Errorf("%+v", got)
			}
			if got.StartPages != c.want.StartPages || got.Functions != c.want.Functions || got.Globals != c.want.Globals ||
				got.Table != c.want.Table || got.Calls != c.want.Calls {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func TestInspectHostileGuests(t *testing.T) { // POL-6004
	limits, err := Limits{}.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	trap := &asmGuest{start: []byte{opUnreachable}}
	if _, err := Inspect(t.Context(), trap.build(), Config{Limits: limits}); !errors.Is(err, ErrEvaluation) {
		t.Errorf("error %v", err)
	}
	outside := &asmGuest{extra: []asmFunc{{typ: typeVoid, body: []byte{opCall, 0x7f}}}}
	if _, err := Inspect(t.Context(), outside.build(), Config{Limits: limits}); !errors.Is(err, ErrModule) {
		t.Errorf("error %v", err)
	}
}

// TestEveryTurnIsPaid: a turn of a loop costs its instructions and those of what it calls, wherever the fuel is kept: seven
// and the payment itself, and one and the payment for the function.
func TestEveryTurnIsPaid(t *testing.T) { // POL-6005
	calls := &asmGuest{}
	used := func(turns int64) int64 {
		body := cat(i32const(turns), []byte{0x21, 7, opLoop, typeNone, opCall}, calls.fn(0), []byte{0x20, 7}, i32const(1),
			[]byte{opI32Sub, 0x22, 7, 0x0d, 0, opEnd}, i32const(addrDeny))
		p := run(t, (&asmGuest{eval: body, extra: []asmFunc{{typ: typeVoid}}}).build(), false, Limits{})
		i, err := p.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i.Input = hostile
		if _, err := i.Evaluate(t.Context(), entrypoint); err != nil {
			t.Fatal(err)
		}
		defer p.Release(i, true)
		return i.Used()
	}
	if got := used(2_000) - used(1_000); got != 1_000*(8+2) {
		t.Errorf("1,000 turns cost %d", got)
	}
}

// TestUsedIsExact: an evaluation may use what it uses, and not one unit less.
func TestUsedIsExact(t *testing.T) { // POL-6005
	turns := cat(i32const(3_000_000), []byte{0x21, 7, opLoop, typeNone, 0x20, 7}, i32const(1), []byte{opI32Sub, 0x22, 7, 0x0d, 0, opEnd}, i32const(addrDeny))
	for name, guest := range map[string]*asmGuest{"less than a slice": {}, "some slices": {eval: turns}} {
		t.Run(name, func(t *testing.T) {
			used := func(fuel int64) (int64, error) {
				p := run(t, guest.build(), false, Limits{Fuel: fuel})
				i, err := p.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				i.Input = hostile
				_, err = i.Evaluate(t.Context(), entrypoint)
				n := i.Used()
				p.Release(i, err == nil)
				return n, err
			}
			n, err := used(0)
			if err != nil || n < 10 || (guest.eval != nil && n < 3*fuelSlice) {
				t.Fatalf("%d units, error %v", n, err)
			}
			if again, err := used(n); err != nil || again != n {
				t.Errorf("with %d units: %d, error %v", n, again, err)
			}
			if _, err := used(n - 1); !errors.Is(err, ErrLimit) {
				t.Errorf("with %d units: error %v", n-1, err)
			}
		})
	}
}
