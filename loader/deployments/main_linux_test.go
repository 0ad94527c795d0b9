package deployments

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/llorch/secrets-management/internal/realsystemd"
)

// inVolumes is set in the second run of a test, which has a mount namespace of its own. It holds the probe's path.
const inVolumes = "SECRETS_MANAGEMENT_TEST_VOLUMES"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if os.Getenv(inVolumes) != "" {
		err = ownNamespace()
	} else if scratch, err = os.MkdirTemp("", "deployments"); err == nil {
		defer os.RemoveAll(scratch)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
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
