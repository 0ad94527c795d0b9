//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package secret

import "golang.org/x/sys/unix"

// newRegion maps size bytes and locks them if the system's limit permits.
func newRegion(size int) (region, error) {
	r, err := reserveAnonymous(size)
	if err != nil {
		return region{}, err
	}
	if unix.Mlock(r.data) == nil {
		r.level = LevelLocked
	}
	return r, nil
}
