package sandbox

import (
	"pgregory.net/rapid"
)

// A generator of guests that are valid and come to an end: loops count down, and a function calls only those before it.

type generator struct {
	t      *rapid.T
	fn     int // the function being written, of the extra ones
	inLoop int // loops around the place
	labels int // blocks around the place that a branch may leave: the innermost are the last
	budget int // instructions left, about
}

// The locals of a generated function: the parameter, three to play with, and a counter for each loop in a loop.
const (
	playLocals  = 4
	maxInLoops  = 3
	genGlobals  = 3
	genImports  = 1 // opa_println
	genMaskAddr = 0x7ffc
)

func drawGuest(t *rapid.T) []byte {
	n := rapid.IntRange(1, 4).Draw(t, "functions")
	guest := asmGuest{
		imports: []string{"opa_println"}, importAs: typeSink, globals: genGlobals, pages: uint32(rapid.IntRange(1, 3).Draw(t, "pages")),
	}
	for k := range n {
		g := &generator{t: t, fn: k, budget: 60}
		body := cat(g.statements(2), g.expression(2))
		guest.extra = append(guest.extra, asmFunc{typ: typeOne, locals: playLocals - 1 + maxInLoops, body: body, export: "generated" + string(rune('a'+k))})
	}
	// Slot 0 has the first function, which calls no other; 1 one of another type; the rest is empty.
	guest.table = []byte{1, 0x70, 0, 4}
	guest.elements = vec(cat([]byte{0}, i32const(0), []byte{opEnd}, vec(guest.fn(0), guest.fn(-firstDefined+3))))
	guest.eval = cat(i32const(7), call(guest.fn(n-1)))
	if rapid.Bool().Draw(t, "start") {
		g := &generator{t: t, budget: 10}
		guest.extra = append(guest.extra, asmFunc{typ: typeOne, locals: playLocals - 1 + maxInLoops, body: cat(g.statements(1), g.expression(1))})
		guest.start = cat(i32const(3), call(guest.fn(n)), drop)
	}
	return guest.build()
}

func (g *generator) pick(most int) int { return rapid.IntRange(0, most-1).Draw(g.t, "pick") }

func (g *generator) local() []byte { return appendU32(nil, uint32(g.pick(playLocals))) }

func (g *generator) global() []byte { return appendU32(nil, uint32(2+g.pick(genGlobals))) }

// expression leaves an i32.
func (g *generator) expression(depth int) []byte {
	g.budget--
	if depth == 0 || g.budget < 0 {
		switch g.pick(4) {
		case 0:
			return i32const(int64(rapid.Int32().Draw(g.t, "constant")))
		case 1:
			return append([]byte{opGlobalGet}, g.global()...)
		case 2:
			return []byte{opMemorySize, 0}
		default:
			return append([]byte{0x20}, g.local()...)
		}
	}
	sub := func() []byte { return g.expression(depth - 1) }
	switch g.pick(14) {
	case 0: // comparisons and arithmetic, division among it
		return cat(sub(), sub(), []byte{byte(rapid.IntRange(0x46, 0x4f).Draw(g.t, "compare"))})
	case 1:
		return cat(sub(), sub(), []byte{byte(rapid.IntRange(0x6a, 0x78).Draw(g.t, "binary"))})
	case 2:
		return cat(sub(), []byte{byte(rapid.SampledFrom([]int{0x45, 0x67, 0x68, 0x69}).Draw(g.t, "unary"))})
	case 3: // by way of 64 bits
		return cat(sub(), []byte{0xac}, []byte{opI64Const}, appendS64(nil, rapid.Int64().Draw(g.t, "wide")),
			[]byte{byte(rapid.IntRange(0x7c, 0x8a).Draw(g.t, "binary64")), 0xa7})
	case 4: // by way of a float
		return cat(sub(), []byte{0xb7, 0x9f, 0xaa}) // f64.convert_i32_s, sqrt, i32.trunc_f64_s: traps on NaN
	case 5:
		return cat(g.address(sub()), []byte{0x28, 2}, appendU32(nil, uint32(g.pick(9))))
	case 6:
		return cat(sub(), sub(), sub(), []byte{0x1b})
	case 7:
		return cat(sub(), g.inside(opIf, typeI32, func() []byte { return cat(sub(), []byte{opElse}, sub()) }))
	case 8:
		return g.inside(opBlock, typeI32, func() []byte { return cat(g.statements(depth-1), sub()) })
	case 9:
		return cat(sub(), []byte{0x22}, g.local())
	case 10:
		return cat(i32const(int64(g.pick(3))), []byte{opMemoryGrow, 0})
	case 11:
		if g.fn > 0 && g.inLoop < 2 {
			return cat(sub(), call((&asmGuest{imports: make([]string, genImports)}).fn(g.pick(g.fn))))
		}
		return sub()
	case 12:
		if g.fn > 0 {
			return cat(sub(), i32const(int64(g.pick(8)/7)), []byte{opCallIndirect, typeOne, 0}) // sometimes the wrong type
		}
		return sub()
	default:
		return sub()
	}
}

