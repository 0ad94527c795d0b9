//go:build linux

package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/envfile"
)

// Environment files are read inside the root, wherever links lead, and no more than a bounded part.
// Evidence for CHK-1006, CHK-1075.
func TestCHK1075Host(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside.env")
	root := filepath.Join(dir, "root")
	write := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	write(outside, "OUTSIDE_TOKEN=fake\n")
	write(filepath.Join(root, "etc/a.env"), "A_TOKEN=fake\n")
	write(filepath.Join(root, "etc/b.env"), "B=\xff")
	write(filepath.Join(root, "etc/.hidden.env"), "HIDDEN_TOKEN=fake\n")
	write(filepath.Join(root, "etc/large.env"), strings.Repeat("A=xxxxxxxxxxxxxx\n", 1<<16+1))
	link("/etc/a.env", "absolute.env")
	link("../../../../"+outside, "climbing.env")
	link(outside, "leading-out.env")
	h, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, name := range []string{"/etc/a.env", "/absolute.env"} {
		if list, err := h.Variables(name); err != nil || len(list) != 1 || list[0].Name != "A_TOKEN" {
			t.Errorf("%s: %v %v", name, list, err)
		}
	}
	for name, want := range map[string]error{
		"/climbing.env": fs.ErrNotExist, "/leading-out.env": fs.ErrNotExist, "/nothing": fs.ErrNotExist, "/etc/b.env": envfile.ErrUnreadable,
	} {
		if list, err := h.Variables(name); !errors.Is(err, want) || len(list) != 0 {
			t.Errorf("%s: %v %v", name, list, err)
		}
	}
	for _, name := range []string{"/etc/large.env", "/etc"} {
		if list, err := h.Variables(name); err == nil || len(list) != 0 {
			t.Errorf("%s: %v %v", name, list, err)
		}
	}
	for pattern, want := range map[string][]string{
		"/etc/*.env": {"/etc/a.env", "/etc/b.env", "/etc/large.env"}, "/etc/.*.env": {"/etc/.hidden.env"}, "/etc/[!b]*.env": {"/etc/a.env", "/etc/large.env"},
		"/../../*.env": {"/absolute.env", "/climbing.env", "/leading-out.env"}, "/none/*": nil,
	} {
		if got, err := h.Match(pattern); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v %v", pattern, got, err)
		}
	}
	for _, pattern := range []string{"/etc/[a", "/e?c/a.env", "/*/*"} {
		if files, err := h.Match(pattern); err == nil {
			t.Errorf("%s is followed: %v", pattern, files)
		}
	}
}
