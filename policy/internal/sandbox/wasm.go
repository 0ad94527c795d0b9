package sandbox

import (
	"errors"
	"fmt"
)

// The binary format of WebAssembly 1.0 (https://www.w3.org/TR/wasm-core-1/#binary-format), as far as the engine reads
// it. Everything read here has passed wazero's validator before, but nothing here relies on that for memory safety.

type sectionID byte

const (
	secCustom   sectionID = 0
	secType     sectionID = 1
	secImport   sectionID = 2
	secFunction sectionID = 3
	secTable    sectionID = 4
	secMemory   sectionID = 5
	secGlobal   sectionID = 6
	secExport   sectionID = 7
	secStart    sectionID = 8
	secElement  sectionID = 9
	secCode     sectionID = 10
	secData     sectionID = 11
)

const (
	kindFunc   = 0
	kindTable  = 1
	kindMemory = 2
	kindGlobal = 3
)

const (
	typeI32  = 0x7f
	typeI64  = 0x7e
	typeFunc = 0x60
	typeNone = 0x40 // a block without a result
)

var wasmHeader = []byte("\x00asm\x01\x00\x00\x00") //nolint:gochecknoglobals // a constant

var errWasm = errors.New("malformed module")

// cursor reads a byte slice and remembers its first error, so that a caller checks once per item. After an error every
// read gives zero.
type cursor struct {
	b   []byte
	i   int
	err error
}

func (c *cursor) fail(what string) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: %s at byte %d", errWasm, what, c.i)
	}
	c.i = len(c.b)
}

func (c *cursor) more() bool { return c.err == nil && c.i < len(c.b) }

func (c *cursor) byte() byte {
	if c.i >= len(c.b) {
		c.fail("unexpected end")
		return 0
	}
	v := c.b[c.i]
	c.i++
	return v
}

// zero reads a reserved byte. wazero takes a longer encoding of zero for some, and then the rest would be read as code here.
func (c *cursor) zero() {
	if c.byte() != 0 {
		c.fail("a reserved byte that is not zero")
	}
}

func (c *cursor) take(n uint32) []byte {
	if c.err != nil || int64(n) > int64(len(c.b)-c.i) {
		c.fail("length beyond the end")
		return nil
	}
	v := c.b[c.i : c.i+int(n)]
	c.i += int(n)
	return v
}

// u32 reads an unsigned LEB128 of at most 32 bits.
func (c *cursor) u32() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		b := c.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if v > 0xffffffff {
				break
			}
			return uint32(v)
		}
	}
	c.fail("number too large")
	return 0
}

// skipLEB passes over a LEB128 of at most max bytes, whatever its sign.
func (c *cursor) skipLEB(max int) {
	for range max {
		if c.byte() < 0x80 {
			return
		}
	}
	c.fail("number too long")
}

func (c *cursor) name() string { return string(c.take(c.u32())) }

func appendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func appendS64(b []byte, v int64) []byte {
	for {
		low := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && low&0x40 == 0) || (v == -1 && low&0x40 != 0) {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}

func appendBytes(b, v []byte) []byte {
	return append(appendU32(b, uint32(len(v))), v...) //nolint:gosec // G115: no module reaches 4 GiB; Limits.ModuleBytes bounds it
}

func appendName(b []byte, s string) []byte { return appendBytes(b, []byte(s)) }
