package sandbox

import (
	"errors"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero/sys"
)

// attack is a guest that misbehaves when it is asked with a long input, or already while it is loaded.
type attack struct {
	guest   asmGuest
	want    error                // what the sandbox stops it with
	loading bool                 // it never comes so far as to be asked
	forever bool                 // the control has to end it
	bounded *asmGuest            // what the control runs where guest would never end
	works   func(*plainRun) bool // it does what it is for, where nothing stops it
}

// Bodies of guests.
var (
	loop     = []byte{opLoop, typeNone, opBr, 0, opEnd} // (loop (br 0)) never ends
	drop     = []byte{0x1a}
	trapping = []byte{opUnreachable}
)

func get(local byte) []byte { return []byte{0x20, local} }

func set(local byte) []byte { return []byte{0x21, local} }

func store(at, value int64) []byte { return cat(i32const(at), i32const(value), []byte{0x36, 2, 0}) }

func call(fn []byte) []byte { return append([]byte{opCall}, fn...) }

// forever repeats a body that leaves nothing.
func forever(body ...[]byte) []byte {
	return cat([]byte{opLoop, typeNone}, cat(body...), []byte{opBr, 0, opEnd})
}

func grow(pages int64) []byte { return cat(i32const(pages), []byte{opMemoryGrow, 0}) }

// What the controls ask for.

// endless: it was not done when wazero ended it.
func endless(r *plainRun) bool {
	var ended *sys.ExitError
	return errors.As(r.err, &ended) && r.took > plainFor/2
}

// unstoppable: wazero was to end it, and did not notice before it was done.
func unstoppable(r *plainRun) bool { return r.took > 2*plainFor }

// reused: after the trap the same instance answers, and it remembers.
func reused(r *plainRun) bool { return r.err != nil && r.next == allowJSON }

// eats: the process allocated so much for it.
func eats(bytes uint64) func(*plainRun) bool {
	return func(r *plainRun) bool { return r.alloc >= bytes }
}

func holds(bytes int) func(*plainRun) bool {
	return func(r *plainRun) bool { return len(r.memory) >= bytes }
}

func callsHost(times int) func(*plainRun) bool {
	return func(r *plainRun) bool { return r.calls >= times }
}

// recursive is (func (param n) (result i32)) that calls itself with n-1, times over, until n is 0.
func recursive(times, locals int, self []byte) asmFunc {
	deeper := cat(get(0), i32const(1), []byte{opI32Sub}, self)
	var keep, sum []byte
	for k := range locals { // different values that live across the calls
		local := appendU32(nil, uint32(k+1))
		keep = cat(keep, get(0), i32const(int64(k+3)), []byte{0x6c, 0x21}, local)
		sum = cat(sum, []byte{0x20}, local, []byte{opI32Add})
	}
	body := cat(get(0), []byte{0x45, opIf, typeI32}, i32const(0), []byte{opElse}, keep, deeper)
	for range times - 1 {
		body = cat(body, deeper, []byte{opI32Add})
	}
	return asmFunc{typ: typeOne, locals: max(1, locals), body: cat(body, sum, []byte{opEnd})}
}

// recursing is a guest that calls an extra function with depth.
func recursing(depth int64, f asmFunc) asmGuest {
	g := asmGuest{eval: cat(i32const(depth), call((&asmGuest{}).fn(0))), extra: []asmFunc{f}}
	return g
}

// inTable is a table with one element: the first extra function.
func inTable(g asmGuest) asmGuest {
	g.table = []byte{1, 0x70, 1, 2, 2}
	g.elements = vec(cat([]byte{0}, i32const(0), []byte{opEnd}, vec(g.fn(0))))
	return g
}

func indirect(at int64, typ byte) []byte { return cat(i32const(at), []byte{opCallIndirect, typ, 0}) }

// importing is a guest of one imported function, which is function 0.
func importing(name string, typ uint32, eval []byte) asmGuest {
	return asmGuest{imports: []string{name}, importAs: typ, eval: eval}
}

// answering is a guest whose function of the ABI does something else.
func answering(function string, body []byte) asmGuest {
	return asmGuest{abi: map[string][]byte{function: body}}
}

