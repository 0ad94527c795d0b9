package loader_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/loader"
)

// TestNoFileSystemCall: SEC-SECRET-024. In a child every system call that names or looks at a file ends the process. It
// survives what it may not ask for, and does not survive what it may.
func TestNoFileSystemCall(t *testing.T) {
	const child = "SECRETS_MANAGEMENT_TEST_NO_FILES"
	refs := func(w *world) map[string]loader.Ref {
		return map[string]loader.Ref{
			"exists": loader.File("/etc/passwd"), "absent": loader.File("/etc/does-not-exist"), "secret of another": loader.File("/etc/shadow"),
			"traversal": loader.File(w.dir + "/../../../../etc/passwd"), "credential": loader.Credential("other"), "variable": loader.Env("OTHER"),
			"invalid": loader.File("relative"), "granted": loader.File(w.dir + "/token"),
		}
	}
	if what := os.Getenv(child); what != "" {
		w := newWorld(t)
		w.file("token", fake, 0o600)
		ref := refs(w)[what]
		l, err := loader.New(loader.Config{Service: service, Policy: w.engine, Audit: loader.NewAuditWriter(io.Discard)})
		must(w, err)
		_, _ = l.LoadSecret(context.Background(), loader.File("/warm/up")) // an instance is made
		must(w, forbidFiles())
		_, err = l.LoadSecret(context.Background(), ref)
		fmt.Println("survived:", errors.Is(err, loader.ErrDenied) || errors.Is(err, loader.ErrPath))
		os.Exit(0)
	}
	for what := range refs(newWorld(t)) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNoFileSystemCall$")
		cmd.Env = append(os.Environ(), child+"="+what)
		out, err := cmd.CombinedOutput()
		if what == "granted" { // the control
			var died *exec.ExitError
			if !errors.As(err, &died) || died.Sys().(syscall.WaitStatus).Signal() != unix.SIGSYS {
				t.Errorf("a load that looks at a file survived: %v, %s", err, out)
			}
			continue
		}
		if err != nil || !strings.Contains(string(out), "survived: true") {
			t.Errorf("%s: %v, %s", what, err, out)
		}
	}
}

// forbidFiles has the kernel end this process at the next system call that concerns a file by name, or by a descriptor
// that is none of its standard ones (seccomp(2)).
func forbidFiles() error {
	var filter []unix.SockFilter
	add := func(code uint16, jt, jf uint8, k uint32) {
		filter = append(filter, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
	}
	add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, 0) // the number of the call
	for _, nr := range fileCalls {
		add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, 1, nr)
		add(unix.BPF_RET|unix.BPF_K, 0, 0, unix.SECCOMP_RET_KILL_PROCESS)
	}
	add(unix.BPF_RET|unix.BPF_K, 0, 0, unix.SECCOMP_RET_ALLOW)
	return filterCalls(filter)
}

// filterCalls puts all threads of this process under a filter, for good.
func filterCalls(filter []unix.SockFilter) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	return nil
}

// fileCalls are what Go makes to look at a file.
var fileCalls = []uint32{
	unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_STATX, unix.SYS_NEWFSTATAT, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_READLINKAT, unix.SYS_STATFS,
	unix.SYS_FSTATFS, unix.SYS_GETXATTR, unix.SYS_LGETXATTR, unix.SYS_FGETXATTR, unix.SYS_CHDIR, unix.SYS_FCHDIR, unix.SYS_GETCWD,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_GETDENTS64, unix.SYS_INOTIFY_ADD_WATCH, unix.SYS_PREAD64, unix.SYS_FSTAT,
}
