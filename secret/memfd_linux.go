//go:build linux && (amd64 || arm64 || riscv64)

package secret

import (
	"bytes"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// memfdSecret makes the call only where no seccomp filter is active: one that does not know the call may kill the
// process (systemd's @system-service set did on version 252). The filter belongs to the thread, hence the lock.
func memfdSecret() (fd int, ok bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil || !bytes.Contains(status, []byte("\nSeccomp:\t0\n")) {
		return -1, false
	}
	fd, err = unix.MemfdSecret(unix.O_CLOEXEC)
	return fd, err == nil
}
