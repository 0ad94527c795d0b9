package facts

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDirect: SM-LOAD-4006. The shorter way is taken where nothing is in question, says what the careful one says, and
// leaves everything else to it.
func TestDirect(t *testing.T) {
	dir := tree(t, "a/b/file", "link -> a/b/file", "up -> a", "g/file", "deep/2/3/4/5/6/7/8/9/file")
	if err := errors.Join(os.Chmod(dir+"/g", 0o770), unix.Mkfifo(dir+"/fifo", 0o600)); err != nil {
		t.Fatal(err)
	}
	root, err := OpenRoot("/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, taken := range map[string]bool{
		"/a/b/file": true, "/a/b": true, "/fifo": true,
		"/link": false, "/up/b/file": false, "/g/file": false, "/deep/2/3/4/5/6/7/8/9/file": false, "/none": false, "/a/b/file/x": false, "//a": false,
	} {
		careful, carefulErr := root.Walk(dir+name, 0)
		short, ok := direct(dir+name, 0)
		if ok != (taken && carefulErr == nil) {
			t.Errorf("%s: taken: %v", name, ok)
		}
		if !ok {
			continue
		}
		if !reflect.DeepEqual(facts(short), facts(careful)) {
			t.Errorf("%s:\n%+v, careful:\n%+v", name, facts(short), facts(careful))
		}
		if err := errors.Join(short.Close(), careful.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// facts are what a target says, without the descriptor that it holds.
func facts(t *Target) Target {
	copied := *t
	copied.fd = 0
	copied.stat.Atime = unix.StatxTimestamp{}
	return copied
}

// TestMovedWhileClimbing: SM-LOAD-4009. The file has to be where the kernel was sent, by its directory as well.
func TestMovedWhileClimbing(t *testing.T) {
	for name, move := range map[string]func(dir string) error{
		"nothing":                  func(string) error { return nil },
		"the directory":            func(d string) error { return os.Rename(d+"/a/b", d+"/c") },
		"a directory above it":     func(d string) error { return os.Rename(d+"/a", d+"/c") },
		"a directory is exchanged": func(d string) error { return unix.Renameat2(-1, d+"/a", -1, d+"/e", unix.RENAME_EXCHANGE) },
		"the directory is removed": func(d string) error { return os.RemoveAll(d + "/a/b") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, "a/b/file", "e/b/file")
			parent, err := unix.Open(filepath.Join(dir, "a/b"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(parent)
			if err := move(dir); err != nil {
				t.Fatal(err)
			}
			target, ok := in(parent, dir+"/a/b/", "file", 0)
			if ok != (name == "nothing") {
				t.Errorf("found: %v", ok)
			}
			if ok {
				target.Close()
			}
		})
	}
}
