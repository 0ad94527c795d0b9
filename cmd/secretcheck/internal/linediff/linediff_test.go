package linediff

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// CHK-1215: patch(1) is the referee, where there is one: it makes the one text of the other.
func TestPatchTakesIt(t *testing.T) {
	patch, err := exec.LookPath("patch")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("patch is missing: apt-get install patch")
		}
		t.Log("not run: diffs against patch(1): apt-get install patch")
		return
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		before := text(r)
		after := text(r)
		if r.IntN(2) == 0 {
			after = before + after
		}
		diff := Unified("f", []byte(before), []byte(after))
		if (diff == "") != (before == after) {
			t.Fatalf("%q and %q: %q", before, after, diff)
		}
		if diff == "" {
			continue
		}
		name := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(name, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(patch, "--quiet", "--no-backup-if-mismatch", "--fuzz=0", name)
		cmd.Stdin = strings.NewReader(diff)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s\nfrom %q to %q:\n%s", out, before, after, diff)
		}
		got, _ := os.ReadFile(name) // patch removes what has become empty
		if string(got) != after {
			t.Fatalf("%q, want %q; %s", got, after, diff)
		}
	}
}

// text has lines that come again, and perhaps no end to its last one.
func text(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(30) {
		b.WriteString(string(rune('a'+r.IntN(4))) + "\n")
	}
	if r.IntN(4) == 0 {
		b.WriteString("z")
	}
	return b.String()
}

func TestFarApartIsTwoHunks(t *testing.T) {
	before := strings.Repeat("x\n", 20)
	after := "1\n" + before + "2\n"
	want := "--- f\n+++ f\n@@ -1,3 +1,4 @@\n+1\n x\n x\n x\n@@ -18,3 +19,4 @@\n x\n x\n x\n+2\n"
	if got := Unified("f", []byte(before), []byte(after)); got != want {
		t.Errorf("CHK-1215: got\n%swant\n%s", got, want)
	}
}
