//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package secret

// region is plain Go memory: this system has no call to lock pages. Wiping works as everywhere.
type region struct {
	data  []byte
	level Level
}

func newRegion(size int) (region, error) {
	return region{data: make([]byte, size), level: LevelHeap}, nil
}

func (region) release() {}
