package secret

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
)

// cell is the one owner of a slot. All copies of a Secret reach the same cell through their function, so that the
// clean-up for forgotten secrets, which belongs to the cell, cannot run while any of them lives.
type cell struct {
	state     atomic.Int64 // number of uses in progress, plus closedBit
	corrupted atomic.Bool  // the canary was gone when the slot was wiped
	block     block
	head, n   int // the content is block.mem[head:head+n]
	options   Options
	cleanup   runtime.Cleanup

	// Up to two cache lines: counting the uses of one secret would else slow down those of its neighbour on the Go heap
	// (two goroutines with a secret each reached half of the speed of one).
	_ [24]byte
}

const closedBit = 1 << 62

// newCell allocates head+size bytes, lets fill write the last size of them, and keeps as many as fill says.
func newCell(o Options, head, size int, fill func(buf []byte) (int, error)) (*cell, error) {
	if o.RequireLocked {
		if err := reserveHasher(); err != nil {
			return nil, err
		}
	}
	b, err := shared.alloc(head+size, o.RequireLocked)
	if err != nil {
		return nil, err
	}
	kept := false
	// Deferred, because fill is the caller's: it may fail, panic or exit the goroutine.
	defer func() {
		if !kept {
			reclaim(b)
		}
	}()

	buf := b.mem[head : head+size : head+size]
	n, err := fill(buf)
	switch {
	case err != nil:
		return nil, err
	case n < 0 || n > size:
		return nil, fmt.Errorf("secret: fill returned %d for a buffer of %d bytes", n, size)
	case n == 0:
		return nil, ErrEmpty
	}
	Wipe(buf[n:])

	if b, err = shared.shrink(b, head+n, o.RequireLocked); err != nil {
		return nil, err
	}
	kept = true
	c := &cell{block: b, head: head, n: n, options: o}
	if o.Forgotten == nil {
		c.cleanup = runtime.AddCleanup(c, reclaim, b)
	} else {
		c.cleanup = runtime.AddCleanup(c, orphan.end, newOrphan(b, o.Forgotten))
	}
	return c, nil
}

// reclaim is the end of a slot whose owner cannot be told of a corruption; the arena counts it.
func reclaim(b block) {
	_ = shared.free(b)
}

func (c *cell) content() []byte {
	end := c.head + c.n
	return c.block.mem[c.head:end:end]
}

// acquire begins a use; no wipe happens before the release that must follow.
func (c *cell) acquire() error {
	if c == nil {
		return ErrClosed
	}
	for {
		v := c.state.Load()
		if v&closedBit != 0 {
			return ErrClosed
		}
		if c.state.CompareAndSwap(v, v+1) {
			return nil
		}
	}
}

// release ends a use, and the slot with it if that was the last use of a closed cell.
func (c *cell) release() error {
	var err error
	if c.state.Add(-1) == closedBit {
		err = c.destroy()
	}
	// The callers' last use of c may be the slice that they took from it, which does not keep c alive.
	runtime.KeepAlive(c)
	return err
}

// releaseQuietly is for callers that have no error to return: the corruption stays readable by Close.
func (c *cell) releaseQuietly() {
	_ = c.release()
}

func (c *cell) protection() Level {
	if c == nil {
		return LevelHeap
	}
	return c.block.level()
}

func (c *cell) degradation() error {
	if c == nil {
		return ErrClosed
	}
	return c.block.chunk.region.why
}

func (c *cell) madeWith() Options {
	if c == nil {
		return Options{}
	}
	return c.options
}

func (c *cell) use(f func(b []byte) error) (err error) {
	if f == nil {
		return errNilFunc
	}
	if err := c.acquire(); err != nil {
		return err
	}
	defer func() {
		if cerr := c.release(); cerr != nil {
			err = errors.Join(err, cerr)
		}
	}()
	return f(c.content())
}

func (c *cell) close() error {
	if c == nil {
		return nil
	}
	for {
		v := c.state.Load()
		if v&closedBit != 0 {
			break
		}
		if c.state.CompareAndSwap(v, v|closedBit) {
			if v == 0 {
				return c.destroy()
			}
			break
		}
	}
	if c.corrupted.Load() {
		return ErrCorrupted
	}
	return nil
}

// destroy runs once: after closedBit is set the count only falls, and only who sees it reach zero calls this.
func (c *cell) destroy() error {
	c.cleanup.Stop()
	err := shared.free(c.block)
	if err != nil {
		c.corrupted.Store(true)
	}
	runtime.KeepAlive(c)
	return err
}
