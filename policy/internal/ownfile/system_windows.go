package ownfile

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

const openNoFollow = 0

// Lock takes a lock among processes, on a file of its own that stays.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	const how = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	for {
		err := windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, new(windows.Overlapped))
		switch {
		case err == nil:
			return func() { _ = f.Close() }, nil // which unlocks
		case !errors.Is(err, windows.ERROR_LOCK_VIOLATION):
			_ = f.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// checkOwner has no simple way to ask.
func checkOwner(os.FileInfo) error { return nil }

// SyncDir has nothing to do: a directory cannot be synced.
func SyncDir(string) error { return nil }
