//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package secret

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// region is a mapping: pages to use, between two that are never accessible.
type region struct {
	base  unsafe.Pointer
	whole uintptr
	data  []byte
	level Level
	why   error // what stood against a better level, nil at the best; matches ErrNotLocked at LevelHeap
}

// reserve maps size bytes, a multiple of the page size, and a guard page on each side, all inaccessible so far.
func reserve(fd, size, flags int) (region, error) {
	page := os.Getpagesize()
	whole := uintptr(size + 2*page)
	base, err := unix.MmapPtr(fd, 0, nil, whole, unix.PROT_NONE, flags)
	if err != nil {
		return region{}, fmt.Errorf("%w: map %d bytes: %w", ErrNoMemory, whole, err)
	}
	data := unsafe.Slice((*byte)(unsafe.Add(base, page)), size) //nolint:gosec // inside the mapping, by whole
	return region{base: base, whole: whole, data: data, level: LevelHeap}, nil
}

// reserveAnonymous reserves private pages and makes those between the guards accessible.
func reserveAnonymous(size int) (region, error) {
	r, err := reserve(-1, size, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return region{}, err
	}
	if err := unix.Mprotect(r.data, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		r.release()
		return region{}, fmt.Errorf("%w: open %d bytes: %w", ErrNoMemory, size, err)
	}
	return r, nil
}

// release unmaps r, whose slots are wiped by now. Unmapping a whole mapping of one's own cannot fail but for a lack of
// kernel memory to split its neighbours, and then there is nothing to be done.
func (r region) release() {
	_ = unix.MunmapPtr(r.base, r.whole)
}