// address is one in the memory, or once in a while any.
func (g *generator) address(e []byte) []byte {
	if g.pick(12) == 0 {
		return e
	}
	return cat(e, i32const(genMaskAddr), []byte{0x71})
}

// inside writes a block that branches may leave if it has no result.
func (g *generator) inside(op, result byte, body func() []byte) []byte {
	labels := g.labels
	g.labels = 0 // a branch out of here would have to bring a value
	if result == typeNone {
		g.labels = labels + 1
	}
	b := cat([]byte{op, result}, body(), []byte{opEnd})
	g.labels = labels
	return b
}

// branch is the depth of a block around the place, 0 the innermost.
func (g *generator) branch() []byte { return appendU32(nil, uint32(g.pick(g.labels))) }

// statements leave nothing.
func (g *generator) statements(depth int) (b []byte) {
	for range rapid.IntRange(0, 3).Draw(g.t, "statements") {
		if g.budget > 0 {
			b = cat(b, g.statement(depth))
		}
	}
	return b
}

func (g *generator) statement(depth int) []byte {
	g.budget--
	e := g.expression(min(depth, 2))
	if depth == 0 {
		return cat(e, []byte{0x21}, g.local())
	}
	switch g.pick(11) {
	case 0:
		return cat(e, []byte{opGlobalSet}, g.global())
	case 1:
		return cat(g.address(e), g.expression(1), []byte{0x36, 2, 0})
	case 2:
		return cat(e, g.inside(opIf, typeNone, func() []byte { return cat(g.statements(depth-1), []byte{opElse}, g.statements(depth-1)) }))
	case 3:
		return g.inside(opBlock, typeNone, func() []byte { return g.statements(depth - 1) })
	case 4, 5:
		return g.loop(depth)
	case 6:
		return cat(e, call([]byte{0})) // opa_println
	case 7:
		return cat(e, []byte{opIf, typeNone}, e, []byte{opReturn, opEnd})
	case 8:
		if g.labels > 0 {
			return cat(e, []byte{opBrIf}, g.branch())
		}
		return cat(e, drop)
	case 9:
		if g.labels > 0 {
			return g.inside(opBlock, typeNone, func() []byte {
				return cat(e, []byte{opBrTable, 2}, g.branch(), g.branch(), g.branch())
			})
		}
		return cat(e, drop)
	default:
		return cat(e, []byte{0x21}, g.local())
	}
}

// loop goes round at most three times: a branch to its own beginning would go round without counting, so that none is
// offered inside, but to blocks in it.
func (g *generator) loop(depth int) []byte {
	if g.inLoop == maxInLoops {
		return nil
	}
	counter := appendU32(nil, uint32(playLocals+g.inLoop))
	labels := g.labels
	g.inLoop++
	g.labels = 0
	body := g.statements(depth - 1)
	g.inLoop--
	g.labels = labels
	return cat(i32const(int64(1+g.pick(3))), []byte{0x21}, counter, []byte{opLoop, typeNone}, body,
		[]byte{0x20}, counter, i32const(1), []byte{opI32Sub, 0x22}, counter, []byte{opBrIf, 0, opEnd})
}
