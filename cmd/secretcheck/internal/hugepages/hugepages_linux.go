// Package hugepages, imported, puts the beginning of the heap into huge pages before other packages are initialized. On a
// virtual machine the first touch of a page costs 15 us, and a check of one unit touches 2,000: a third of its time.
package hugepages

import (
	"runtime/debug"
	"syscall"
	"unsafe"
)

const (
	size = 16 << 20
	// percent lets the heap grow to size before the next collection.
	percent = 400
)

// The kernel takes advice for memory that is mapped, and the runtime maps no more of the heap than it needs. So a block is
// allocated, advised, and dropped untouched: it is over the limit of the first collection, which so gives it back to the heap at once.
func init() { //nolint:gochecknoinits // packages that are initialized after this one allocate too
	debug.SetGCPercent(percent)
	block := unsafe.Pointer(unsafe.SliceData(make([]byte, size))) //nolint:gosec // G103: an address
	// Best effort: a kernel without huge pages is slower, and nothing else.
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(block), size, syscall.MADV_HUGEPAGE)
}
