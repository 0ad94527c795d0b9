// Package hugepages puts the beginning of the heap into huge pages, before most other packages are initialized. On a virtual
// machine the first touch of a page can cost 15 us, and a check of one unit touched 4,000: two fifths of its time.
package hugepages

import (
	"runtime"
	"syscall"
	"unsafe"
)

const (
	size     = 256 << 20 // as much as a check of 10,000 units takes; what is not touched takes no memory
	patience = 32 << 20  // that the heap may grow by before anything is collected
)

// ballast is never touched, so it takes no memory either. But it counts as live.
var ballast = make([]byte, patience) //nolint:gochecknoglobals,unused // nobody reads it

// It imports little so that it comes early: packages are initialized in the order of their paths, but after what they import.
func init() { //nolint:gochecknoinits // see the package
	advise()
	go runtime.GC() // gives the block back to the heap
}

// advise allocates a block, and drops it untouched: the kernel takes advice for memory that is mapped, and the runtime maps
// no more of the heap than it needs.
//
//go:noinline
func advise() {
	block := unsafe.Pointer(unsafe.SliceData(make([]byte, size))) //nolint:gosec // G103: an address
	// Best effort: a kernel without huge pages is slower, and nothing else.
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(block), size, syscall.MADV_HUGEPAGE)
}
