package facts

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMovedWhileWalking: SM-LOAD-4009. Where the kernel says that the file lies must be where the walk came to.
func TestMovedWhileWalking(t *testing.T) {
	moves := map[string]func(dir string) error{
		"nothing":                  func(string) error { return nil },
		"the file":                 func(d string) error { return os.Rename(d+"/a/b/file", d+"/a/b/other") },
		"a directory":              func(d string) error { return os.Rename(d+"/a", d+"/c") },
		"the file is removed":      func(d string) error { return os.Remove(d + "/a/b/file") },
		"the file is replaced":     func(d string) error { return os.Rename(d+"/other", d+"/a/b/file") },
		"a directory is exchanged": func(d string) error { return unix.Renameat2(-1, d+"/a", -1, d+"/e", unix.RENAME_EXCHANGE) },
	}
	for name, move := range moves {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, "a/b/file", "e/b/file", "other")
			w := walkTo(t, dir+"/a/b/file")
			if err := move(dir); err != nil {
				t.Fatal(err)
			}
			target, err := w.target()
			if (name == "nothing") != (err == nil) || err != nil && !errors.Is(err, ErrChanged) {
				t.Errorf("error %v", err)
			}
			if err == nil {
				target.Close()
			}
		})
	}
}

// walkTo takes all steps of a walk but the last look.
func walkTo(t *testing.T, path string) *walk {
	t.Helper()
	r, err := OpenRoot("/")
	if err != nil {
		t.Fatal(err)
	}
	w := &walk{root: r, self: -1}
	t.Cleanup(func() { w.close(); r.Close() })
	if err := w.run(path); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestRemovedFileWithItsOldName: SM-LOAD-4009. The kernel appends " (deleted)" to the name of a file that is gone, so one
// that was called so before, renamed and removed, seems to be where it was. Only its link count tells.
func TestRemovedFileWithItsOldName(t *testing.T) {
	const suffix = " (deleted)"
	dir := tree(t, "file"+suffix)
	w := walkTo(t, dir+"/file"+suffix)
	if err := errors.Join(os.Rename(dir+"/file"+suffix, dir+"/file"), os.Remove(dir+"/file")); err != nil {
		t.Fatal(err)
	}
	where, err := fdPath(w.top().fd)
	if err != nil || where != dir+"/file"+suffix { // the control
		t.Fatalf("%s %v", where, err)
	}
	if err := w.root.look(w.top()); err != nil { // as if it had gone just before
		t.Fatal(err)
	}
	if target, err := w.target(); !errors.Is(err, ErrChanged) {
		t.Errorf("%v %v", target, err)
	}
}

// TestChangesInOneTick: SM-LOAD-4009. What a coarse clock hides, and what can be seen all the same.
func TestChangesInOneTick(t *testing.T) {
	const none = ^uint32(0)
	acl := func(uid uint32) []byte {
		return rawACL(aclEntry{1, 6, none}, aclEntry{aclUser, 4, uid}, aclEntry{aclGroupObj, 0, none}, aclEntry{aclMask, 4, none}, aclEntry{0x20, 0, none})
	}
	set := func(path string, uid uint32) error { return unix.Setxattr(path, "system.posix_acl_access", acl(uid), 0) }
	changes := map[string]func(path string) error{
		"mode":     func(p string) error { return os.Chmod(p, 0o600) },
		"size":     func(p string) error { return os.Truncate(p, 1) },
		"link":     func(p string) error { return os.Link(p, p+"2") },
		"ACL":      func(p string) error { return set(p, 701) },
		"no ACL":   func(p string) error { return errors.Join(unix.Removexattr(p, "system.posix_acl_access"), os.Chmod(p, 0o640)) },
		"replaced": func(p string) error { return os.Rename(p+"3", p) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, "file", "file3")
			path := dir + "/file"
			if err := set(path, 700); err != nil {
				t.Fatal(err)
			}
			target, err := walkIn(t, "/", path)
			if err != nil {
				t.Fatal(err)
			}
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var now unix.Statx_t
			if err := statx(int(f.Fd()), &now); err != nil {
				t.Fatal(err)
			}
			target.stat.Mtime, target.stat.Ctime = now.Mtime, now.Ctime // one tick
			if err := target.Unchanged(f); !errors.Is(err, ErrChanged) {
				t.Errorf("error %v", err)
			}
		})
	}
}
