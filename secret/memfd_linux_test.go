package secret

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The number of memfd_secret(2) on all architectures but alpha and mips. The module names it for some of them only.
const sysMemfdSecret = 447

// TestSeccomp: a filter that kills on memfd_secret does not get to: the next level is used.
func TestSeccomp(t *testing.T) {
	out, err := startChild("seccomp", killOnMemfdSecret)
	if err != nil || !strings.HasSuffix(out, "done\n") {
		t.Errorf("EXP-RELIABLE-8002: %v\n%s", err, out)
	}
	_, err = startChild("seccomp control", killOnMemfdSecret)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGSYS {
		t.Errorf("control: the filter does not kill: %v", err)
	}
}

func underSeccomp() error {
	s, err := FromBytes([]byte(content))
	if err != nil {
		return err
	}
	if s.Level() == LevelMemfdSecret {
		return errors.New("level memfd_secret under a filter")
	}
	why := s.Degradation()
	if why == nil || !strings.Contains(why.Error(), "seccomp") {
		return fmt.Errorf("the reason does not name the filter: %w", why)
	}
	if errors.Is(why, ErrNotLocked) != (s.Level() == LevelHeap) {
		return fmt.Errorf("level %s, reason %w", s.Level(), why)
	}
	return s.Close()
}

func secretPagesUnchecked() error {
	fd, _, errno := unix.Syscall(sysMemfdSecret, unix.O_CLOEXEC, 0, 0)
	return fmt.Errorf("still alive: %d, %w", fd, errno)
}

// killOnMemfdSecret installs a filter for this thread and what it executes.
func killOnMemfdSecret() error {
	return filterSyscalls([]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: sysMemfdSecret, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	})
}
