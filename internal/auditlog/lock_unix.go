//go:build unix

package auditlog

import (
	"errors"
	"os"
	"syscall"
)

// tryLock locks a file against all other descriptors, those of this process too, or reports that it is locked.
func tryLock(f *os.File) (bool, error) {
	for {
		err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, err
		}
	}
}

func unlock(f *os.File) error { return flock(f, syscall.LOCK_UN) }

// flock does without f.Fd, which changes the mode of the descriptor each time.
func flock(f *os.File, how int) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var locked error
	if err := c.Control(func(fd uintptr) { locked = syscall.Flock(int(fd), how) }); err != nil {
		return err
	}
	return locked
}
