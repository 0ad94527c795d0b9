package secret

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestVetFlagsCopies: SM-TYPE-3001 and SM-TYPE-3002 (cannot be copied): go vet flags each copy of a Secret or Key in
// testdata/copies, and nothing else there.
func TestVetFlagsCopies(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("go vet cannot run: no go command")
		}
		t.Log("not run: go vet: install Go, and put its bin directory on the PATH")
		return
	}
	source, err := os.ReadFile("testdata/copies/copies.go")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(goTool, "vet", "./testdata/copies").CombinedOutput()
	if err == nil {
		t.Error("go vet finds nothing")
	}
	flagged := 0
	for i, line := range bytes.Split(source, []byte("\n")) {
		want := bytes.HasSuffix(line, []byte("// flagged"))
		got := strings.Contains(string(out), fmt.Sprintf("copies.go:%d:", i+1))
		if got != want {
			t.Errorf("SM-TYPE-3001: line %d: flagged %v, want %v", i+1, got, want)
		}
		if got {
			flagged++
		}
	}
	if n := bytes.Count(out, []byte("secret.noCopy")); flagged != 4 || n < 4 {
		t.Errorf("%d lines flagged for %d copies, want 4:\n%s", flagged, n, out)
	}
}
