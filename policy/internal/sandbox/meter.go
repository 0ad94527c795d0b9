package sandbox

import (
	"fmt"
	"slices"
)

// Metering. wazero can stop a guest at loop headers only, which misses exponential call trees, costs 5.6 times on a
// policy, and lets a guest that never calls back stop the collector and with it the whole process. So every function
// entry and loop header pays, in advance, for all instructions up to the next one; when the fuel of the slice is used
// up it calls the host (refill), which looks at the clock and the budget and grants another slice, or does not.
//
// Between two payments control can only go forward, so no instruction runs more often than it was paid for.
//
// A function with loops keeps the fuel in a local, so that a turn costs no access to memory: it is written back for a call,
// and on return.
//
// A second global counts the bytes of guest stack left, since wazero's stack lies on the Go heap where the memory limit
// does not reach. Functions that call others take their worst-case frame from it on entry and give it back on return.

// A slice is how much a guest may execute before the host looks at it. Whatever the guest does with one takes a few
// milliseconds at most, so that deadlines hold and the collector, which cannot stop native code, does not wait. What is
// slowest is to follow pointers: a load that no cache has takes as long as a hundred additions, and how many miss depends
// on the memory that there is. The interpreter takes ten times as long for everything.
const (
	fuelSlice      = 1_000_000 // native code whose memory the caches of a processor hold: more than a usual decision
	fuelSliceLarge = 400_000   // more than nearBytes
	fuelSliceHuge  = 100_000   // more than farBytes
	fuelSliceSlow  = 200_000   // interpreted, at most
	nearBytes      = mib
	farBytes       = 8 * mib
)

// What some instructions cost besides the unit that each costs.
const (
	loadCost = 3      // a load or a store
	divCost  = 9      // division, remainder, square root
	growCost = 25_000 // memory.grow, which may copy the memory
	hostCost = 6_250  // a call of a host function
)

const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opDrop         = 0x1a
	opSelect       = 0x1b
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32LtS       = 0x48
	opI64LtS       = 0x53
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI64Sub       = 0x7d
	opI64Or        = 0x84
	opLastPlain    = 0xc4 // i64.extend32_s
)

func (r *rewriter) codeSection(c *cursor) ([]byte, error) {
	n, err := count(c, "function bodies", maxFunctions)
	if err != nil {
		return nil, err
	}
	if int(n) != len(r.funcs) {
		return nil, fmt.Errorf("%w: %d bodies for %d functions", errWasm, n, len(r.funcs))
	}
	b := appendU32(make([]byte, 0, 3*len(c.b)), n+1)
	var f funcMeter
	for i := range n {
		body := c.take(c.u32())
		if c.err != nil {
			return nil, c.err
		}
		if len(body) > maxBody {
			return nil, fmt.Errorf("%w: function %d has %d bytes, at most %d are allowed", errWasm, i, len(body), maxBody)
		}
		f = funcMeter{
			r: r, c: &cursor{b: body}, typ: r.types[r.funcs[i]],
			out: f.out[:0], code: f.code[:0], pays: f.pays[:0], open: f.open[:0], // the room of the last one
		}
		if err := f.rewrite(); err != nil {
			return nil, fmt.Errorf("function %d: %w", i, err)
		}
		b = appendBytes(b, f.out)
		r.calls, r.indirect = append(r.calls, f.callees), r.indirect+f.indirect
	}
	return appendBytes(b, r.refillBody()), nil
}

// refillBody calls the hook and stops the guest when it answers other than zero.
func (r *rewriter) refillBody() []byte {
	b := appendU32([]byte{0, opCall}, r.hookFunc())
	return append(b, opIf, typeNone, opUnreachable, opEnd, opEnd)
}

// funcMeter rewrites one function body.
type funcMeter struct {
	r       *rewriter
	c       *cursor
	typ     funcType
	out     []byte
	code    []byte // the rewritten instructions, payments left out
	pays    []pay  // what to insert into the code, in the order of their places
	open    []int  // the payment that each open block belongs to
	calls   bool   // calls other functions
	fuel    uint32 // that local
	count   int64  // instructions
	blocks  int    // blocks, ifs and loops
	loops   int    // of them; where there are any, the fuel is in a local
	jumps   int    // branches and indirect calls, which end a basic block as well
	deepest int    // how far blocks are nested
	values  operands

	callees  []uint32 // of direct calls, by their places among the functions that the guest defines
	indirect int      // calls through the table
}

