// Package asnobody runs a package's tests a second time without root's rights. Root passes every permission check, so a
// test that only ever runs as root shows little about modes and owners. It is for tests only.
package asnobody

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	marker = "SECRETS_MANAGEMENT_TEST_AS_NOBODY"
	uid    = 65534
)

// Main runs the tests and, when they run as root, runs them again as uid and gid 65534. Use it as
//
//	func TestMain(m *testing.M) { os.Exit(asnobody.Main(m)) }
func Main(m *testing.M) int {
	code := m.Run()
	if code != 0 || os.Geteuid() != 0 || benchmarking() {
		return code
	}
	if err := again(); err != nil {
		fmt.Fprintln(os.Stderr, "as uid 65534:", err)
		return 1
	}
	return 0
}

func benchmarking() bool {
	for _, a := range os.Args[1:] {
		if strings.HasPrefix(a, "-test.bench=") || strings.HasPrefix(a, "-test.fuzz") || strings.HasPrefix(a, "-test.list") {
			return true
		}
	}
	return false
}

// again runs a copy of this test binary, in a place that the other uid can reach.
func again() error {
	dir, err := os.MkdirTemp("", "as-nobody")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	exe := filepath.Join(dir, "tests")
	if err := copyFile(exe, os.Args[0]); err != nil {
		return err
	}
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	if err := os.Chown(tmp, uid, uid); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.Command(exe, arguments()...)
	cmd.Env = append(os.Environ(), marker+"=1", "TMPDIR="+tmp, "HOME="+tmp)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	become(cmd, uid)
	return cmd.Run()
}

// arguments are the flags that choose tests; those that name files would have the other uid write to root's.
func arguments() []string {
	var kept []string
	for _, a := range os.Args[1:] {
		for _, name := range []string{"run", "skip", "v", "count", "timeout", "short", "failfast", "parallel"} {
			if a == "-test."+name || strings.HasPrefix(a, "-test."+name+"=") {
				kept = append(kept, a)
			}
		}
	}
	return kept
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// Second reports whether this is the second run, without root's rights.
func Second() bool { return os.Getenv(marker) != "" }

// Root reports whether the test may do what only root can. Without it the test says so, or fails in CI; in the second
// run, which is without on purpose, it just returns.
func Root(t testing.TB) bool {
	t.Helper()
	if os.Geteuid() == 0 {
		return true
	}
	if !Second() {
		NotRun(t, "run the tests as root")
	}
	return false
}

// NotRun says that a part of a test needs something that is not here, and what to do about it. CI has to have it.
func NotRun(t testing.TB, remedy string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Errorf("CI has to run this part: %s", remedy)
		return
	}
	fmt.Fprintf(os.Stderr, "not run: %s: %s\n", t.Name(), remedy)
}
