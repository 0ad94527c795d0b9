package loader_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/internal/asnobody"
)

// TestLoaderDependencies: SM-THREAT-2002. The network is the caller's affair: what a service links with loader neither
// speaks HTTP nor carries OPA, whose builtins do.
func TestLoaderDependencies(t *testing.T) {
	if asnobody.Second() {
		return // the other uid has no build cache, and the answer would be the same
	}
	const module = "github.com/llorch/secrets-management/"
	out, err := exec.Command("go", "list", "-deps", module+"loader").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	found := false
	for _, dep := range deps {
		if dep == "net/http" || strings.HasPrefix(dep, "github.com/open-policy-agent/") {
			t.Errorf("loader depends on %s", dep)
		}
		found = found || dep == module+"policy"
	}
	if !found {
		t.Errorf("%d dependencies, and policy is not among them", len(deps))
	}
}