// pay is a payment of cost before place in code; cost grows while the region is read. Where the cost is leaving or
// returned, it is no payment but the place before or behind a call.
type pay struct {
	place int
	cost  int64
}

const (
	leaving  = -1
	returned = -2
)

func (f *funcMeter) rewrite() error {
	locals, err := f.locals()
	if err != nil {
		return err
	}
	declared := f.c.i
	f.pays = append(f.pays, pay{cost: 1 + locals}) // the interpreter writes a zero for each local
	f.open = append(f.open, 0)
	for len(f.open) > 0 {
		if !f.c.more() {
			f.c.fail("a body without an end")
			return f.c.err
		}
		f.instruction()
		if f.c.err != nil {
			return f.c.err
		}
	}
	if f.c.i != len(f.c.b) {
		return fmt.Errorf("%w: instructions behind the end of a body", errWasm)
	}
	slots := int64(len(f.typ.params)) + locals
	f.fuel = uint32(slots) //nolint:gosec // G115: at most two times maxLocals
	if err := f.r.compilable(f, slots); err != nil {
		return err
	}
	// The worst that a frame can take: every local and a value that each instruction leaves, in 8-byte slots.
	frame := 64 + 8*(slots+f.count)
	f.out = slices.Grow(f.out, 2*len(f.code)+128)
	f.declare(f.c.b[:declared])
	f.enter(frame)
	f.instructions()
	if f.calls {
		f.leave(frame)
	}
	f.out = append(f.out, opEnd)
	return nil
}

// declare writes the locals, with one more where there are loops.
func (f *funcMeter) declare(locals []byte) {
	c := &cursor{b: locals}
	groups := c.u32()
	if f.loops > 0 {
		groups++
	}
	f.out = append(appendU32(f.out, groups), locals[c.i:]...)
	if f.loops > 0 {
		f.out = append(f.out, 1, typeI64)
	}
}

func (f *funcMeter) locals() (int64, error) {
	groups := f.c.u32()
	var n int64
	for range groups {
		n += int64(f.c.u32())
		f.c.byte()
		if n > maxLocals {
			return 0, fmt.Errorf("%w: more than %d locals", errWasm, maxLocals)
		}
		if f.c.err != nil {
			break
		}
	}
	return n, f.c.err
}

// compilable bounds what wazero's compiler has to do with a function, which nothing can interrupt: its work grows with the
// values that meet where blocks meet, with the square of the basic blocks, with the values that each of these may have to
// keep alive, and with the way back through them from each branch to where a local was set.
func (r *rewriter) compilable(f *funcMeter, slots int64) error {
	merges := slots * int64(f.blocks)
	basic := int64(f.blocks + f.loops + f.jumps + f.payments())
	r.merges += merges
	r.slots += slots
	r.squares += basic * basic
	r.alive += (slots + f.values.tallest) * basic
	r.searches += slots * int64(f.jumps) * basic
	switch {
	case f.deepest > maxNesting:
		return fmt.Errorf("%w: blocks nested %d deep, at most %d are allowed", errWasm, f.deepest, maxNesting)
	case f.loops > maxLoops:
		return fmt.Errorf("%w: %d loops, at most %d are allowed", errWasm, f.loops, maxLoops)
	case r.squares > maxAllSquares:
		return fmt.Errorf("%w: too many branches to compile", errWasm)
	case r.alive > maxAllAlive || r.searches > maxAllSearches:
		return fmt.Errorf("%w: too many values over too many branches to compile", errWasm)
	case merges > maxMerges || r.merges > maxAllMerges || r.slots > maxAllLocals:
		return fmt.Errorf("%w: too many locals in too many blocks to compile", errWasm)
	}
	return nil
}

// payments counts what makes a block of its own in the code, which the places around calls do not.
func (f *funcMeter) payments() int {
	n := 0
	for _, p := range f.pays {
		if p.cost != leaving && p.cost != returned {
			n++
		}
	}
	return n
}

// current is the payment that the instruction being read belongs to.
func (f *funcMeter) current() *pay { return &f.pays[f.open[len(f.open)-1]] }

