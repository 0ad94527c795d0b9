package mountns

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/internal/probe"
)

// variable is set in the second run of a test, which has the namespace. It holds the probe's path.
const variable = "SECRETS_MANAGEMENT_TEST_MOUNTS"

// Inside reports whether this is the second run.
func Inside() bool { return os.Getenv(variable) != "" }

// Main runs the tests of a package that uses [Own]: call it in TestMain, and exit with what it returns.
func Main(m *testing.M) int {
	if Inside() {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// prepare makes /run and /mnt fresh file systems, with the probe where every user can start it.
func prepare() error {
	b, err := os.ReadFile(os.Getenv(variable))
	return errors.Join(err,
		unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"), unix.Mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0755"),
		os.WriteFile("/run/probe", b, 0o755))
}

// Own runs the test a second time, in a mount namespace of its own, and reports whether this is that run. Build makes the
// probe, and is not called there, nor where the test cannot run.
func Own(t *testing.T, build func() (string, error)) bool {
	t.Helper()
	if Inside() {
		return true
	}
	if !asnobody.Root(t) {
		return false
	}
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} // which makes all mounts private
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+" ") {
		t.Errorf("in a mount namespace of its own: %v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
	return false
}

// Load lets the probe load files as service "app" with grants, and returns what came of each, by path.
func Load(t *testing.T, as *syscall.Credential, grants string, paths ...string) map[string]probe.Load {
	t.Helper()
	if err := os.WriteFile("/run/grants.json", []byte(grants), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"app", "/run/grants.json"}
	for _, p := range paths {
		args = append(args, "file:"+p)
	}
	cmd := exec.Command("/run/probe", args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, err := cmd.CombinedOutput()
	var r probe.Report
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil || len(r.Loads) != len(paths) {
		t.Fatalf("%v: %s", err, out)
	}
	all := map[string]probe.Load{}
	for _, l := range r.Loads {
		all[strings.TrimPrefix(l.Ref, "file:")] = l
	}
	return all
}
