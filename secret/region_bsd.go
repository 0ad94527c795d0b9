//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package secret

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// newRegion maps size bytes and locks them if the system's limit permits.
func newRegion(size int) (region, error) {
	r, err := reserveAnonymous(size)
	if err != nil {
		return region{}, err
	}
	if err := unix.Mlock(r.data); err != nil {
		r.why = fmt.Errorf("%w: mlock of %d bytes, see ulimit -l: %w", ErrNotLocked, size, err)
	} else {
		r.level = LevelLocked
	}
	return r, nil
}
