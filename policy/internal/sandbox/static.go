package sandbox

// staticPages is how many pages of memory a module's constants reach into. OPA's compiler asks for its memory before it has
// placed all of them (v1.22.2: addImportMemoryDecl), so that some policies declare a page too little and could not be
// instantiated. What is not as OPA writes it ends the count: the rewriter and wazero refuse it, or find it out of bounds.
func staticPages(module []byte) int64 {
	c := &cursor{b: module, i: len(wasmHeader)}
	for c.more() {
		id, body := sectionID(c.byte()), c.take(c.u32())
		if id == secData && c.err == nil {
			return (segmentsEnd(&cursor{b: body}) + pageBytes - 1) / pageBytes
		}
	}
	return 0
}

// segmentsEnd is the address behind the last byte of all data segments.
func segmentsEnd(c *cursor) int64 {
	end := int64(0)
	for n := c.u32(); n > 0 && c.err == nil; n-- {
		if c.u32() != 0 || c.byte() != opI32Const {
			break
		}
		at, size := c.address(), int64(0)
		if c.byte() != opEnd {
			break
		}
		size = int64(len(c.take(c.u32())))
		if c.err == nil {
			end = max(end, at+size)
		}
	}
	return end
}

// address reads the operand of i32.const, a signed LEB128, as the address that it is.
func (c *cursor) address() int64 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		b := c.byte()
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			if b&0x40 != 0 && shift < 28 {
				v |= ^uint32(0) << (shift + 7)
			}
			return int64(v)
		}
	}
	c.fail("number too long")
	return 0
}
