//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package secret

import "fmt"

// region is plain Go memory: this system has no call to lock pages. Wiping works as everywhere.
type region struct {
	data  []byte
	level Level
	why   error // always ErrNotLocked
}

func newRegion(size int) (region, error) {
	why := fmt.Errorf("%w: this system has no call for it", ErrNotLocked)
	return region{data: make([]byte, size), level: LevelHeap, why: why}, nil
}

func (region) release() {}
