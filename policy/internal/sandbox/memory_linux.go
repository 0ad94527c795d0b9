package sandbox

import "golang.org/x/sys/unix"

// reserve takes addresses without memory behind them. It returns nil where there are none to be had, as under a small
// RLIMIT_AS.
func reserve(size int) []byte {
	space, err := unix.Mmap(-1, 0, size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil
	}
	return space
}

// commit lets the first size bytes of reserved addresses be used; they are zero at first. Limits are whole pages.
func commit(space []byte, size uint64) bool {
	return size <= uint64(len(space)) && unix.Mprotect(space[:size], unix.PROT_READ|unix.PROT_WRITE) == nil
}

func release(space []byte) {
	if space != nil {
		_ = unix.Munmap(space) // what Mmap returned
	}
}
