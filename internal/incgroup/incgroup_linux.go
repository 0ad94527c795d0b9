// Package incgroup runs a test's child in a cgroup where systemd would put a service. It is for tests only.
package incgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/internal/asnobody"
)

// Hierarchies are where systemd keeps track of processes on this machine: version 2 first, then its own of version 1 if
// there is one.
func Hierarchies() []string {
	var dirs []string
	for _, d := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		if _, err := os.Stat(d + "/cgroup.procs"); err == nil {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// Available reports whether this test can make cgroups. Where not even root can, it says what to do, or fails in CI.
func Available(t testing.TB) bool {
	t.Helper()
	if !asnobody.Root(t) {
		return false
	}
	err := errors.New("no cgroup file system is mounted at /sys/fs/cgroup")
	for _, h := range Hierarchies() {
		dir := filepath.Join(h, fmt.Sprintf("secrets-management-probe-%d", os.Getpid()))
		if err = os.Mkdir(dir, 0o755); err != nil {
			break
		}
		_ = os.Remove(dir)
	}
	switch {
	case err == nil:
		return true
	case os.Getenv("CI") == "true":
		t.Errorf("CI has to run this where root can make cgroups: %v", err)
	default:
		fmt.Fprintf(os.Stderr, "not run: %s: let root make cgroups here: %v\n", t.Name(), err)
	}
	return false
}

// Make makes a cgroup in each hierarchy, and what is missing above it, until the end of the test.
func Make(t testing.TB, path string) {
	t.Helper()
	for _, h := range Hierarchies() {
		made := h
		for name := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
			made += "/" + name
			dir := made
			err := os.Mkdir(dir, 0o755)
			if err == nil {
				t.Cleanup(func() { _ = os.Remove(dir) })
			} else if !errors.Is(err, os.ErrExist) {
				t.Fatal(err)
			}
		}
	}
}

// Move is the beginning of a shell script that goes into a cgroup of some hierarchies.
func Move(path string, hierarchies ...string) string {
	var script strings.Builder
	for _, h := range hierarchies {
		fmt.Fprintf(&script, "echo $$ > '%s%s/cgroup.procs' && ", h, path)
	}
	return script.String()
}

// Command is a command that starts in a cgroup of all hierarchies, which it makes.
func Command(t testing.TB, path string, args ...string) *exec.Cmd {
	t.Helper()
	Make(t, path)
	return exec.Command("sh", append([]string{"-c", Move(path, Hierarchies()...) + `exec "$0" "$@"`}, args...)...)
}
