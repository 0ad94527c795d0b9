package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHardenProcess: SM-THREAT-2001: another process of the same user cannot look inside, there are no core files, and
// what a loader does with /proc still works, with privileges and without.
func TestHardenProcess(t *testing.T) { // OPS-1003
	users := map[string]*syscall.Credential{"as oneself": nil}
	if os.Getuid() == 0 {
		users["as nobody"] = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	for name, as := range users {
		t.Run("SM-THREAT-2001 "+name, func(t *testing.T) {
			if out, err := startChildAs("harden", as, unrestricted); err != nil || !strings.HasSuffix(out, "done\n") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func hardened() error {
	if err := peek(); err != nil {
		return fmt.Errorf("control: another process cannot look inside before: %w", err)
	}
	for range 2 {
		if err := HardenProcess(); err != nil {
			return err
		}
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || dumpable != 0 {
		return fmt.Errorf("dumpable %d, %w", dumpable, err)
	}
	var core unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil || core != (unix.Rlimit{}) {
		return fmt.Errorf("core files up to %d bytes, %w", core.Max, err)
	}
	if os.Getuid() != 0 {
		if err := peek(); err == nil {
			return errors.New("another process of the same user looks inside")
		}
		if f, err := os.Open("/proc/self/mem"); !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("the documented cost is not: /proc/self/mem: %v, %w", f != nil, err)
		}
	}
	if err := procStillWorks(); err != nil {
		return err
	}
	s, err := FromBytes([]byte(content))
	if err != nil {
		return err
	}
	if !s.Verify(content) {
		return errors.New("does not verify")
	}
	return s.Close()
}

// peek lets another process of the same user read what only a process that may trace this one can.
func peek() error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{childVariable + "=look inside", "LOOK_INSIDE=" + strconv.Itoa(os.Getpid())}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func lookInside() error {
	environ, err := os.ReadFile("/proc/" + os.Getenv("LOOK_INSIDE") + "/environ")
	if err == nil && !bytes.Contains(environ, []byte(childVariable)) {
		err = errors.New("read something else")
	}
	return err
}

// procStillWorks does what a load does: a walk with O_PATH, the link of the descriptor, its attributes, and the open of
// the same inode through it.
func procStillWorks() error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	link := fmt.Sprintf("/proc/self/fd/%d", fd)
	if got, err := os.Readlink(link); err != nil || got != path {
		return fmt.Errorf("the link is %q, %w", got, err)
	}
	if _, err := unix.Getxattr(link, "system.posix_acl_access", nil); err != nil &&
		!errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
		return fmt.Errorf("getxattr: %w", err)
	}
	if got, err := os.ReadFile(link); err != nil || string(got) != "x" {
		return fmt.Errorf("reopen: %q, %w", got, err)
	}
	for _, name := range []string{"status", "maps", "mountinfo", "cgroup"} {
		if b, err := os.ReadFile("/proc/self/" + name); err != nil || len(b) == 0 {
			return fmt.Errorf("%s: %d bytes, %w", name, len(b), err)
		}
	}
	_, err = os.ReadFile("/proc/thread-self/status")
	return err
}
