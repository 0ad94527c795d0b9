// Package tinypolicy makes a policy that costs little to activate. It is for tests only.
package tinypolicy

import (
	"bytes"
	"fmt"
)

// Wasm is a module of some 600 bytes: of what OPA compiles it has the ABI only. By the one grant it allows whatever has an
// input of more than 2,500 bytes, and denies the rest.
func Wasm(grant string) []byte {
	const (
		builtins, entrypoints, allow, deny, yes, no = 16, 64, 256, 512, 768, 800
		dataAt, heapAt                              = 4096, 8192
	)
	result := `[{"result":{"allow":%v,"reasons":[],"obligations":{"max_bytes":0,"min_memory":"","min_length":0},"grants":[%s]}}]`
	constant := func(n int) []byte { return append([]byte{0x41}, signed(n)...) }
	choose := func(a, b int) []byte { // input longer than 2,500 bytes ? a : b
		return join([]byte{0x20, 4}, constant(2500), []byte{0x4b, 0x04, 0x7f}, constant(a), []byte{0x05}, constant(b), []byte{0x0b})
	}
	eval := join([]byte{0x20, 1, 0x04, 0x7f}, choose(yes, no), []byte{0x05}, choose(allow, deny), []byte{0x0b})
	functions := []struct {
		name   string
		params byte
		body   []byte
	}{
		{"opa_malloc", 1, constant(dataAt)},
		{"opa_json_parse", 2, constant(1)},
		{"opa_json_dump", 1, []byte{0x20, 0}},
		{"builtins", 0, constant(builtins)},
		{"entrypoints", 0, constant(entrypoints)},
		{"opa_heap_ptr_get", 0, constant(heapAt)},
		{"opa_eval", 7, eval},
	}
	var types, indices, exports, bodies [][]byte
	for i, f := range functions {
		types = append(types, join([]byte{0x60, f.params}, bytes.Repeat([]byte{0x7f}, int(f.params)), []byte{1, 0x7f}))
		indices = append(indices, []byte{byte(i)})
		exports = append(exports, join(sized([]byte(f.name)), []byte{0, byte(i)}))
		bodies = append(bodies, sized(join([]byte{0}, f.body, []byte{0x0b})))
	}
	exports = append(exports, join(sized([]byte("opa_wasm_abi_version")), []byte{3, 0}),
		join(sized([]byte("opa_wasm_abi_minor_version")), []byte{3, 1}))
	version := func(n byte) []byte { return []byte{0x7f, 0, 0x41, n, 0x0b} }
	text := func(at int, s string) []byte {
		return join([]byte{0}, constant(at), []byte{0x0b}, sized([]byte(s+"\x00")))
	}
	return join([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, types...),
		section(2, join(sized([]byte("env")), sized([]byte("memory")), []byte{2, 0, 1})),
		section(3, indices...), section(6, version(1), version(2)), section(7, exports...), section(10, bodies...),
		section(11, text(builtins, "{}"), text(entrypoints, `{"secrets/load/decision":0,"secrets/load/may_ask":1}`),
			text(allow, fmt.Sprintf(result, true, `"`+grant+`"`)), text(deny, fmt.Sprintf(result, false, "")),
			text(yes, `[{"result":true}]`), text(no, `[{"result":false}]`)))
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func section(id byte, items ...[]byte) []byte {
	return append([]byte{id}, sized(append([]byte{byte(len(items))}, join(items...)...))...)
}

// sized puts a length in front, in LEB128.
func sized(b []byte) []byte {
	var n []byte
	v := len(b)
	for ; v > 127; v >>= 7 {
		n = append(n, byte(v)|0x80)
	}
	return append(append(n, byte(v)), b...)
}

// signed is a positive number in signed LEB128.
func signed(v int) []byte {
	var n []byte
	for ; v > 63; v >>= 7 {
		n = append(n, byte(v)|0x80)
	}
	return append(n, byte(v))
}
