package sandbox

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLimitsAreRanges: POL-4007. A zero field is the default, one within its range is kept, anything else is an error that
// names the field.
func TestLimitsAreRanges(t *testing.T) {
	most := map[string]int64{
		"Deadline": int64(10 * time.Second), "Fuel": 10_000_000_000, "GrowthBytes": 256 * mib, "StackBytes": 256 * mib,
		"InputBytes": 4 * mib, "ResultBytes": 4 * mib, "DataBytes": 1024 * mib, "ModuleBytes": 16 * mib, "Instances": 1024,
		"LoadingBudget": int64(time.Minute),
	}
	if n := reflect.TypeFor[Limits]().NumField(); n != len(most) {
		t.Fatalf("%d limits, %d bounds", n, len(most))
	}
	for name, bound := range most {
		for value, ok := range map[int64]bool{-1: false, 0: true, 1: true, bound: true, bound + 1: false} {
			var l Limits
			reflect.ValueOf(&l).Elem().FieldByName(name).SetInt(value)
			got, err := l.Resolve()
			switch now := reflect.ValueOf(got).FieldByName(name).Int(); {
			case (err == nil) != ok || !ok && !strings.Contains(err.Error(), name):
				t.Errorf("%s %d: error %v", name, value, err)
			case ok && (now < 1 || now > bound || value != 0 && now != value):
				t.Errorf("%s %d: resolved to %d", name, value, now)
			}
		}
	}
}

// counts is the body of an evaluation that goes round a loop so often.
func counts(rounds int64) []byte {
	return cat(i32const(rounds), set(7), []byte{opLoop, typeNone}, get(7), i32const(1), []byte{opI32Sub, 0x22, 7, opBrIf, 0, opEnd}, i32const(addrDeny))
}

// passes reports whether a guest answers a hostile input, and that nothing but a limit keeps it from that.
func passes(t *testing.T, g asmGuest, interpreter bool, l Limits, input []byte) bool {
	t.Helper()
	p, err := start(t.Context(), g.build(), interpreter, l)
	if err == nil {
		defer p.Close()
		_, err = evaluate(t.Context(), p, input)
	}
	if err != nil && !errors.Is(err, ErrLimit) && !errors.Is(err, ErrModule) {
		t.Errorf("%+v: %v", l, err)
	}
	return err == nil
}

// TestEachLimitFromBothSides: POL-4007. What just fits passes, and one more is refused.
func TestEachLimitFromBothSides(t *testing.T) {
	const slow = 10 * time.Second // than any of these
	deep := func(depth int64) asmGuest { return recursing(depth, recursive(1, 0, call((&asmGuest{}).fn(0)))) }
	evalFrame, deepFrame := frameOf(t, deep(1), firstDefined-1), frameOf(t, deep(1), firstDefined)
	input := func(n int) []byte { return []byte(`"` + strings.Repeat("x", n-2) + `"`) }
	small := len((&asmGuest{}).build())
	tests := map[string]struct {
		guest     asmGuest
		pass, not Limits
		input     []byte
	}{
		"growth":         {asmGuest{eval: cat(grow(20), i32const(0), []byte{0x48, opIf, typeNone, opUnreachable, opEnd}, i32const(addrDeny))}, Limits{GrowthBytes: 20 * pageBytes}, Limits{GrowthBytes: 20*pageBytes - 1}, hostile},
		"input":          {asmGuest{}, Limits{InputBytes: 3000}, Limits{InputBytes: 2999}, input(3000)},
		"input grows":    {answering("opa_heap_ptr_get", i32const(pageBytes-1000)), Limits{GrowthBytes: pageBytes}, Limits{GrowthBytes: pageBytes - 1}, input(1200)},
		"result":         {asmGuest{pages: 3, eval: longText(5000)}, Limits{ResultBytes: 5000}, Limits{ResultBytes: 4999}, hostile},
		"data at start":  {asmGuest{pages: 10}, Limits{DataBytes: 10 * pageBytes}, Limits{DataBytes: 9 * pageBytes}, honest},
		"data loaded":    {asmGuest{start: cat(grow(9), i32const(0), []byte{0x48, opIf, typeNone, opUnreachable, opEnd})}, Limits{DataBytes: 10 * pageBytes}, Limits{DataBytes: 10*pageBytes - 1}, honest},
		"module":         {asmGuest{}, Limits{ModuleBytes: small}, Limits{ModuleBytes: small - 1}, honest},
		"depth":          {deep(500), Limits{StackBytes: evalFrame + 501*deepFrame}, Limits{StackBytes: evalFrame + 501*deepFrame - 1}, hostile},
		"depth of one":   {deep(0), Limits{StackBytes: evalFrame + deepFrame}, Limits{StackBytes: evalFrame + deepFrame - 1}, hostile},
		"deadline":       {asmGuest{eval: counts(1_000_000)}, Limits{}, Limits{Deadline: 1}, hostile},
		"loading budget": {asmGuest{start: fill(32768, 32_000, 1)}, Limits{}, Limits{LoadingBudget: 1}, honest},
	}
	for name, tt := range tests {
		for engine, interpreter := range engines {
			t.Run("POL-4007/"+name+"/"+engine, func(t *testing.T) {
				if tt.pass.Deadline == 0 {
					tt.pass.Deadline = slow
				}
				if tt.not.Deadline == 0 {
					tt.not.Deadline = slow
				}
				if !passes(t, tt.guest, interpreter, tt.pass, tt.input) {
					t.Errorf("%+v: refused", tt.pass)
				}
				if passes(t, tt.guest, interpreter, tt.not, tt.input) {
					t.Errorf("%+v: passed", tt.not)
				}
			})
		}
	}
}

