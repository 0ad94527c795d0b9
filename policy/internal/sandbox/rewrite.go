package sandbox

import (
	"bytes"
	"fmt"
)

// What the engine adds to a guest. The guest cannot name any of it: its own index spaces were validated before these
// were appended, the import goes behind its imports and the rest behind everything it defines.
const (
	hookModule   = "engine"
	hookName     = "refill"
	exportFuel   = "engine.fuel"
	exportStack  = "engine.stack"
	pageBytes    = 65536
	memoryImport = "memory"
	envModule    = "env"
)

// Bounds of what a guest may declare. OPA's runtime has about 750 functions, 27 types, 3 globals and one table of 332
// entries; a policy adds a function for each rule.
const (
	maxFunctions = 50_000
	maxTypes     = 5_000
	maxGlobals   = 1_000
	maxExports   = 1_000
	maxElements  = 100_000
	maxLocals    = 5_000   // of one function
	maxNesting   = 200     // of blocks; OPA's runtime has 19
	maxLoops     = 1_000   // of one function; OPA's runtime has 22
	maxMerges    = 100_000 // locals times blocks of one function; OPA's runtime has 4,095
	maxAllMerges = 500_000 // of all functions; OPA's runtime has 41,007
	maxAllLocals = 300_000 // of all functions

	// Basic blocks squared, of all functions: some seconds in wazero's compiler, as one function of 14,000 branches. OPA's
	// runtime has 0.6 million.
	maxAllSquares = 200_000_000

	// Locals and operands times basic blocks, of all functions: a second and 200 MB in wazero's compiler. OPA's runtime has
	// 0.2 million, and with 50 rules for one set 0.4 million.
	maxAllAlive = 5_000_000

	// Locals times branches times basic blocks, of all functions: some seconds. OPA's runtime has 14 million, and with 50 rules
	// for one set 300 million.
	maxAllSearches = 800_000_000

	maxSegments = 10_000
	maxBody     = 512_000 // bytes of one function: compiling takes more than linear time and cannot be interrupted
)

// hostImports are the functions that a guest may import, with the number of i32 parameters and results: the ABI of
// https://www.openpolicyagent.org/docs/wasm and nothing else.
var hostImports = map[string]signature{ //nolint:gochecknoglobals // a constant table
	"opa_abort":    {1, 0},
	"opa_println":  {1, 0},
	"opa_builtin0": {2, 1},
	"opa_builtin1": {3, 1},
	"opa_builtin2": {4, 1},
	"opa_builtin3": {5, 1},
	"opa_builtin4": {6, 1},
}

type signature struct{ params, results int }

// rewriter turns a guest module into one that owns its memory and pays for what it executes.
type rewriter struct {
	limits   Limits
	out      []byte
	types    []funcType
	imports  uint32   // imported functions of the guest
	funcs    []uint32 // types of the defined functions
	globals  uint32
	minMem   uint32 // pages
	static   int64  // pages that the constants reach into
	seen     map[sectionID]bool
	merges   int64  // locals times blocks, of all functions
	squares  int64  // of the basic blocks, of all functions
	slots    int64  // locals of all functions
	alive    int64  // locals and operands times basic blocks, of all functions
	searches int64  // locals times branches times basic blocks, of all functions
	plain    []byte // the guest as it came, without custom sections

	imported    []string   // names of imported functions
	importTypes []uint32   // and their types
	calls       [][]uint32 // by function: the functions that it calls directly
	indirect    int        // calls through the table
}

type funcType struct {
	params, results []byte
}

// rewrite returns a copy of module with the memory import turned into a memory of its own, without custom sections,
// and metered: see meter.go. It also returns the module as it came but for the custom sections, which wazero's validator
// must accept before the copy is used: a module that it does not accept would be able to name what is appended here.
// Rewriting comes first because it bounds every count before anything allocates by it; wazero does not, and the names in
// a custom section of 20 bytes can ask it for 100 GB. The error says what in the module is not allowed.
func rewrite(module []byte, limits Limits) (metered, plain []byte, err error) {
	r, err := read(module, limits)
	if err != nil {
		return nil, nil, err
	}
	return r.out, r.plain, nil
}

