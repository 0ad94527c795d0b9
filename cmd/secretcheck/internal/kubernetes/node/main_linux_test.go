package node

import (
	"os"
	"testing"

	"github.com/llorch/secrets-management/internal/mountns"
	"github.com/llorch/secrets-management/internal/realsystemd"
)

func TestMain(m *testing.M) { os.Exit(mountns.Main(m)) }

// onNode runs the test a second time, in a mount namespace of its own, and reports whether this is that run.
func onNode(t *testing.T) bool {
	t.Helper()
	return mountns.Own(t, func() (string, error) { return realsystemd.Build(t.TempDir(), "./internal/probe/cmd/probe") })
}
