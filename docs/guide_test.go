package docs_test

import (
	"os"
	"regexp"
	"testing"
)

// CHK-1217: the tutorial, every command of which the test of the pages runs, goes the whole way.
func TestGuideGoesTheWholeWay(t *testing.T) {
	page, err := os.ReadFile("policy-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"init", "fmt", "check", "test", "build", "inspect", "bench", "keygen", "sign", "verify", "can"} {
		if !regexp.MustCompile(`(?m)^\$ secretcheck policy ` + command + ` `).Match(page) {
			t.Errorf("policy %s is not shown", command)
		}
	}
}
