package sandbox

// operands follows how many values lie on the operand stack of a function. It is an upper bound: where code cannot be
// reached, and in a module that is not valid, there are fewer.
type operands struct {
	height, tallest int64
	blocks          []operandBlock // that are open
}

// operandBlock is where the operands of a block begin, and how many it leaves.
type operandBlock struct{ base, results int64 }

// push adds values, or takes them away, but none of those that lie outside of the block.
func (o *operands) push(n int64) {
	base := int64(0)
	if len(o.blocks) > 0 {
		base = o.blocks[len(o.blocks)-1].base
	}
	o.height = max(base, o.height+n)
	o.tallest = max(o.tallest, o.height)
}

func (o *operands) open(results int64) { o.blocks = append(o.blocks, operandBlock{o.height, results}) }

// restart goes back to where the operands of the block begin, for its other branch.
func (o *operands) restart() {
	if len(o.blocks) > 0 {
		o.height = o.blocks[len(o.blocks)-1].base
	}
}

func (o *operands) end() {
	if last := len(o.blocks) - 1; last >= 0 {
		b := o.blocks[last]
		o.blocks, o.height = o.blocks[:last], b.base
		o.push(b.results)
	}
}

// plain follows an instruction that neither opens or ends a block nor calls.
func (o *operands) plain(op byte) {
	switch {
	case op == opLocalGet, op == opGlobalGet, op == opMemorySize, op >= opI32Const && op <= opF64Const:
		o.push(1)
	case op >= 0x36 && op <= 0x3e, op == opSelect: // stores
		o.push(-2)
	case op == opBrIf, op == opBrTable, op == opDrop, op == opLocalSet, op == opGlobalSet, takesTwo(op):
		o.push(-1)
	}
}

// takesTwo reports comparisons and arithmetic that make one value of two.
func takesTwo(op byte) bool {
	return op >= 0x46 && op <= 0x66 && op != 0x50 || // all but i64.eqz
		op >= 0x6a && op <= 0x78 || op >= 0x7c && op <= 0x8a || op >= 0x92 && op <= 0x98 || op >= 0xa0 && op <= 0xa6
}
