package secret

import (
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AddChild registers a child for the tests outside the package, and returns its name.
func AddChild(name string, f func() error) string {
	children[name] = f
	return name
}

// StartChild starts cmd as the child name, under what restrict does to a thread: see startChild.
func StartChild(cmd *exec.Cmd, name string, restrict func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		err := restrict()
		if err == nil {
			cmd.Env = append(cmd.Environ(), childVariable+"="+name)
			err = cmd.Start()
		}
		done <- err
	}()
	return <-done
}

// The restrictions under which a child gets each level.
var (
	Unrestricted = unrestricted
	// UnderFilter is a seccomp filter that allows everything: memfd_secret is not tried.
	UnderFilter = func() error {
		return filterSyscalls([]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}})
	}
)

func filterSyscalls(filter []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}
