//go:build linux && (amd64 || arm64 || riscv64)

package secret

import (
	"bytes"
	"errors"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// errFiltered is the reason under a seccomp filter.
var errFiltered = errors.New("not tried under a seccomp filter, which may kill the process for it")

// memfdSecret makes the call only where no seccomp filter is active: one that does not know the call may kill the
// process (systemd's @system-service set did on version 252). The filter belongs to the thread, hence the lock.
//
// Nothing tells harmlessly what a filter does with a call. The kernel hands a filter's program out only to a tracer with
// CAP_SYS_ADMIN, SECCOMP_GET_ACTION_AVAIL lists what filters could do, and a probe in a child process needs a call that
// the same filter may kill for, clone, and whose victim dumps a core with this process's memory in it.
func memfdSecret() (fd int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return -1, err
	}
	if !bytes.Contains(status, []byte("\nSeccomp:\t0\n")) {
		return -1, errFiltered
	}
	return unix.MemfdSecret(unix.O_CLOEXEC)
}