// longText fills memory from one page on with a text of so many bytes, and leaves its address.
func longText(n int64) []byte {
	return cat(i32const(65536), set(7), []byte{opLoop, typeNone}, get(7), i32const(0x20202020), []byte{0x36, 2, 0},
		get(7), i32const(4), []byte{opI32Add, 0x22, 7}, i32const(65536+n), []byte{0x49, opBrIf, 0, opEnd}, i32const(65536))
}

func attacks() map[string]attack {
	self := call((&asmGuest{}).fn(0))
	through := indirect(0, typeOne)
	twice, once, wide := recursive(2, 0, self), recursive(1, 0, self), recursive(1, 200, self)
	ptr := func(g asmGuest) *asmGuest { return &g }
	all := map[string]attack{
		"endless loop": {guest: asmGuest{eval: cat(loop, i32const(0))}, want: ErrLimit, forever: true, works: endless},
		"endless loop of a br_table": {
			guest: asmGuest{eval: cat([]byte{opLoop, typeNone}, i32const(3), []byte{opBrTable}, appendU32(nil, 1000), make([]byte, 1001), []byte{opEnd}, i32const(0))},
			want:  ErrLimit, forever: true, works: endless,
		},
		"endless loop after the answer": {
			guest: asmGuest{eval: cat(i32const(addrAllow), forever(store(addrHeap, 1)))}, want: ErrLimit, forever: true, works: endless,
		},
		"exponential calls without a loop": {
			guest: recursing(60, twice), want: ErrLimit, bounded: ptr(recursing(28, twice)), forever: true, works: unstoppable,
		},
		"exponential calls through the table": {
			guest: inTable(recursing(60, recursive(2, 0, through))), want: ErrLimit,
			bounded: ptr(inTable(recursing(27, recursive(2, 0, through)))), forever: true, works: unstoppable,
		},
		"deep recursion": {
			guest: recursing(1_000_000_000, once), want: ErrLimit, bounded: ptr(recursing(1_000_000, once)), works: eats(16 * mib),
		},
		"deep recursion through the table": {
			guest: inTable(recursing(1_000_000_000, recursive(1, 0, through))), want: ErrLimit,
			bounded: ptr(inTable(recursing(1_000_000, recursive(1, 0, through)))), works: eats(16 * mib),
		},
		"wide recursion": {
			guest: recursing(1_000_000_000, wide), want: ErrLimit, bounded: ptr(recursing(50_000, wide)), works: eats(16 * mib),
		},
		"memory growth": {
			guest: asmGuest{eval: cat(forever(grow(16), drop), i32const(0))}, want: ErrLimit,
			bounded: &asmGuest{eval: cat(slices.Repeat(cat(grow(16), drop), 64), i32const(0))}, works: holds(64 * mib),
		},
		"memory growth at once": {
			guest: asmGuest{eval: cat(grow(1000), drop, store(1000*pageBytes, 1), i32const(addrDeny))}, want: ErrLimit, works: holds(1000 * pageBytes),
		},
		"memory.grow storm": {guest: asmGuest{eval: cat(forever(grow(0), drop), i32const(0))}, want: ErrLimit, forever: true, works: endless},
		"huge result": {
			guest: asmGuest{pages: 40, eval: longText(2 * mib)}, want: ErrLimit,
			works: func(r *plainRun) bool { return strings.Count(string(r.memory), " ") == 2*mib },
		},
		"result outside the memory": {
			guest: asmGuest{eval: i32const(-8)}, want: ErrEvaluation, works: func(r *plainRun) bool { return r.result > uint32(len(r.memory)) },
		},
		"result without an end": {
			guest: asmGuest{eval: cat(store(65532, 0x20202020), i32const(65532))}, want: ErrEvaluation,
			works: func(r *plainRun) bool { return slices.Index(r.memory[r.result:], 0) < 0 },
		},
		"abort, then an allow": {
			guest: importing("opa_abort", typeSink, cat(i32const(addrEntry), call([]byte{0}), i32const(addrAllow))), want: ErrEvaluation,
			works: func(r *plainRun) bool { return r.err == nil && r.result == addrAllow && r.calls == 1 },
		},
		"abort, then an endless loop": {
			guest: importing("opa_abort", typeSink, cat(i32const(addrEntry), call([]byte{0}), loop, i32const(0))), want: ErrEvaluation, forever: true, works: endless,
		},
		"abort storm": {
			guest: importing("opa_abort", typeSink, cat(forever(i32const(-1), call([]byte{0})), i32const(0))), want: ErrEvaluation, forever: true, works: callsHost(10_000),
		},
		"println storm": {
			guest: importing("opa_println", typeSink, cat(forever(i32const(0), call([]byte{0})), i32const(0))), want: ErrLimit, forever: true, works: callsHost(10_000),
		},
		"builtin that nobody offers, then an allow": {
			guest: importing("opa_builtin0", typeTwo, cat(i32const(99), i32const(0), call([]byte{0}), drop, i32const(addrAllow))), want: ErrEvaluation,
			works: func(r *plainRun) bool { return r.err == nil && r.result == addrAllow && r.calls == 1 },
		},
		"heap outside the memory": {
			guest: answering("opa_heap_ptr_get", i32const(-8)), want: ErrEvaluation,
			works: func(r *plainRun) bool { return r.abiHeap > uint32(len(r.memory)) },
		},
		"overwrites its own answers, then traps": {
			guest: asmGuest{eval: cat(store(addrDeny, 0x20202020), trapping)}, want: ErrEvaluation,
			works: func(r *plainRun) bool { return !strings.Contains(string(r.memory), denyJSON) && r.next != "" },
		},
		"start that never returns": {guest: asmGuest{start: loop}, want: ErrLimit, loading: true, forever: true, works: endless},
		"start that never returns from the host": {
			guest: asmGuest{imports: []string{"opa_println"}, importAs: typeSink, start: forever(i32const(0), call([]byte{0}))},
			want:  ErrLimit, loading: true, forever: true, works: callsHost(10_000),
		},
		"start that takes memory": {
			guest: asmGuest{start: cat(grow(1100), i32const(0), []byte{0x48, opIf, typeNone, opUnreachable, opEnd})},
			want:  ErrLimit, loading: true, works: holds(1100 * pageBytes),
		},
		"malloc outside the memory": {
			guest: answering("opa_malloc", i32const(-8)), want: ErrEvaluation, loading: true,
			works: func(r *plainRun) bool { return r.err == nil },
		},
		"list of builtins that is long": {
			guest: asmGuest{pages: 4, abi: map[string][]byte{"builtins": cat(i32const(65536))}, start: fill(65536, 2*maxNames, '[')},
			want:  ErrLimit, loading: true,
			works: func(r *plainRun) bool { return strings.Count(string(r.memory), "[") > maxNames },
		},
	}
	for name, body := range map[string][]byte{
		"unreachable":                     trapping,
		"store outside the memory":        cat(store(-4, 1), i32const(0)),
		"load outside, by the offset":     cat(i32const(-1), []byte{0x28, 2}, appendU32(nil, 0xffffffff)),
		"division by zero":                cat(i32const(1), i32const(0), []byte{0x6d}),
		"division that overflows":         cat(i32const(-1<<31), i32const(-1), []byte{0x6d}),
		"conversion of NaN":               {opF32Const, 0, 0, 0xc0, 0x7f, 0xa8},
		"indirect call out of the table":  indirect(77, typeGet),
		"indirect call of nothing":        indirect(1, typeOne),
		"indirect call of the wrong type": indirect(0, typeGet),
	} {
		if strings.HasPrefix(name, "indirect call of nothing") {
			body = cat(i32const(0), body)
		}
		all[name] = attack{guest: inTable(asmGuest{eval: body, extra: []asmFunc{once}}), want: ErrEvaluation, works: reused}
	}
	return all
}

// fill is the body of a start function that writes n bytes from an address on.
func fill(at, n int64, b byte) []byte {
	word := int64(b) * 0x01010101
	return cat(store(at, at), // a counter in the first word, for want of locals
		[]byte{opLoop, typeNone}, i32const(at), i32const(at), []byte{0x28, 2, 0}, i32const(4), []byte{opI32Add, 0x36, 2, 0},
		i32const(at), []byte{0x28, 2, 0}, i32const(word), []byte{0x36, 2, 0},
		i32const(at), []byte{0x28, 2, 0}, i32const(at+n-4), []byte{0x49, opBrIf, 0, opEnd}, store(at, word))
}
