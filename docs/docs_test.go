// Package docs_test runs every command that the pages of this folder show.
package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/llorch/secrets-management/internal/doctest"
)

// prose lists the pages without a command.
func prose() []string { return []string{"audit.md"} }

// TestCHK1150Pages: CHK-1150, EXP-CROSS-7004, SVC-7018. Each page is run in a folder of its own, with a copy of examples in it, and
// secretcheck and queen-rbee, as they are built here, among the programs.
func TestCHK1150Pages(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil || !slices.Contains(pages, "secretcheck.md") {
		t.Fatalf("%v %v", pages, err)
	}
	bin := build(t)
	for _, page := range pages {
		t.Run(page, func(t *testing.T) {
			if slices.Contains(prose(), page) {
				doctest.Prose(t, page)
				return
			}
			dir := t.TempDir()
			if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS("../examples")); err != nil {
				t.Fatal(err)
			}
			doctest.Run(t, page, doctest.Session{Dir: dir, Bin: []string{bin}})
		})
	}
}

// build makes the programs of the pages from the sources.
func build(t *testing.T) (bin string) {
	t.Helper()
	bin = t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", bin+string(filepath.Separator),
		"../cmd/secretcheck", "../examples/queen-rbee").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}