// frameOf is what the stack budget pays for one call of a function, counted by the bodies that the assembler wrote.
func frameOf(t *testing.T, g asmGuest, function int) int64 {
	t.Helper()
	f := g.functions()[function]
	r := &rewriter{types: []funcType{{params: i32s(map[uint32]int{typeOne: 1, typeSeven: 7}[f.typ]), results: i32s(1)}}}
	m := &funcMeter{r: r, c: &cursor{b: cat([]byte{1}, appendU32(nil, uint32(f.locals)), []byte{typeI32}, f.body, []byte{opEnd})}, typ: r.types[0]}
	if err := m.rewrite(); err != nil || !m.calls {
		t.Fatalf("calls %v, error %v", m.calls, err)
	}
	return 64 + 8*(int64(len(m.typ.params)+f.locals)+m.count)
}

// TestFuelIsExact: POL-4007. There is a least amount of fuel that suffices, one less does not, and it grows with the work.
func TestFuelIsExact(t *testing.T) {
	least := func(rounds int64) int64 {
		enough := func(fuel int64) bool {
			return passes(t, asmGuest{eval: counts(rounds)}, true, Limits{Fuel: fuel, Deadline: 10 * time.Second}, hostile)
		}
		low, high := int64(1), int64(10_000_000) // low does not suffice, high does
		for high-low > 1 {
			if mid := (low + high) / 2; enough(mid) {
				high = mid
			} else {
				low = mid
			}
		}
		return high
	}
	one, two, three := least(30_000), least(60_000), least(90_000)
	if two-one != three-two || (two-one)%30_000 != 0 || two-one < 5*30_000 {
		t.Errorf("%d, %d and %d units for one, two and three times the work", one, two, three)
	}
}

// TestFramesAreGivenBack: POL-4007. However a function ends, its frame is free again: a million calls one after the other
// are not deep.
func TestFramesAreGivenBack(t *testing.T) {
	self := &asmGuest{}
	leaf := asmFunc{typ: typeOne, locals: 1, body: get(0)}
	returning := asmFunc{typ: typeOne, locals: 1, body: cat(get(0), []byte{opIf, typeNone}, get(0), call(self.fn(0)), []byte{opReturn, opEnd}, get(0))}
	branching := asmFunc{typ: typeOne, locals: 1, body: cat(get(0), call(self.fn(0)), get(0), []byte{opBrIf, 0})}
	again := func(fn int) []byte { return cat(get(7), call(self.fn(fn)), drop) }
	body := cat(i32const(1_000_000), set(7), []byte{opLoop, typeNone}, again(1), again(2), get(7), i32const(1), []byte{opI32Sub, 0x22, 7, opBrIf, 0, opEnd}, i32const(addrDeny))
	g := asmGuest{eval: body, extra: []asmFunc{leaf, returning, branching}}
	if !passes(t, g, false, Limits{StackBytes: 4096, Fuel: 10_000_000_000, Deadline: 10 * time.Second}, hostile) {
		t.Error("they use up the stack")
	}
}

