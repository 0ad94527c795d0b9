// Package docs_test runs every command that the pages of this folder show.
package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/llorch/secrets-management/internal/doctest"
)

// prose lists the pages without a command.
func prose() []string { return []string{"audit.md"} }

// TestCHK1150Pages: CHK-1150. Each page is run in a folder of its own, with a copy of examples in it and secretcheck, as it is
// built here, among the programs.
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

// build makes secretcheck from the sources.
func build(t *testing.T) (bin string) {
	t.Helper()
	bin = t.TempDir()
	name := filepath.Join(bin, "secretcheck")
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", name, "../cmd/secretcheck").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}
