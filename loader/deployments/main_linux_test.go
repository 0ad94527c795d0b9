package deployments

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/llorch/secrets-management/internal/mountns"
	"github.com/llorch/secrets-management/internal/realsystemd"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if !mountns.Inside() {
		var err error
		if scratch, err = os.MkdirTemp("", "deployments"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
	}
	return mountns.Main(m)
}

var scratch string

var build = sync.OnceValues(func() (string, error) { return realsystemd.Build(scratch, "./internal/probe/cmd/probe") })

// probePath builds the service that loads, once for all tests.
func probePath(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
