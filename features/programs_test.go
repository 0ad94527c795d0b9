//go:build linux

package features

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/internal/realsystemd"
)

// programs is the folder of the programs that the scenarios run. The second run, as another user and without the sources,
// takes those of the first.
const programs = "SECRETS_MANAGEMENT_TEST_PROGRAMS"

func TestMain(m *testing.M) { os.Exit(mainOf(m)) }

func mainOf(m *testing.M) int {
	err := error(nil)
	switch what := os.Getenv(holder); {
	case what != "":
		if err = hold(what); err == nil {
			return 0
		}
	case os.Getenv(programs) != "":
		return asnobody.Main(m)
	default:
		var dir string
		if dir, err = os.MkdirTemp("", "features-programs"); err == nil {
			defer os.RemoveAll(dir)
			err = os.Chmod(dir, 0o755)
		}
		if err == nil {
			err = os.Setenv(programs, dir)
		}
		if err == nil {
			return asnobody.Main(m)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

var (
	secretcheckPath = sync.OnceValues(func() (string, error) { return program("./cmd/secretcheck") })
	probePath       = sync.OnceValues(func() (string, error) { return program("./internal/probe/cmd/probe") })
)

// program builds a program of this module unless an earlier run has.
func program(pkg string) (string, error) {
	dir := os.Getenv(programs)
	exe := filepath.Join(dir, filepath.Base(pkg))
	if _, err := os.Stat(exe); err == nil {
		return exe, nil
	}
	return realsystemd.Build(dir, pkg)
}
