package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGuides: EXP-CROSS-7004. What services use has an example that go test runs, and the guides are where they are said to be.
func TestGuides(t *testing.T) {
	has := func(file string, all ...string) {
		text, err := os.ReadFile(filepath.Join("..", "..", file))
		if err != nil {
			t.Error(err)
		}
		for _, want := range all {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %q", file, want)
			}
		}
	}
	for _, folder := range []string{"secret", "secret/secrettest", "kdf", "policy", "loader", "bearer"} {
		has(folder+"/example_test.go", "\nfunc Example", "// Output:")
	}
	has(".specs/50_operations.md", "## Deploying\n", "## Audit\n", "## Incidents\n", "## Leaving the environment\n")
}
