package sandbox

import (
	"math"
	"runtime"
)

// guestMemory is the linear memory of one instance, with a limit that the host moves: wide while data is parsed, then
// what is there plus Limits.GrowthBytes. It implements experimental.LinearMemory.
//
// Where the system can, addresses for the most that there may ever be are reserved at once and become memory as the guest
// grows, outside of the Go heap: growing then copies nothing, nothing is held that the guest did not ask for, and the
// collector does not wait for twice of it.
type guestMemory struct {
	space   []byte // reserved; nil where the system cannot, and then buf is on the heap
	unmap   runtime.Cleanup
	buf     []byte
	limit   uint64
	refused bool // a growth was
}

func newGuestMemory(l Limits) *guestMemory {
	g := &guestMemory{limit: uint64(l.DataBytes), space: reserve(int(l.maxPages()) * pageBytes)} //nolint:gosec // G115: positive
	g.unmap = runtime.AddCleanup(g, release, g.space)                                            // for an engine that nobody closed
	return g
}

// Reallocate returns the memory with a new size, or nil when the limit or the system does not allow it.
func (g *guestMemory) Reallocate(size uint64) []byte {
	switch {
	case size > g.limit || size > math.MaxInt32:
		g.refused = true
		return nil
	case g.space != nil && commit(g.space, size):
		g.buf = g.space[:size:size]
		return g.buf
	case g.space != nil && g.buf != nil:
		g.refused = true
		return nil
	}
	g.unreserve() // wazero does not take a no for an answer at first
	if size > uint64(cap(g.buf)) {
		grown := make([]byte, size, min(max(size, uint64(cap(g.buf))*2), g.limit))
		copy(grown, g.buf)
		g.buf = grown
	}
	g.buf = g.buf[:size]
	return g.buf
}

// Free gives the memory back. Nothing of it may be touched afterwards.
func (g *guestMemory) Free() {
	g.unreserve()
	g.buf = nil
}

func (g *guestMemory) unreserve() {
	g.unmap.Stop()
	release(g.space)
	g.space = nil
}
