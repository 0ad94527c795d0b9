package engine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/internal/realsystemd"
)

// inEngine is set in the second run of a test, which has a mount namespace of its own. It holds the probe's path.
const inEngine = "SECRETS_MANAGEMENT_TEST_ENGINE"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv(inEngine) != "" {
		if err := ownNamespace(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// ownNamespace makes /run and /mnt fresh file systems, with the probe where every user can start it.
func ownNamespace() error {
	b, err := os.ReadFile(os.Getenv(inEngine))
	return errors.Join(err,
		unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"), unix.Mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0755"),
		os.WriteFile("/run/probe", b, 0o755))
}

// onHost runs the test a second time, in a mount namespace of its own, and reports whether this is that run.
func onHost(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inEngine) != "" {
		return true
	}
	if !asnobody.Root(t) {
		return false
	}
	probe, err := realsystemd.Build(t.TempDir(), "./internal/probe/cmd/probe")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inEngine+"="+probe)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} // which makes all mounts private
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+" ") {
		t.Errorf("in a mount namespace of its own: %v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
	return false
}
