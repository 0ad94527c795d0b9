package secret

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"unsafe"
)

// Level says how well the memory of a secret is protected, from best to least.
type Level string

const (
	// LevelMemfdSecret is pages from memfd_secret(2), out of reach of the kernel's own mappings and of ptrace, and locked.
	LevelMemfdSecret Level = "memfd_secret"
	// LevelLocked is private pages that are locked into RAM and, on Linux, left out of core dumps and forked children.
	LevelLocked Level = "locked"
	// LevelHeap is memory that may be swapped out. It is still outside the Go heap where the system has pages to map.
	LevelHeap Level = "heap"
)

// ProtectionLevel reports the level that a secret of up to 80 bytes gets when it is created next. The answer can age:
// the lock limit is shared with the rest of the process, and a larger secret needs more of it. The Level method of a
// Secret says what that one got.
func ProtectionLevel() Level {
	level, _ := shared.probe()
	return level
}

// Degradation says why [ProtectionLevel] is not the best level, such as a seccomp filter or a small RLIMIT_MEMLOCK, or
// nil if it is. At [LevelHeap], where secrets can reach the swap, it matches [ErrNotLocked]. This package has no logger:
// whoever makes secrets should log it once at start-up, as the loader does. The text is for people.
func Degradation() error {
	_, why := shared.probe()
	return why
}

// shared is the arena of the process. EXP-RELIABLE-8002 asks for no global state, so that nothing depends on who came
// first and tests do not disturb each other; here is nothing to configure and nothing to find: see the package
// documentation.
//
//nolint:gochecknoglobals // pages and the lock limit are the process's, as the Go heap is
var shared arena

// Slot sizes of the shared chunks, canary included. A larger slot gets a mapping of its own. 160 holds a token of up to
// 80 bytes with its verifier: 10,000 of them fit into 1.6 MiB.
//
//nolint:gochecknoglobals // a constant table
var slotSizes = [...]int{64, 160, 256, 512, 1024, 2048, 4096}

const (
	tokenClass = 1 // the index of 160 above
	canarySize = 16
	maxChunk   = 64 << 10
)

// arena hands out zeroed slots of mapped memory. The zero arena is ready to use.
type arena struct {
	mu        sync.Mutex
	classes   [len(slotSizes)]class
	seed      [2]uint64 // of the canaries; drawn with the first chunk
	live      int       // slots in use
	regions   int       // mappings in existence
	released  int       // mappings that were given back so far: each may have made room for a locked one
	corrupted int       // slots whose canary was gone when they were freed
}

// class is the chunks of one slot size.
type class struct {
	partial []*chunk // those with a free slot
	bytes   int      // of all chunks
	tried   int      // arena.released when locking failed last
}

// chunk is one mapping that is cut into slots of one size.
type chunk struct {
	region region
	class  *class // nil if the chunk is for one large slot
	size   int    // of a slot
	slots  int
	free   []int // indices of the slots that are not in use, all of them zero
	pos    int   // index in class.partial, or -1
}

// block is a slot that somebody owns. mem leaves the canary out.
type block struct {
	chunk *chunk
	slot  int
	mem   []byte
}

func (b block) level() Level { return b.chunk.region.level }

// classOf returns the index of the smallest slot size with room for n bytes and a canary, or len(slotSizes).
func classOf(n int) int {
	for i, size := range slotSizes {
		if n <= size-canarySize {
			return i
		}
	}
	return len(slotSizes)
}

// alloc returns a slot of at least n zero bytes, 0 < n <= MaxSize and a bit, in locked memory if that is required.
// Errors match ErrNoMemory, or ErrNotLocked if it is.
func (a *arena) alloc(n int, required bool) (block, error) {
	a.mu.Lock()
	b, err := a.takeLocked(n, required)
	a.mu.Unlock()
	if err != nil {
		return block{}, err
	}
	want, have := a.canary(b), b.canaryBytes()
	binary.NativeEndian.PutUint64(have, want[0])
	binary.NativeEndian.PutUint64(have[8:], want[1])
	return b, nil
}

// free checks the canary, wipes the slot and takes it back. It does all of it even when it returns ErrCorrupted.
func (a *arena) free(b block) error {
	want, have := a.canary(b), b.canaryBytes()
	intact := binary.NativeEndian.Uint64(have) == want[0] && binary.NativeEndian.Uint64(have[8:]) == want[1]
	// Before the slot can be anybody else's, and outside the lock.
	Wipe(b.mem[:b.chunk.size])

	a.mu.Lock()
	defer a.mu.Unlock()
	a.live--
	a.giveLocked(b)
	if !intact {
		a.corrupted++
		return ErrCorrupted
	}
	return nil
}

// slotSize is what a slot for n bytes takes, a mapping of its own for a large one.
func slotSize(n int) int {
	if i := classOf(n); i < len(slotSizes) {
		return slotSizes[i]
	}
	page := os.Getpagesize()
	return (n + canarySize + page - 1) / page * page
}

// shrink moves the first n bytes of b, which are all that is not zero, to a smaller slot if there is a size for them.
func (a *arena) shrink(b block, n int, required bool) (block, error) {
	if slotSize(n) >= b.chunk.size {
		return b, nil
	}
	small, err := a.alloc(n, required)
	if err != nil {
		return b, nil //nolint:nilerr // a slot that is too large is no reason to refuse
	}
	if small.level() == LevelHeap && b.level() != LevelHeap {
		return b, a.free(small) // locked is worth more than small
	}
	copy(small.mem, b.mem[:n])
	return small, a.free(b)
}

// probe returns the level of the next small slot and why it is not the best, and makes sure that there is one.
func (a *arena) probe() (Level, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, err := a.partialLocked(tokenClass, false)
	if err != nil {
		return LevelHeap, fmt.Errorf("%w: %w", ErrNotLocked, err) // not covered: one page is refused only where no address space is left
	}
	return c.region.level, c.region.why
}

// canary returns what belongs at the end of b: a random number of this process, mixed with the address so that a canary
// copied from another slot is wrong.
func (a *arena) canary(b block) [2]uint64 {
	addr := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b.mem)))) //nolint:gosec // a number, not converted back
	return [2]uint64{a.seed[0] ^ addr, a.seed[1]}
}

// canaryBytes is where the canary of b is: right behind what the owner may use.
func (b block) canaryBytes() []byte {
	return b.mem[len(b.mem):b.chunk.size]
}
