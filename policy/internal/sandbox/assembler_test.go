package sandbox

import "slices"

// A small assembler for guests: just enough of OPA's ABI to be asked for a decision, and room for bad behaviour.

type asmFunc struct {
	typ    uint32
	locals int // i32
	body   []byte
	export string
}

type asmGuest struct {
	imports  []string // functions of env to import besides the memory; builtins have types of their own
	importAs uint32   // the type of the others
	malloc   []byte   // body of opa_malloc
	builtins string   // what builtins() gives, {} if empty
	module   string   // of the imports; "env" if empty
	globals  int      // i32 globals besides the two ABI versions
	pages    uint32
	start    []byte            // body of a start function
	eval     []byte            // runs in opa_eval when the input is long, and leaves an i32
	abi      map[string][]byte // bodies of ABI functions in place of the usual ones
	extra    []asmFunc
	exports  map[string]uint32 // additional exports of globals
	sections map[sectionID][]byte
	elements []byte
	table    []byte
}

const (
	typeVoid = iota // ()->()
	typeGet         // ()->i32
	typeOne         // i32->i32
	typeTwo         // i32,i32->i32
	typeSeven
	typeThree // i32,i32,i32->i32
	typeSink  // i32->()
	typeWide  // 8 i32->i32
)

const (
	addrMark     = 8 // not zero once the guest was asked with a long input
	addrNone     = 16
	addrEntry    = 32
	addrDeny     = 256
	addrFalse    = 512
	addrBuiltins = 600
	addrAllow    = 640
	addrHeap     = 8192
	longInput    = 1400 // bytes; goodRequest stays below, hostile() is above
	firstDefined = 7    // functions that every guest has before its own
)

const (
	denyJSON  = `[{"result":{"allow":false,"reasons":[],"obligations":{"max_bytes":0,"min_memory":"","min_length":0},"grants":[]}}]`
	allowJSON = `[{"result":{"allow":true,"reasons":[],"obligations":{"max_bytes":0,"min_memory":"","min_length":0},"grants":[]}}]`
)

func i32const(n int64) []byte { return appendS64([]byte{opI32Const}, n) }

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

func vec(items ...[]byte) []byte { return append(appendU32(nil, uint32(len(items))), cat(items...)...) }

// functions are those of the ABI and the guest's own. opa_eval remembers that it was asked with a long input, and allows
// every request after that: where an instance outlives an attack, it shows.
func (g *asmGuest) functions() []asmFunc {
	mark := func(op byte) []byte { return []byte{op, 2, 0} }
	eval := cat([]byte{0x20, 4}, i32const(longInput), []byte{0x4b, opIf, typeNone}, // input length > longInput
		i32const(addrMark), i32const(1), mark(0x36), g.evalBody(), []byte{opReturn, opEnd},
		[]byte{0x20, 1, opIf, typeI32}, i32const(addrFalse), []byte{opElse},
		i32const(addrAllow), i32const(addrDeny), i32const(addrMark), mark(0x28), []byte{0x1b, opEnd})
	fns := []asmFunc{
		{typ: typeOne, body: g.mallocBody(), export: "opa_malloc"},
		{typ: typeTwo, body: i32const(1), export: "opa_json_parse"},
		{typ: typeOne, body: []byte{0x20, 0}, export: "opa_json_dump"},
		{typ: typeGet, body: i32const(g.addrBuiltins()), export: "builtins"},
		{typ: typeGet, body: i32const(addrEntry), export: "entrypoints"},
		{typ: typeGet, body: i32const(addrHeap), export: "opa_heap_ptr_get"},
		{typ: typeSeven, locals: 2, body: eval, export: "opa_eval"},
	}
	for i, f := range fns {
		if body, ok := g.abi[f.export]; ok {
			fns[i].body = body
		}
	}
	fns = append(fns, g.extra...)
	if g.start != nil {
		fns = append(fns, asmFunc{typ: typeVoid, body: g.start})
	}
	return fns
}

func (g *asmGuest) addrBuiltins() int64 {
	if g.builtins == "" {
		return addrNone
	}
	return addrBuiltins
}

