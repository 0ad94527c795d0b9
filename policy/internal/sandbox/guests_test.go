package sandbox

import (
	"bytes"
	"os"
	"testing"
)

// TestGuestsOnDisk: the tests of other packages run guests that were assembled here. Set UPDATE_GUESTS to write them.
func TestGuestsOnDisk(t *testing.T) { // POL-4004 POL-4009
	const at, pages = 16 * pageBytes, 100
	for name, guest := range map[string]asmGuest{
		// Its answer to a long request is its data, byte for byte.
		"parrot.wasm": {pages: pages, eval: i32const(at), abi: map[string][]byte{"opa_malloc": i32const(at)}},
		// It allows everything after the first long request.
		"remembers.wasm": {},
		// It goes round for ever when a request is long.
		"loops.wasm": {eval: cat(loop, i32const(0))},
		// It follows pointers through 32 MiB.
		"wanders.wasm": wanderer(),
	} {
		file := "../../testdata/" + name
		module := guest.build()
		if os.Getenv("UPDATE_GUESTS") != "" {
			if err := os.WriteFile(file, module, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if onDisk, err := os.ReadFile(file); err != nil || !bytes.Equal(onDisk, module) {
			t.Errorf("%s is not what the assembler writes: %v", name, err)
		}
	}
}

// wanderer follows pointers through 32 MiB, each to another line of another page, so that no cache has what it loads next.
// Its start function writes them.
func wanderer() asmGuest {
	const nodes, counter = 1 << 19, 4
	load := func() []byte { return []byte{0x28, 2, 0} }
	count := func() []byte { return cat(i32const(counter), load()) }
	address := cat(i32const(64), []byte{0x6c}, i32const(pageBytes), []byte{opI32Add})
	next := cat(count(), i32const(1664525), []byte{0x6c}, i32const(1013904223), []byte{opI32Add}, i32const(nodes-1), []byte{0x71}, address)
	write := cat(store(counter, 0), []byte{opLoop, typeNone}, count(), address, next, []byte{0x36, 2, 0},
		i32const(counter), count(), i32const(1), []byte{opI32Add, 0x36, 2, 0}, count(), i32const(nodes), []byte{0x49, opBrIf, 0, opEnd})
	follow := cat(i32const(pageBytes), set(7), []byte{opLoop, typeNone}, get(7), bytes.Repeat(load(), 1000), set(7), []byte{opBr, 0, opEnd}, i32const(0))
	return asmGuest{pages: 514, start: write, eval: follow}
}
