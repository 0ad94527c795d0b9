//go:build linux

package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Evidence for CHK-1020.
func TestCHK1020Accounts(t *testing.T) {
	dir := t.TempDir()
	h, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, _, err := h.UID("queen"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a root without accounts: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	const passwd = "root:x:0:0::/:/bin/sh\nqueen:x:990:990::/:/bin/sh\nqueen:x:1:1::/:/bin/sh\nshort:x:5\nbad:x:-1:0::/:\n# eve:x:2:2::/:\n"
	if err := os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte(passwd), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err = Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for user, want := range map[string]int64{"root": 0, "queen": 990, "short": -1, "bad": -1, "eve": -1} {
		uid, ok, err := h.UID(user)
		if err != nil || ok != (want >= 0) || ok && uid != want {
			t.Errorf("%s: %d %v %v", user, uid, ok, err)
		}
	}
}

// Evidence for CHK-1006.
func TestCHK1006SeesOnlyTheRoot(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	h, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if s, err := h.See("/link", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%+v %v", s, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := h.See("/f", 0); err != nil || s.Resolved != "/f" || s.File.Mode != 0o600 || !s.File.OwnerIsRoot {
		t.Errorf("%+v %v", s, err)
	}
}
