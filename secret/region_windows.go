package secret

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// region is a mapping: pages to use, between two that are never accessible.
type region struct {
	base  uintptr
	data  []byte
	level Level
	why   error // what stood against locking the pages; matches ErrNotLocked
}

// newRegion maps size bytes, a multiple of the page size, and locks them if the working set permits.
func newRegion(size int) (region, error) {
	page := uintptr(os.Getpagesize())
	whole := uintptr(size) + 2*page
	base, err := windows.VirtualAlloc(0, whole, windows.MEM_RESERVE|windows.MEM_COMMIT, windows.PAGE_NOACCESS)
	if err != nil {
		return region{}, fmt.Errorf("%w: map %d bytes: %w", ErrNoMemory, whole, err)
	}
	start := base + page
	// Not a Go pointer, so that the rules for converting a uintptr have nothing to protect.
	data := unsafe.Slice(*(**byte)(unsafe.Pointer(&start)), size) //nolint:gosec // inside the mapping, by whole
	r := region{base: base, data: data, level: LevelHeap}
	var old uint32
	if err := windows.VirtualProtect(start, uintptr(size), windows.PAGE_READWRITE, &old); err != nil {
		r.release()
		return region{}, fmt.Errorf("%w: open %d bytes: %w", ErrNoMemory, size, err)
	}
	if err := windows.VirtualLock(start, uintptr(size)); err != nil {
		r.why = fmt.Errorf("%w: VirtualLock of %d bytes, see the working set's minimum: %w", ErrNotLocked, size, err)
	} else {
		r.level = LevelLocked
	}
	return r, nil
}

// release unmaps r, whose slots are wiped by now. It cannot fail on a mapping of one's own.
func (r region) release() {
	_ = windows.VirtualFree(r.base, 0, windows.MEM_RELEASE)
}
