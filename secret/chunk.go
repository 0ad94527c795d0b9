package secret

import (
	"crypto/rand"
	"encoding/binary"
	"os"
)

// takeLocked takes a slot of at least n bytes out of its chunk, of locked pages if that is required.
func (a *arena) takeLocked(n int, required bool) (block, error) {
	c, err := a.chunkLocked(n, required)
	if err != nil {
		return block{}, err
	}
	last := len(c.free) - 1
	slot := c.free[last]
	c.free = c.free[:last]
	if last == 0 && c.class != nil {
		c.class.drop(c)
	}
	a.live++
	start := slot * c.size
	end := start + c.size
	return block{chunk: c, slot: slot, mem: c.region.data[start : end-canarySize : end]}, nil
}

// chunkLocked returns a chunk with a free slot for n bytes.
func (a *arena) chunkLocked(n int, required bool) (*chunk, error) {
	if i := classOf(n); i < len(slotSizes) {
		return a.partialLocked(i, required)
	}
	size := slotSize(n)
	return a.mapLocked(size, size, nil, required)
}

// partialLocked returns a chunk of class i with a free slot, a locked one if it has one or if that is required.
func (a *arena) partialLocked(i int, required bool) (*chunk, error) {
	cl := &a.classes[i]
	for _, c := range cl.partial {
		if c.region.level != LevelHeap {
			return c, nil
		}
	}
	// A slot that is not locked will do when there is nothing else, and there is once something was given back.
	spare := len(cl.partial) > 0 && !required
	if spare && cl.tried == a.released {
		return cl.partial[0], nil
	}
	// Doubling saves the lock limit for few secrets and mappings for many.
	c, err := a.mapLocked(min(max(cl.bytes, os.Getpagesize()), maxChunk), slotSizes[i], cl, required || spare)
	if err != nil || c.region.level == LevelHeap {
		cl.tried = a.released
	}
	switch {
	case err != nil && spare:
		return cl.partial[0], nil
	case err != nil:
		return nil, err
	}
	cl.bytes += len(c.region.data)
	cl.add(c)
	return c, nil
}

// mapLocked maps a chunk of size bytes, or of one page if that can be locked and size cannot.
func (a *arena) mapLocked(size, slotSize int, cl *class, required bool) (*chunk, error) {
	if a.regions == 0 && a.seed == [2]uint64{} {
		var seed [16]byte
		_, _ = rand.Read(seed[:]) // never returns an error: crypto/rand
		a.seed = [2]uint64{binary.NativeEndian.Uint64(seed[:]), binary.NativeEndian.Uint64(seed[8:])}
	}
	r, err := newRegion(size)
	if err != nil {
		return nil, err
	}
	if cl != nil && r.level == LevelHeap && size > os.Getpagesize() {
		r = orLockedPage(r)
	}
	if required && r.level == LevelHeap {
		r.release()
		return nil, r.why
	}
	a.regions++
	c := &chunk{region: r, class: cl, size: slotSize, pos: -1}
	for i := len(r.data)/slotSize - 1; i >= 0; i-- {
		c.free = append(c.free, i)
	}
	c.slots = len(c.free)
	return c, nil
}

// orLockedPage returns one locked page in place of r, or r if the lock limit has no room even for that.
func orLockedPage(r region) region {
	page, err := newRegion(os.Getpagesize())
	if err != nil {
		return r // not covered: one page is refused only where no address space is left
	}
	if page.level == LevelHeap {
		page.release()
		return r
	}
	r.release()
	return page
}

// giveLocked takes a wiped slot back.
func (a *arena) giveLocked(b block) {
	c := b.chunk
	c.free = append(c.free, b.slot)
	if c.class != nil && c.pos < 0 {
		c.class.add(c)
	}
	// One empty chunk of a class stays, so that a lone secret that comes and goes does not map pages each time; one that
	// is not locked does not, since the next may be.
	if len(c.free) < c.slots || c.class != nil && c.region.level != LevelHeap && c.class.onlyEmpty(c) {
		return
	}
	if c.class != nil {
		c.class.drop(c)
		c.class.bytes -= len(c.region.data)
	}
	a.regions--
	a.released++
	c.region.release()
}

func (cl *class) add(c *chunk) {
	c.pos = len(cl.partial)
	cl.partial = append(cl.partial, c)
}

func (cl *class) drop(c *chunk) {
	last := len(cl.partial) - 1
	moved := cl.partial[last]
	cl.partial[c.pos] = moved
	moved.pos = c.pos
	cl.partial[last] = nil
	cl.partial = cl.partial[:last]
	c.pos = -1
}

func (cl *class) onlyEmpty(c *chunk) bool {
	for _, other := range cl.partial {
		if other != c && len(other.free) == other.slots {
			return false
		}
	}
	return true
}