// TestWhatCostsMore: POL-4008. What takes longer than an addition, in one engine or the other, is paid for.
func TestWhatCostsMore(t *testing.T) {
	for name, tt := range map[string]struct {
		body   []byte
		locals uint32
		cost   int64 // of the entry
		more   int64 // of what is paid for where it stands
	}{
		"nothing":        {nil, 0, 2, 0},
		"an addition":    {cat(i32const(1), i32const(2), []byte{opI32Add}, drop), 0, 6, 0},
		"locals":         {nil, 500, 502, 0},
		"a load":         {cat(i32const(1), []byte{0x28, 2, 0}, drop), 0, 5 + loadCost, 0},
		"a store":        {store(1, 2), 0, 5 + loadCost, 0},
		"a division":     {cat(i32const(1), i32const(2), []byte{0x6d}, drop), 0, 6 + divCost, 0},
		"a remainder":    {cat([]byte{opI64Const, 1, opI64Const, 2, 0x82}, drop), 0, 6 + divCost, 0},
		"a square root":  {cat([]byte{opF64Const}, make([]byte, 8), []byte{0x9f}, drop), 0, 5 + divCost, 0},
		"a multiplexer":  {cat(i32const(1), []byte{opBrTable, 3, 0, 0, 0, 0}), 0, 8, 0},
		"growing":        {cat(grow(1), drop), 0, 5, growCost},
		"calling":        {call([]byte{1}), 0, 3, 0},
		"calling a host": {call([]byte{0}), 0, 3, hostCost},
		"a loop":         {cat(loop, i32const(0), drop), 0, 5, 3},
	} {
		r := &rewriter{imports: 1, types: []funcType{{}}}
		m := &funcMeter{r: r, c: &cursor{b: cat([]byte{1}, appendU32(nil, tt.locals), []byte{typeI32}, tt.body, []byte{opEnd})}}
		if err := m.rewrite(); err != nil {
			t.Fatal(err)
		}
		more := int64(0)
		for _, p := range m.pays[1:] {
			if p.cost != leaving && p.cost != returned {
				more += p.cost
			}
		}
		if m.pays[0].cost != tt.cost || more != tt.more {
			t.Errorf("%s: costs %d and %d, want %d and %d", name, m.pays[0].cost, more, tt.cost, tt.more)
		}
	}
}

// TestInterpretersOwnDepth: POL-4007. wazero's interpreter allows 2,000 frames, whatever the limit; that is a limit too.
func TestInterpretersOwnDepth(t *testing.T) {
	g := recursing(3000, recursive(1, 0, call((&asmGuest{}).fn(0))))
	for engine, interpreter := range engines {
		if ok := passes(t, g, interpreter, Limits{Deadline: 10 * time.Second}, hostile); ok == interpreter {
			t.Errorf("%s: passes %v", engine, ok)
		}
	}
}

// TestInstancesAreLimited: POL-4007. As many as the limit decide at the same time, the next one waits.
func TestInstancesAreLimited(t *testing.T) {
	p := run(t, (&asmGuest{}).build(), true, Limits{Instances: 3})
	var busy []*Instance
	for range 3 {
		inst, err := p.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		busy = append(busy, inst)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := p.Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a fourth: %v", err)
	}
	for _, inst := range busy {
		p.Release(inst, true)
	}
	if _, err := evaluate(t.Context(), p, honest); err != nil {
		t.Error(err)
	}
}

