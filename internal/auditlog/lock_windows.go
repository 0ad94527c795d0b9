package auditlog

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// A lock on Windows keeps others from reading what is locked: this is a byte behind the end that nobody reads.
const farAway = 1 << 20

// tryLock locks a file against all other handles, or reports that it is locked.
func tryLock(f *os.File) (bool, error) {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, &windows.Overlapped{Offset: farAway})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

func unlock(f *os.File) error {
	return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, &windows.Overlapped{Offset: farAway})
}