// instruction copies one instruction and adds it to the payment of its region.
func (f *funcMeter) instruction() {
	start := f.c.i
	op := f.c.byte()
	f.count++
	f.current().cost++
	switch op {
	case opBlock, opIf:
		if op == opIf {
			f.values.push(-1)
		}
		f.blockType()
		f.nest()
		f.open = append(f.open, f.open[len(f.open)-1])
	case opLoop:
		f.blockType()
		f.nest()
		f.loops++
		f.copyFrom(start)
		f.pays = append(f.pays, pay{place: len(f.code), cost: 1})
		f.open = append(f.open, len(f.pays)-1)
		return
	case opElse:
		f.values.restart()
	case opEnd:
		f.values.end()
		f.open = f.open[:len(f.open)-1]
		if len(f.open) == 0 {
			return // the body's own; rewrite writes it
		}
	case opReturn:
		// The body is wrapped in a block when it must give its frame back, so leaving it is a branch to that block.
		f.code = appendU32(append(f.code, opBr), uint32(len(f.open)-1)) //nolint:gosec // G115: one block is at least one byte
		return
	case opCall:
		f.call(f.c.u32())
		return
	case opCallIndirect:
		f.indirect++
		f.jumps++
		typ := f.c.u32()
		f.c.zero()
		f.values.push(-1)
		f.pushResults(typ)
		f.leaveFor()
		f.copyFrom(start)
		f.comeBack()
		return
	case opMemoryGrow:
		f.c.zero()
		f.pays = append(f.pays, pay{place: len(f.code), cost: growCost})
	default:
		f.immediates(op)
	}
	f.copyFrom(start)
}

// call copies a call. One to the host is paid for where it stands, so that the clock is looked at between several.
func (f *funcMeter) call(fn uint32) {
	if fn < f.r.imports {
		f.pays = append(f.pays, pay{place: len(f.code), cost: hostCost})
	} else {
		f.callees = append(f.callees, fn-f.r.imports)
	}
	f.pushResults(f.r.typeOf(fn))
	f.leaveFor()
	f.code = appendU32(append(f.code, opCall), f.r.shift(fn))
	f.comeBack()
}

// leaveFor and comeBack mark the places around a call of another function.
func (f *funcMeter) leaveFor() {
	f.calls = true
	f.pays = append(f.pays, pay{len(f.code), leaving})
}

func (f *funcMeter) comeBack() { f.pays = append(f.pays, pay{len(f.code), returned}) }

func (f *funcMeter) nest() {
	f.blocks++
	f.deepest = max(f.deepest, len(f.open))
}

func (f *funcMeter) copyFrom(start int) {
	if f.c.err == nil {
		f.code = append(f.code, f.c.b[start:f.c.i]...)
	}
}

// pushResults follows what a call does to the operands.
func (f *funcMeter) pushResults(typ uint32) {
	if int64(typ) < int64(len(f.r.types)) { // else it is not valid
		t := f.r.types[typ]
		f.values.push(-int64(len(t.params)))
		f.values.push(int64(len(t.results)))
	}
}

func (f *funcMeter) blockType() {
	switch t := f.c.byte(); t {
	case typeNone:
		f.values.open(0)
	case typeI32, typeI64, 0x7d, 0x7c:
		f.values.open(1)
	default:
		f.c.fail("a block type that is not allowed")
	}
}

// immediates passes over what follows an opcode. An opcode of a proposal that is not offered is refused, so that no
// instruction runs whose cost or length is unknown here.
func (f *funcMeter) immediates(op byte) {
	c := f.c
	f.values.plain(op)
	switch {
	case op == opBr || op == opBrIf:
		f.jumps++
		c.u32()
	case op == opBrTable:
		f.jumps++
		for n := c.u32(); c.err == nil; n-- {
			c.u32()
			f.jumps++ // each place to go to is a block of its own to the compiler
			f.current().cost++
			if n == 0 {
				break
			}
		}
	case op >= opLocalGet && op <= opGlobalSet: // local.get … global.set
		c.u32()
	case op >= 0x28 && op <= 0x3e: // loads and stores
		f.current().cost += loadCost
		c.u32()
		c.u32()
	case op == opMemorySize:
		c.zero()
	case op == opI32Const:
		c.skipLEB(5)
	case op == opI64Const:
		c.skipLEB(10)
	case op == opF32Const:
		c.take(4)
	case op == opF64Const:
		c.take(8)
	case op == opUnreachable, op == 0x01, op == opDrop, op == opSelect: // 0x01 is nop
	case op >= 0x45 && op <= opLastPlain: // comparison, arithmetic, conversion
		if slow(op) {
			f.current().cost += divCost
		}
	default:
		c.fail(fmt.Sprintf("instruction 0x%02x is not allowed", op))
	}
}

