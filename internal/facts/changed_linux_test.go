package facts

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
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
	dir := tree(t, "file"+removed)
	w := walkTo(t, dir+"/file"+removed)
	if err := errors.Join(os.Rename(dir+"/file"+removed, dir+"/file"), os.Remove(dir+"/file")); err != nil {
		t.Fatal(err)
	}
	where, err := fdPath(w.top().fd)
	if err != nil || where != dir+"/file"+removed { // the control
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
	set := func(path string, uid uint32) error {
		return unix.Setxattr(path, "system.posix_acl_access", acl(uid), 0)
	}
	changes := map[string]func(path string) error{
		"mode": func(p string) error { return os.Chmod(p, 0o600) },
		"size": func(p string) error { return os.Truncate(p, 1) },
		"link": func(p string) error { return os.Link(p, p+"2") },
		"ACL":  func(p string) error { return set(p, 701) },
		"no ACL": func(p string) error {
			return errors.Join(unix.Removexattr(p, "system.posix_acl_access"), os.Chmod(p, 0o640))
		},
		"replaced": func(p string) error { c := filepath.Dir(p) + "/copy"; return errors.Join(set(c, 700), os.Rename(c, p)) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, "file", "copy")
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
			if err := target.Unchanged(&File{int(f.Fd())}); !errors.Is(err, ErrChanged) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestEveryFactIsCompared: SM-LOAD-4009. Each fact that tells two files or two states apart is enough to: all others are as
// they were described.
func TestEveryFactIsCompared(t *testing.T) {
	facts := map[string]func(*unix.Statx_t){
		"nothing":    func(*unix.Statx_t) {}, // the control
		"major":      func(s *unix.Statx_t) { s.Dev_major++ },
		"minor":      func(s *unix.Statx_t) { s.Dev_minor++ },
		"inode":      func(s *unix.Statx_t) { s.Ino++ },
		"mode":       func(s *unix.Statx_t) { s.Mode ^= 0o200 },
		"owner":      func(s *unix.Statx_t) { s.Uid++ },
		"group":      func(s *unix.Statx_t) { s.Gid++ },
		"links":      func(s *unix.Statx_t) { s.Nlink++ },
		"size":       func(s *unix.Statx_t) { s.Size++ },
		"written":    func(s *unix.Statx_t) { s.Mtime.Nsec ^= 1 },
		"changed":    func(s *unix.Statx_t) { s.Ctime.Nsec ^= 1 },
		"attributes": func(s *unix.Statx_t) { s.Attributes ^= unix.STATX_ATTR_IMMUTABLE },
	}
	for name, change := range facts {
		t.Run(name, func(t *testing.T) {
			target, err := walkIn(t, "/", tree(t, "file")+"/file")
			if err != nil {
				t.Fatal(err)
			}
			change(&target.stat)
			f, err := target.Open()
			if err == nil {
				f.Close()
			}
			if name == "nothing" && err != nil || name != "nothing" && !errors.Is(err, ErrChanged) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestRemovedAfterTheWalk: SM-LOAD-4009. The kernel lowers the link count before it forgets the name. A file that was
// described in between has one link, and no change after: only its name tells that it is no longer there.
func TestRemovedAfterTheWalk(t *testing.T) {
	changes := map[string]struct {
		change func(dir string) error
		want   error
	}{
		"its name is removed":    {func(d string) error { return os.Remove(d + "/d/file") }, ErrChanged},
		"its name is taken":      {func(d string) error { return os.Rename(d+"/other", d+"/d/file") }, ErrChanged},
		"the other name goes":    {func(d string) error { return os.Remove(d + "/second") }, nil},
		"a directory is renamed": {func(d string) error { return errors.Join(os.Remove(d+"/second"), os.Rename(d+"/d", d+"/e")) }, nil},
	}
	for name, tt := range changes {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, "d/file", "other")
			if err := os.Link(dir+"/d/file", dir+"/second"); err != nil {
				t.Fatal(err)
			}
			target, err := walkIn(t, "/", dir+"/d/file")
			if err != nil {
				t.Fatal(err)
			}
			f, err := target.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := tt.change(dir); err != nil {
				t.Fatal(err)
			}
			if err := statx(f.fd, &target.stat); err != nil { // as if that had been seen half done
				t.Fatal(err)
			}
			if err := target.Unchanged(f); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// TestOpenWaitsForAWrite: SM-LOAD-4009. The kernel sets the time stamps before it copies what is written, so facts that
// are taken in the middle of a write belong to its end, and nothing else tells that it goes on.
func TestOpenWaitsForAWrite(t *testing.T) {
	dir, ok := places(t)["tmpfs"]
	if !ok {
		return // said by places
	}
	const size = 64 << 20
	path := filepath.Join(dir, "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := func(offset int64) byte {
		var b [1]byte
		if _, err := f.ReadAt(b[:], offset); err != nil {
			t.Fatal(err)
		}
		return b[0]
	}
	contents := [2][]byte{bytes.Repeat([]byte("a"), size), bytes.Repeat([]byte("b"), size)}
	if _, err := f.WriteAt(contents[1], 0); err != nil {
		t.Fatal(err)
	}
	inTime := 0
	for round := 0; round < 100 && inTime < 5; round++ {
		content, before := contents[round%2], contents[1-round%2][0]
		written := make(chan error)
		go func() {
			_, err := f.WriteAt(content, 0)
			written <- err
		}()
		for at(0) == before {
			runtime.Gosched()
		}
		target, err := walkIn(t, "/", path)
		if err != nil {
			t.Fatal(err)
		}
		going := at(size-1) == before
		opened, err := target.Open()
		if err != nil {
			t.Fatal(err)
		}
		if going && at(size-1) == before {
			t.Error("opened in the middle of a write")
		}
		if going {
			inTime++
		}
		if err := errors.Join(<-written, opened.Close(), target.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if inTime == 0 {
		t.Error("no write was caught at work")
	}
}