func (g *asmGuest) mallocBody() []byte {
	if g.malloc == nil {
		return i32const(4096)
	}
	return g.malloc
}

func (g *asmGuest) evalBody() []byte {
	if g.eval == nil {
		return i32const(addrDeny)
	}
	return g.eval
}

// fn is the index of the k-th extra function.
func (g *asmGuest) fn(k int) []byte { return appendU32(nil, uint32(len(g.imports)+firstDefined+k)) }

func (g *asmGuest) build() []byte {
	fns := g.functions()
	out := slices.Clone(wasmHeader)
	section := func(id sectionID, body []byte) {
		if b, ok := g.sections[id]; ok {
			body = b
		}
		if body != nil {
			out = appendBytes(append(out, byte(id)), body)
		}
	}
	section(secType, vec(asmTypes()...))
	section(secImport, g.importSection())
	var types, bodies, exports [][]byte
	for i, f := range fns {
		types = append(types, appendU32(nil, f.typ))
		body := cat([]byte{1}, appendU32(nil, uint32(f.locals)), []byte{typeI32}, f.body, []byte{opEnd})
		bodies = append(bodies, appendBytes(nil, body))
		if f.export != "" {
			exports = append(exports, appendU32(append(appendName(nil, f.export), kindFunc), uint32(len(g.imports)+i)))
		}
	}
	section(secFunction, vec(types...))
	section(secTable, g.table)
	section(secMemory, nil)
	global := cat([]byte{typeI32, 1}, i32const(1), []byte{opEnd})
	minor := cat([]byte{typeI32, 0}, i32const(2), []byte{opEnd})
	globals := [][]byte{cat([]byte{typeI32, 0}, i32const(1), []byte{opEnd}), minor}
	section(secGlobal, vec(append(globals, slices.Repeat([][]byte{global}, g.globals)...)...))
	exports = append(exports, append(appendName(nil, "opa_wasm_abi_version"), kindGlobal, 0),
		append(appendName(nil, "opa_wasm_abi_minor_version"), kindGlobal, 1))
	for name, index := range g.exports {
		exports = append(exports, appendU32(append(appendName(nil, name), kindGlobal), index))
	}
	section(secExport, vec(exports...))
	if g.start != nil {
		section(secStart, appendU32(nil, uint32(len(g.imports)+len(fns)-1)))
	}
	section(secElement, g.elements)
	section(secCode, vec(bodies...))
	section(secData, g.dataSection())
	return out
}

func funcTypeOf(params, results int) []byte {
	return cat([]byte{typeFunc}, appendBytes(nil, i32s(params)), appendBytes(nil, i32s(results)))
}

func asmTypes() [][]byte {
	return [][]byte{
		funcTypeOf(0, 0), funcTypeOf(0, 1), funcTypeOf(1, 1), funcTypeOf(2, 1), funcTypeOf(7, 1), funcTypeOf(3, 1),
		funcTypeOf(1, 0), funcTypeOf(8, 1),
	}
}

func (g *asmGuest) importSection() []byte {
	module := g.module
	if module == "" {
		module = envModule
	}
	pages := max(1, g.pages)
	imports := [][]byte{appendU32(append(appendName(appendName(nil, envModule), memoryImport), kindMemory, 0), pages)}
	for _, name := range g.imports {
		typ, ok := map[string]byte{"opa_builtin0": typeTwo, "opa_builtin1": typeThree}[name]
		if !ok {
			typ = byte(g.importAs)
		}
		imports = append(imports, append(appendName(appendName(nil, module), name), kindFunc, typ))
	}
	return vec(imports...)
}

func (g *asmGuest) dataSection() []byte {
	segment := func(at int64, text string) []byte {
		return cat([]byte{0}, i32const(at), []byte{opEnd}, appendBytes(nil, []byte(text+"\x00")))
	}
	return vec(segment(addrNone, "{}"), segment(addrEntry, `{"secrets/load/decision":0,"secrets/load/may_ask":1}`),
		segment(addrDeny, denyJSON), segment(addrFalse, `[{"result":false}]`), segment(addrBuiltins, g.builtins), segment(addrAllow, allowJSON))
}
