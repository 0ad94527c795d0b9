package secret

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// newRegion maps size bytes at the best level that the system grants now.
func newRegion(size int) (region, error) {
	r, why := newSecretRegion(size)
	if why == nil {
		return r, nil
	}
	r, err := reserveAnonymous(size)
	if err != nil {
		return region{}, err
	}
	if err := lock(r.data); err != nil {
		r.why = fmt.Errorf("%w: %w; %w", ErrNotLocked, why, err)
		return r, nil
	}
	r.level, r.why = LevelLocked, why
	return r, nil
}

// lock makes pages private and locks them into RAM.
func lock(data []byte) error {
	if err := private(data); err != nil {
		return fmt.Errorf("madvise: %w", err)
	}
	err := unix.Mlock(data)
	if err == nil {
		return nil
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) != nil {
		return fmt.Errorf("mlock of %d bytes: %w", len(data), err) // not covered: everybody may read a limit of their own
	}
	return fmt.Errorf("mlock of %d bytes: %w (RLIMIT_MEMLOCK is %d; systemd: LimitMEMLOCK=)", len(data), err, limit.Cur)
}

// private keeps pages out of core dumps, and empty in a forked child (absent there, on kernels before 4.14).
func private(data []byte) error {
	err := unix.Madvise(data, unix.MADV_DONTDUMP)
	if err == nil && unix.Madvise(data, unix.MADV_WIPEONFORK) != nil {
		err = unix.Madvise(data, unix.MADV_DONTFORK)
	}
	return err
}

// newSecretRegion maps memfd_secret(2) pages (Linux 5.14). They count against RLIMIT_MEMLOCK, guards included. The guards
// are part of the mapping, because mapping over a reservation leaves a hole behind where the limit refuses it.
// WIPEONFORK is for anonymous pages only.
func newSecretRegion(size int) (region, error) {
	fd, err := memfdSecret()
	if err != nil {
		return region{}, fmt.Errorf("memfd_secret: %w", err)
	}
	// The mapping keeps the file alive. A close of a memfd has nothing to report.
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Ftruncate(fd, int64(size+2*os.Getpagesize())); err != nil {
		return region{}, fmt.Errorf("memfd_secret: size: %w", err) // not covered: where the kernel has no memfd_secret
	}
	r, err := reserve(fd, size, unix.MAP_SHARED)
	if err != nil {
		return region{}, fmt.Errorf("memfd_secret: %w", err)
	}
	err = unix.Madvise(r.data, unix.MADV_DONTFORK)
	if err == nil {
		err = unix.Mprotect(r.data, unix.PROT_READ|unix.PROT_WRITE)
	}
	if err != nil {
		r.release()
		return region{}, fmt.Errorf("memfd_secret: protect: %w", err) // not covered: where the kernel has no memfd_secret
	}
	r.level = LevelMemfdSecret // the kernel locks these pages and leaves them out of dumps by itself
	return r, nil
}