func read(module []byte, limits Limits) (*rewriter, error) {
	if !bytes.HasPrefix(module, wasmHeader) {
		return nil, fmt.Errorf("%w: not a WebAssembly 1.0 module", errWasm)
	}
	r := &rewriter{limits: limits, seen: map[sectionID]bool{}, static: staticPages(module)}
	r.out = append(make([]byte, 0, 3*len(module)), wasmHeader...)
	r.plain = append(make([]byte, 0, len(module)), wasmHeader...)
	c := &cursor{b: module, i: len(wasmHeader)}
	var last sectionID
	for c.more() {
		start := c.i
		id := sectionID(c.byte())
		body := &cursor{b: c.take(c.u32())}
		if c.err != nil {
			return nil, c.err
		}
		if id == secCustom {
			continue // names and producers: nothing that runs
		}
		r.plain = append(r.plain, c.b[start:c.i]...)
		if id <= last {
			return nil, fmt.Errorf("%w: section %d is out of order", errWasm, id)
		}
		if err := r.missing(last, id); err != nil {
			return nil, err
		}
		last = id
		if err := r.section(id, body); err != nil {
			return nil, err
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	if !r.seen[secImport] || !r.seen[secGlobal] || !r.seen[secExport] || !r.seen[secCode] {
		return nil, fmt.Errorf("%w: not a compiled policy: imports, globals, exports or code are missing", errWasm)
	}
	return r, nil
}

// missing emits the memory section when the reader passes the place where it belongs.
func (r *rewriter) missing(last, next sectionID) error {
	if last >= secMemory || next < secMemory {
		return nil
	}
	if next == secMemory {
		return fmt.Errorf("%w: defines a memory of its own", errWasm)
	}
	if most := r.limits.startPages(); r.minMem == 0 || r.minMem > most {
		return fmt.Errorf("%w: wants %d pages of memory at the start, between 1 and %d are allowed", errWasm, r.minMem, most)
	}
	if pages := r.static; pages <= int64(r.limits.startPages()) { // else wazero finds the constants outside of the memory
		r.minMem = max(r.minMem, uint32(pages)) //nolint:gosec // G115: at most startPages
	}
	b := appendU32(nil, 1)
	b = append(b, 1) // with a maximum
	b = appendU32(b, r.minMem)
	b = appendU32(b, r.limits.maxPages())
	r.emit(secMemory, b)
	return nil
}

func (r *rewriter) emit(id sectionID, body []byte) {
	r.out = appendBytes(append(r.out, byte(id)), body)
}

func (r *rewriter) section(id sectionID, c *cursor) error {
	r.seen[id] = true
	var body []byte
	var err error
	switch id {
	case secType:
		body, err = r.typeSection(c)
	case secImport:
		body, err = r.importSection(c)
	case secFunction:
		body, err = r.functionSection(c)
	case secTable:
		body, err = r.tableSection(c)
	case secGlobal:
		body, err = r.globalSection(c)
	case secExport:
		body, err = r.exportSection(c)
	case secStart:
		body = appendU32(nil, r.own(c, c.u32(), "the start section"))
	case secElement:
		body, err = r.elementSection(c)
	case secCode:
		body, err = r.codeSection(c)
	case secData:
		body, err = r.dataSection(c)
	case secCustom, secMemory:
		fallthrough
	default:
		return fmt.Errorf("%w: section %d is not allowed", errWasm, id)
	}
	switch {
	case err != nil:
		return err
	case c.err != nil:
		return c.err
	case c.i != len(c.b):
		return fmt.Errorf("%w: section %d has trailing bytes", errWasm, id)
	}
	r.emit(id, body)
	return nil
}

// shift moves an index of a defined function past the hook, which is the last import.
func (r *rewriter) shift(fn uint32) uint32 {
	if fn >= r.imports {
		return fn + 1
	}
	return fn
}

// own is shift for a place from which a function can be called without the payment that stands before a call of the
// host: through the table, or by the host itself under a name of the ABI. Only the guest's own functions may be there.
func (r *rewriter) own(c *cursor, fn uint32, where string) uint32 {
	if fn < r.imports {
		c.fail("a host function in " + where)
	}
	return r.shift(fn)
}

// typeOf is the index of a function's type; one beyond all types where there is no such function.
func (r *rewriter) typeOf(fn uint32) uint32 {
	types, at := r.importTypes, int64(fn)
	if fn >= r.imports {
		types, at = r.funcs, at-int64(r.imports)
	}
	if at >= int64(len(types)) {
		return maxTypes
	}
	return types[at]
}

func (r *rewriter) hookFunc() uint32   { return r.imports }
func (r *rewriter) refillFunc() uint32 { return r.imports + 1 + uint32(len(r.funcs)) } //nolint:gosec // G115: at most maxFunctions
func (r *rewriter) fuelGlobal() uint32 { return r.globals }
func (r *rewriter) stackGlobal() uint32 {
	return r.globals + 1
}

// count reads the length of a vector and bounds it.
func count(c *cursor, what string, most uint32) (uint32, error) {
	n := c.u32()
	if c.err != nil {
		return 0, c.err
	}
	if n > most {
		return 0, fmt.Errorf("%w: %d %s, at most %d are allowed", errWasm, n, what, most)
	}
	return n, nil
}

func (r *rewriter) typeSection(c *cursor) ([]byte, error) {
	n, err := count(c, "types", maxTypes)
	if err != nil {
		return nil, err
	}
	start := c.i
	for range n {
		if c.byte() != typeFunc {
			c.fail("not a function type")
		}
		t := funcType{params: c.take(c.u32()), results: c.take(c.u32())}
		if c.err != nil {
			return nil, c.err
		}
		if len(t.params) > maxLocals || len(t.results) > 1 {
			return nil, fmt.Errorf("%w: a function type with %d parameters and %d results", errWasm, len(t.params), len(t.results))
		}
		r.types = append(r.types, t)
	}
	b := appendU32(nil, n+2)
	b = append(b, c.b[start:c.i]...)
	b = append(b, typeFunc, 0, 1, typeI32) // n: the hook's
	b = append(b, typeFunc, 0, 0)          // n+1: refill's
	return b, nil
}

func (r *rewriter) hookType() uint32   { return uint32(len(r.types)) }     //nolint:gosec // G115: at most maxTypes
func (r *rewriter) refillType() uint32 { return uint32(len(r.types)) + 1 } //nolint:gosec // G115: at most maxTypes

func (r *rewriter) importSection(c *cursor) ([]byte, error) {
	n, err := count(c, "imports", uint32(len(hostImports)+1)) //nolint:gosec // G115: a constant
	if err != nil {
		return nil, err
	}
	var kept []byte
	for range n {
		module, name, kind := c.name(), c.name(), c.byte()
		switch {
		case c.err != nil:
			return nil, c.err
		case module == envModule && name == memoryImport && kind == kindMemory && r.minMem == 0:
			r.minMem, err = memoryLimits(c)
		case module == envModule && kind == kindFunc:
			kept, err = r.importFunc(kept, name, c.u32())
		default:
			err = fmt.Errorf("%w: import %.64q.%.64q is not offered to a policy", errWasm, module, name)
		}
		if err != nil {
			return nil, err
		}
	}
	kept = append(appendName(appendName(kept, hookModule), hookName), kindFunc)
	kept = appendU32(kept, r.hookType())
	return append(appendU32(nil, r.imports+1), kept...), nil
}

func memoryLimits(c *cursor) (uint32, error) {
	flags := c.byte()
	minPages := c.u32()
	if flags == 1 {
		c.u32()
	}
	if flags > 1 {
		return 0, fmt.Errorf("%w: a shared or 64-bit memory", errWasm)
	}
	return minPages, c.err
}

func (r *rewriter) importFunc(out []byte, name string, typ uint32) ([]byte, error) {
	want, ok := hostImports[name]
	if !ok {
		return nil, fmt.Errorf("%w: import %q.%.64q is not offered to a policy", errWasm, envModule, name)
	}
	if typ >= uint32(len(r.types)) || !r.types[typ].matches(want) { //nolint:gosec // G115: at most maxTypes
		return nil, fmt.Errorf("%w: import %q.%q has the wrong type", errWasm, envModule, name)
	}
	r.imports++
	r.imported, r.importTypes = append(r.imported, name), append(r.importTypes, typ)
	return appendU32(append(appendName(appendName(out, envModule), name), kindFunc), typ), nil
}

func (t funcType) matches(s signature) bool {
	i32s := func(b []byte, n int) bool { return bytes.Equal(b, bytes.Repeat([]byte{typeI32}, n)) }
	return i32s(t.params, s.params) && i32s(t.results, s.results)
}

func (r *rewriter) functionSection(c *cursor) ([]byte, error) {
	n, err := count(c, "functions", maxFunctions)
	if err != nil {
		return nil, err
	}
	b := appendU32(nil, n+1)
	for range n {
		t := c.u32()
		if t >= uint32(len(r.types)) { //nolint:gosec // G115: at most maxTypes
			return nil, fmt.Errorf("%w: unknown function type %d", errWasm, t)
		}
		r.funcs = append(r.funcs, t)
		b = appendU32(b, t)
	}
	return appendU32(b, r.refillType()), c.err
}

func (r *rewriter) tableSection(c *cursor) ([]byte, error) {
	if _, err := count(c, "tables", 1); err != nil {
		return nil, err
	}
	t := *c
	t.byte()
	flags := t.byte()
	for range 1 + flags&1 {
		if n := t.u32(); n > maxElements {
			return nil, fmt.Errorf("%w: a table of %d elements, at most %d are allowed", errWasm, n, maxElements)
		}
	}
	c.i = len(c.b)
	return c.b, t.err
}

func (r *rewriter) globalSection(c *cursor) ([]byte, error) {
	n, err := count(c, "globals", maxGlobals)
	if err != nil {
		return nil, err
	}
	r.globals = n
	b := append(appendU32(nil, n+2), c.take(uint32(len(c.b)-c.i))...) //nolint:gosec // G115: bounded by Limits.ModuleBytes
	for _, start := range []int64{0, r.limits.StackBytes} {           // the first payment asks the host
		b = append(b, typeI64, 1, opI64Const)
		b = append(appendS64(b, start), opEnd)
	}
	return b, nil
}

func (r *rewriter) exportSection(c *cursor) ([]byte, error) {
	n, err := count(c, "exports", maxExports)
	if err != nil {
		return nil, err
	}
	b := appendU32(nil, n+2)
	for range n {
		name, kind, index := c.name(), c.byte(), c.u32()
		if name == exportFuel || name == exportStack {
			return nil, fmt.Errorf("%w: the export name %q is taken", errWasm, name)
		}
		if kind == kindFunc {
			index = r.own(c, index, "the exports")
		}
		b = appendU32(append(appendName(b, name), kind), index)
	}
	b = appendU32(append(appendName(b, exportFuel), kindGlobal), r.fuelGlobal())
	return appendU32(append(appendName(b, exportStack), kindGlobal), r.stackGlobal()), nil
}

func (r *rewriter) elementSection(c *cursor) ([]byte, error) {
	n, err := count(c, "element segments", maxElements)
	if err != nil {
		return nil, err
	}
	b := appendU32(nil, n)
	for range n {
		if c.u32() != 0 || c.byte() != opI32Const {
			return nil, fmt.Errorf("%w: an element segment that is not active on table 0 at a constant", errWasm)
		}
		start := c.i
		c.skipLEB(5)
		b = append(append(b, 0, opI32Const), c.b[start:c.i]...)
		if c.byte() != opEnd {
			c.fail("bad offset")
		}
		var funcs uint32
		if funcs, err = count(c, "elements", maxElements); err != nil {
			return nil, err
		}
		b = appendU32(append(b, opEnd), funcs)
		for range funcs {
			b = appendU32(b, r.own(c, c.u32(), "the table"))
		}
		if c.err != nil {
			return nil, c.err
		}
	}
	return b, nil
}

// dataSection checks the shape of the segments; where they lie is for the instantiation to judge.
func (r *rewriter) dataSection(c *cursor) ([]byte, error) {
	n, err := count(c, "data segments", maxSegments)
	if err != nil {
		return nil, err
	}
	for range n {
		if c.u32() != 0 || c.byte() != opI32Const {
			return nil, fmt.Errorf("%w: a data segment that is not active on memory 0 at a constant", errWasm)
		}
		c.skipLEB(5)
		if c.byte() != opEnd {
			c.fail("bad offset")
		}
		c.take(c.u32())
		if c.err != nil {
			return nil, c.err
		}
	}
	return c.b, nil
}
