package facts

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/internal/asnobody"
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

// TestMountedWhileClimbing: SM-LOAD-4006. What is mounted over a directory on the way hides who may write to it: ".." leads
// to the mount. Neither that nor a mount that was there before is the short way's business.
func TestMountedWhileClimbing(t *testing.T) {
	if !asnobody.Root(t) {
		return
	}
	dir := tree(t, "a/m/file", "other/file")
	done := make(chan struct{})
	go func() { // the thread goes with its mounts
		defer close(done)
		runtime.LockOSThread()
		if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_FS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
			t.Error(err)
			return
		}
		parent, err := unix.Open(dir+"/a/m", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(parent)
		if target, ok := in(parent, dir+"/a/m/", "file", 0); !ok { // the control
			t.Error("not found before")
		} else {
			target.Close()
		}
		if err := unix.Mount("tmpfs", dir+"/a", "tmpfs", 0, "mode=755"); err != nil {
			t.Error(err)
			return
		}
		if target, ok := in(parent, dir+"/a/m/", "file", 0); ok {
			t.Errorf("found under a mount, with writers %+v", target.File.Writers)
			target.Close()
		}
		if err := errors.Join(unix.Mount(dir+"/other", dir+"/other", "", unix.MS_BIND, "")); err != nil {
			t.Error(err)
			return
		}
		if target, ok := direct(dir+"/other/file", 0); ok {
			t.Error("a mount was crossed")
			target.Close()
		}
	}()
	<-done
}
