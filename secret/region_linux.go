package secret

import (
	"os"

	"golang.org/x/sys/unix"
)

// newRegion maps size bytes at the best level that the system grants now.
func newRegion(size int) (region, error) {
	if r, ok := newSecretRegion(size); ok {
		return r, nil
	}
	r, err := reserveAnonymous(size)
	if err != nil {
		return region{}, err
	}
	if private(r.data) && unix.Mlock(r.data) == nil {
		r.level = LevelLocked
	}
	return r, nil
}

// private keeps pages out of core dumps, and empty in a forked child (absent there, on kernels before 4.14).
func private(data []byte) bool {
	if unix.Madvise(data, unix.MADV_DONTDUMP) != nil {
		return false
	}
	return unix.Madvise(data, unix.MADV_WIPEONFORK) == nil || unix.Madvise(data, unix.MADV_DONTFORK) == nil
}

// newSecretRegion maps memfd_secret(2) pages (Linux 5.14). They count against RLIMIT_MEMLOCK, guards included. The guards
// are part of the mapping, because mapping over a reservation leaves a hole behind where the limit refuses it.
// WIPEONFORK is for anonymous pages only.
func newSecretRegion(size int) (region, bool) {
	fd, ok := memfdSecret()
	if !ok {
		return region{}, false
	}
	// The mapping keeps the file alive. A close of a memfd has nothing to report.
	defer func() { _ = unix.Close(fd) }()
	if unix.Ftruncate(fd, int64(size+2*os.Getpagesize())) != nil {
		return region{}, false
	}
	r, err := reserve(fd, size, unix.MAP_SHARED)
	if err != nil {
		return region{}, false
	}
	if unix.Madvise(r.data, unix.MADV_DONTFORK) != nil ||
		unix.Mprotect(r.data, unix.PROT_READ|unix.PROT_WRITE) != nil {
		r.release()
		return region{}, false
	}
	r.level = LevelMemfdSecret // the kernel locks these pages and leaves them out of dumps by itself
	return r, true
}