// TestDeclaredBounds: POL-4007. What a module may declare, from both sides.
func TestDeclaredBounds(t *testing.T) {
	nop := asmFunc{typ: typeVoid, body: []byte{0x01}}
	body := func(b []byte, locals int) func(int) asmGuest {
		return func(n int) asmGuest {
			return asmGuest{extra: []asmFunc{{typ: typeVoid, locals: locals, body: slices.Repeat(b, n)}}}
		}
	}
	exports := func(n int) asmGuest {
		g := asmGuest{exports: map[string]uint32{}}
		for i := range n - firstDefined - 2 {
			g.exports[strings.Repeat("x", i+1)] = 0
		}
		return g
	}
	nested := func(n int) asmGuest {
		return asmGuest{extra: []asmFunc{{typ: typeVoid, body: cat(slices.Repeat([]byte{opBlock, typeNone}, n), slices.Repeat([]byte{opEnd}, n))}}}
	}
	segments := func(n int) asmGuest {
		g := asmGuest{}
		have := (&g).dataSection()[1:] // behind its count, which is one byte
		g.sections = map[sectionID][]byte{secData: cat(appendU32(nil, uint32(n)), have, slices.Repeat(cat([]byte{0}, i32const(0), []byte{opEnd, 0}), n-6))}
		return g
	}
	tests := map[string]struct {
		guest func(n int) asmGuest
		most  int
	}{
		"functions": {func(n int) asmGuest { return asmGuest{extra: slices.Repeat([]asmFunc{nop}, n-firstDefined)} }, maxFunctions},
		"types": {func(n int) asmGuest {
			return asmGuest{sections: map[sectionID][]byte{secType: vec(append(asmTypes(), slices.Repeat([][]byte{funcTypeOf(0, 0)}, n-len(asmTypes()))...)...)}}
		}, maxTypes},
		"globals": {func(n int) asmGuest { return asmGuest{globals: n - 2} }, maxGlobals},
		"exports": {exports, maxExports},
		"table":   {func(n int) asmGuest { return asmGuest{table: cat([]byte{1, 0x70, 0}, appendU32(nil, uint32(n)))} }, maxElements},
		"locals": {func(n int) asmGuest {
			return asmGuest{extra: []asmFunc{{typ: typeVoid, locals: n, body: []byte{0x01}}}}
		}, maxLocals},
		"nesting":           {nested, maxNesting},
		"loops":             {body([]byte{opLoop, typeNone, opEnd}, 0), maxLoops},
		"data segments":     {segments, maxSegments},
		"bytes of a body":   {func(n int) asmGuest { return body([]byte{0x01}, 1)(n - 4) }, maxBody}, // a group of locals and the end
		"locals and blocks": {func(n int) asmGuest { return body([]byte{opBlock, typeNone, opEnd}, 1000)(n / 1000) }, maxMerges},
		"places of a br_table": {func(n int) asmGuest {
			return asmGuest{extra: []asmFunc{{typ: typeVoid, body: cat(i32const(0), []byte{opBrTable}, appendU32(nil, uint32(n-1)), make([]byte, n))}}}
		}, 14_140},
		"values kept alive": {func(n int) asmGuest {
			return asmGuest{extra: []asmFunc{{typ: typeOne, body: operandBomb(999, n)}}}
		}, 2_496},
		"searches for locals": {func(n int) asmGuest {
			return asmGuest{extra: []asmFunc{{typ: typeVoid, locals: 100, body: body(cat(i32const(0), []byte{opBrIf, 0}), 0)(n).extra[0].body}}}
		}, 2_827},
		"branches in function": {func(n int) asmGuest { return body(cat(i32const(0), []byte{opBrIf, 0}), 0)(n) }, 14_140}, // squared just below 200 million
	}
	steps := map[string]int{"locals and blocks": 1000, "branches in function": 2, "places of a br_table": 2, "values kept alive": 2, "searches for locals": 2} // to the next number that says anything
	for name, tt := range tests {
		t.Run("POL-4007/"+name, func(t *testing.T) {
			step := max(1, steps[name])
			g := tt.guest(tt.most)
			if p, err := start(t.Context(), g.build(), true, Limits{}); err != nil {
				t.Errorf("%d: %v", tt.most, err)
			} else {
				p.Close()
			}
			g = tt.guest(tt.most + step)
			if p, err := start(t.Context(), g.build(), true, Limits{}); !errors.Is(err, ErrModule) {
				t.Errorf("%d: error %v", tt.most+step, err)
				if p != nil {
					p.Close()
				}
			}
		})
	}
}

// TestOperands: POL-4002. How many values lie on the stack at most is known for every instruction, and dead code does not
// hide any.
func TestOperands(t *testing.T) {
	two := []byte{opI64Const, 0, opI64Const, 0}
	for name, tt := range map[string]struct {
		body []byte
		want int64
	}{
		"constants":      {cat(two, two), 4},
		"an addition":    {cat(two, []byte{0x7c}, two), 3},
		"a comparison":   {cat(two, []byte{opI64LtS}, two), 3},
		"one of one":     {cat(two, []byte{0x50, 0x8b, 0x99, 0xa7, 0x67, 0x79}, two), 4},
		"loads":          {cat(two, []byte{0x28, 2, 0}, two), 4},
		"stores":         {cat(two, []byte{0x36, 2, 0}, two), 2},
		"locals":         {cat([]byte{0x20, 0, 0x22, 0, 0x21, 0}, two), 2},
		"a select":       {cat(two, []byte{0x41, 0, opSelect}, two), 3},
		"a drop":         {cat(two, []byte{opDrop}, two), 3},
		"a branch":       {cat(two, []byte{opBrIf, 0}, two), 3},
		"a call":         {cat(two, call([]byte{1}), two), 3},
		"indirect":       {cat(two, []byte{opCallIndirect, typeOne, 0}, two), 3},
		"memory":         {cat([]byte{opMemorySize, 0, opMemoryGrow, 0}, two), 3},
		"a block":        {cat(two, []byte{opBlock, typeI64}, two, []byte{opDrop, opEnd}, two), 5},
		"two branches":   {cat(two, []byte{opIf, typeNone}, two, []byte{opElse}, two, []byte{opEnd}, two), 3},
		"dead code":      {cat(two, []byte{opBlock, typeNone, opUnreachable, opDrop, opDrop, opDrop, opEnd}, two), 4},
		"more than none": {cat([]byte{opDrop, opDrop}, two), 2},
	} {
		r, err := read((&asmGuest{}).build(), Limits{StackBytes: mib, DataBytes: mib})
		if err != nil {
			t.Fatal(err)
		}
		f := funcMeter{r: r, c: &cursor{b: cat([]byte{0}, tt.body, []byte{opEnd})}}
		if err := f.rewrite(); err != nil || f.values.tallest != tt.want {
			t.Errorf("%s: %d values, error %v, want %d", name, f.values.tallest, err, tt.want)
		}
	}
}
