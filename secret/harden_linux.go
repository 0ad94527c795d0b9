package secret

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// HardenProcess keeps the memory of this whole process, not only of secrets, from core dumps and from debuggers of the
// same user: PR_SET_DUMPABLE 0, and a limit of zero for core files. It is for main, before secrets are loaded. It
// returns the first thing that failed, after trying all; a second call does nothing new.
//
// What it costs:
//
//   - gdb, strace, perf and everything else that needs ptrace work for root (CAP_SYS_PTRACE) alone, and a crash leaves
//     no core file to look at. The stack traces that Go prints are not affected.
//   - The files of /proc/PID belong to root from now on. The process still walks and opens its own /proc/self/fd, reads
//     /proc/self/status and maps, and so loads secrets. Without privileges it cannot open what mode 0400 or 0600
//     protects, such as /proc/self/mem and /proc/self/environ.
//   - The limit for core files cannot be raised again and is inherited by programs that are started; dumpable is set
//     anew when a program is executed.
//
// Elsewhere it does what there is: a limit of zero for core files on Unix systems, PT_DENY_ATTACH on macOS. An error that
// matches [errors.ErrUnsupported] says that something is missing.
func HardenProcess() error {
	var errs []error
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		errs = append(errs, fmt.Errorf("secret: PR_SET_DUMPABLE: %w", err))
	}
	return errors.Join(append(errs, noCoreFiles())...)
}