// slow reports whether an instruction is a division, a remainder or a square root.
func slow(op byte) bool {
	return op >= 0x6d && op <= 0x70 || op >= 0x7f && op <= 0x82 || op == 0x91 || op == 0x95 || op == 0x9f || op == 0xa3
}

// enter takes the frame of a function that calls others from the stack that is left, pays, and has the host look when
// either is used up.
func (f *funcMeter) enter(frame int64) {
	f.take(f.r.fuelGlobal(), f.pays[0].cost)
	f.out = appendU32(append(f.out, opGlobalGet), f.r.fuelGlobal())
	if f.calls {
		f.take(f.r.stackGlobal(), frame)
		f.out = appendU32(append(f.out, opGlobalGet), f.r.stackGlobal())
		f.out = append(f.out, opI64Or)
	}
	f.refillBelowZero()
}

func (f *funcMeter) leave(frame int64) { f.take(f.r.stackGlobal(), -frame) }

// instructions writes the code with its payments but the first, all of it in a block that return can branch to.
func (f *funcMeter) instructions() {
	result := byte(typeNone)
	if len(f.typ.results) == 1 {
		result = f.typ.results[0]
	}
	f.load()
	f.out = append(f.out, opBlock, result)
	from := 0
	for _, p := range f.pays[1:] {
		f.out = append(f.out, f.code[from:p.place]...)
		from = p.place
		switch p.cost {
		case leaving:
			f.store()
		case returned:
			f.load()
		default:
			f.pay(p.cost)
		}
	}
	f.out = append(append(f.out, f.code[from:]...), opEnd)
	f.store()
}

func (f *funcMeter) pay(cost int64) {
	if f.loops > 0 {
		f.payInLocal(cost)
		return
	}
	f.take(f.r.fuelGlobal(), cost)
	f.out = appendU32(append(f.out, opGlobalGet), f.r.fuelGlobal())
	f.refillBelowZero()
}

func (f *funcMeter) payInLocal(cost int64) {
	f.out = appendU32(append(f.out, opLocalGet), f.fuel)
	f.out = append(appendS64(append(f.out, opI64Const), cost), opI64Sub)
	f.out = appendU32(append(f.out, opLocalTee), f.fuel)
	f.out = append(f.out, opI64Const, 0, opI64LtS, opIf, typeNone)
	f.store()
	f.out = appendU32(append(f.out, opCall), f.r.refillFunc())
	f.load()
	f.out = append(f.out, opEnd)
}

// load takes the fuel from the global into the local, and store puts it back.
func (f *funcMeter) load() {
	if f.loops > 0 {
		f.out = appendU32(append(f.out, opGlobalGet), f.r.fuelGlobal())
		f.out = appendU32(append(f.out, opLocalSet), f.fuel)
	}
}

func (f *funcMeter) store() {
	if f.loops > 0 {
		f.out = appendU32(append(f.out, opLocalGet), f.fuel)
		f.out = appendU32(append(f.out, opGlobalSet), f.r.fuelGlobal())
	}
}

// take subtracts from a global.
func (f *funcMeter) take(global uint32, n int64) {
	f.out = appendU32(append(f.out, opGlobalGet), global)
	f.out = append(appendS64(append(f.out, opI64Const), n), opI64Sub)
	f.out = appendU32(append(f.out, opGlobalSet), global)
}

// refillBelowZero asks the host when the number on top of the stack is negative.
func (f *funcMeter) refillBelowZero() {
	f.out = append(f.out, opI64Const, 0, opI64LtS, opIf, typeNone)
	f.out = append(appendU32(append(f.out, opCall), f.r.refillFunc()), opEnd)
}
