package facts

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/llorch/secrets-management/internal/asnobody"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(probing); what != "" {
		os.Exit(probeMain(what))
	}
	os.Exit(asnobody.Main(m))
}

// tree makes files, directories (name/) and links (name -> target) below a fresh folder.
func tree(t *testing.T, items ...string) string {
	t.Helper()
	return treeIn(t, t.TempDir(), items...)
}

func treeIn(t *testing.T, base string, items ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp(base, "tree")
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range items {
		name, target, link := strings.Cut(item, " -> ")
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		switch {
		case link:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.Mkdir(path, 0o700)
		default:
			err = os.WriteFile(path, []byte(name), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func walkIn(t *testing.T, dir, name string) (*Target, error) {
	t.Helper()
	r, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	target, err := r.Walk(name, int64(os.Geteuid()))
	if err == nil {
		t.Cleanup(func() { target.Close() })
	}
	return target, err
}

func TestWalk(t *testing.T) { // SM-SEC-5005
	dir := tree(t, "a/b/file", "a/up -> ../a/b", "abs -> /a/b", "a/b/sibling -> ../../a/./b//file", "escape -> ../../../../../a",
		"chain1 -> chain2", "chain2 -> a/up", "a/root -> /")
	tests := []struct {
		name, resolved string
		links          []string
		final          bool
	}{
		{"/a/b/file", "/a/b/file", nil, false},
		{"/a/up/file", "/a/b/file", []string{"/a/up"}, false},
		{"/abs/file", "/a/b/file", []string{"/abs"}, false},
		{"/a/b/sibling", "/a/b/file", []string{"/a/b/sibling"}, true},
		{"/escape/b/file", "/a/b/file", []string{"/escape"}, false}, // ".." stops at the root
		{"/chain1/file", "/a/b/file", []string{"/chain1", "/chain2", "/a/up"}, false},
		{"/a/root/a/root/a/b/file", "/a/b/file", []string{"/a/root", "/a/root"}, false},
		{"/chain1", "/a/b", []string{"/chain1", "/chain2", "/a/up"}, true},
		{"/a/root", "/", []string{"/a/root"}, true},
		{"/", "/", nil, false},
	}
	for _, tt := range tests {
		target, err := walkIn(t, dir, tt.name)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if target.Resolved != tt.resolved || !slices.Equal(target.Links, tt.links) || target.File.FinalSymlink != tt.final ||
			target.File.Symlinks != len(tt.links) {
			t.Errorf("%s: %s through %q, final link %v", tt.name, target.Resolved, target.Links, target.File.FinalSymlink)
		}
		if want := strings.Count(strings.TrimSuffix(tt.resolved, "/"), "/"); len(target.Above) != want {
			t.Errorf("%s: above %q", tt.name, target.Above)
		}
	}
}

func TestWalkRefuses(t *testing.T) {
	items := []string{"file", "loop -> loop", "l0 -> file", "gone -> nowhere", "gonedir -> nowhere", "bytes -> \xff", "\xff"}
	for i := 1; i <= maxLinks; i++ {
		items = append(items, "l"+strconv.Itoa(i)+" -> l"+strconv.Itoa(i-1))
	}
	dir := tree(t, items...)
	tests := map[string]error{
		"/loop": ErrLoop, "/l40": ErrLoop, "/gone": ErrDangling, "/gonedir/x": fs.ErrNotExist, "/none": fs.ErrNotExist, "/file/x": ErrNotDir,
		"relative": ErrPath, "/a/../b": ErrPath, "/a//b": ErrPath, "/a/": ErrPath, "": ErrPath, "/a\x00": ErrPath, "/bytes": ErrPath,
		"/" + strings.Repeat("x", 256): unix.ENAMETOOLONG, "/" + strings.Repeat("x/", 2100) + "y": ErrPath,
	}
	for name, want := range tests {
		if _, err := walkIn(t, dir, name); !errors.Is(err, want) {
			t.Errorf("%.40q: %v, want %v", name, err, want)
		}
	}
	if _, err := walkIn(t, dir, "/l39"); err != nil { // the control: 40 links are allowed
		t.Error(err)
	}
}

func TestWriters(t *testing.T) {
	me := int64(os.Geteuid())
	gid := int64(os.Getegid())
	tests := []struct {
		name       string
		mode, file os.FileMode
		everyone   bool
		group      bool
	}{
		{"closed", 0o755, 0o600, false, false},
		{"directory for all", 0o777, 0o600, true, true},
		{"directory for a group", 0o770, 0o600, false, true},
		{"sticky for all", 0o777 | os.ModeSticky, 0o600, false, false},
		{"file for all", 0o700, 0o602, true, false},
		{"file for a group", 0o700, 0o620, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := tree(t, "d/file")
			if err := errors.Join(os.Chmod(dir+"/d", tt.mode), os.Chmod(dir+"/d/file", tt.file)); err != nil {
				t.Fatal(err)
			}
			target, err := walkIn(t, "/", dir+"/d/file")
			if err != nil {
				t.Fatal(err)
			}
			w := target.File.Writers
			if w.Everyone != tt.everyone || slices.Contains(w.GIDs, gid) != tt.group || !slices.Contains(w.UIDs, me) {
				t.Errorf("%+v", w)
			}
		})
	}
}

// TestBarred: CHK-1029. Only what is sure counts: groups and unknown users get the benefit of the doubt.
func TestBarred(t *testing.T) {
	me := int64(os.Geteuid())
	const other = 54321
	tests := []struct {
		name      string
		dir, file os.FileMode
		self      int64
		barred    string
	}{
		{"a file of another", 0o711, 0o600, other, "/d/file"},
		{"a directory of another", 0o700, 0o644, other, "/d"},
		{"the first of two", 0o700, 0o600, other, "/d"},
		{"execute alone does not read", 0o711, 0o711, other, "/d/file"},
		{"open to all", 0o711, 0o604, other, ""},
		{"open to a group", 0o710, 0o640, other, ""},
		{"unknown user", 0o700, 0o600, -1, ""},
		{"root", 0o700, 0o600, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := tree(t, "d/file")
			if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(dir+"/d/file", tt.file), os.Chmod(dir+"/d", tt.dir)); err != nil {
				t.Fatal(err)
			}
			root, err := OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			target, err := root.Walk("/d/file", tt.self)
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			if target.Barred != tt.barred {
				t.Errorf("barred at %q, want %q", target.Barred, tt.barred)
			}
		})
	}
	for mode, barred := range map[uint32]bool{0o077: true, 0o400: false} { // the owner's own bits are what counts for it
		if (entry{uid: me, mode: mode}).bars(me, read) != (barred && me != 0) {
			t.Errorf("mode %04o", mode)
		}
	}
}

// TestForeignEntriesInStickyDirectories: in a directory such as /tmp whoever owns an entry can replace it, and whoever
// owns a link chose where it leads.
func TestForeignEntriesInStickyDirectories(t *testing.T) {
	if !asnobody.Root(t) {
		return
	}
	dir := tree(t, "d/e/file", "d/link -> e", "d/own -> e")
	if err := errors.Join(os.Chmod(dir+"/d", 0o777|os.ModeSticky), os.Chmod(dir+"/d/e", 0o755),
		os.Lchown(dir+"/d/link", 12345, 12345)); err != nil {
		t.Fatal(err)
	}
	for link, foreign := range map[string]bool{"/d/link/file": true, "/d/own/file": false} {
		target, err := walkIn(t, dir, link)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(target.File.Writers.UIDs, 12345); got != foreign {
			t.Errorf("%s: %+v", link, target.File.Writers)
		}
	}
	if err := os.Chown(dir+"/d/e", 12345, 12345); err != nil {
		t.Fatal(err)
	}
	target, err := walkIn(t, dir, "/d/own/file")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(target.File.Writers.UIDs, 12345) {
		t.Errorf("%+v", target.File.Writers)
	}
}

func TestRootOwnerIsRoot(t *testing.T) {
	dir := tree(t, "file")
	target, err := walkIn(t, dir, "/file")
	if err != nil {
		t.Fatal(err)
	}
	if f := target.File; f.UID != 0 || !f.OwnerIsRoot {
		t.Errorf("%+v", f)
	}
	target, err = walkIn(t, "/", dir+"/file")
	if err != nil {
		t.Fatal(err)
	}
	if f := target.File; f.UID != int64(os.Geteuid()) || !f.OwnerIsMe {
		t.Errorf("%+v", f)
	}
}

func TestOpenNoticesChanges(t *testing.T) { // SEC-SECRET-024
	changes := map[string]func(path string) error{
		"none":      func(string) error { return nil },
		"mode":      func(p string) error { return os.Chmod(p, 0o640) },
		"size":      func(p string) error { return os.Truncate(p, 1) },
		"hard link": func(p string) error { return os.Link(p, p+"2") },
		"unlinked":  os.Remove,
		"replaced":  func(p string) error { return errors.Join(os.WriteFile(p+"2", nil, 0o600), os.Rename(p+"2", p)) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, "file")
			target, err := walkIn(t, "/", dir+"/file")
			if err != nil {
				t.Fatal(err)
			}
			if err := change(dir + "/file"); err != nil {
				t.Fatal(err)
			}
			f, err := target.Open()
			if (name == "none") != (err == nil) {
				t.Errorf("error %v", err)
			}
			if err == nil {
				f.Close()
			} else if !errors.Is(err, ErrChanged) {
				t.Errorf("error %v, want ErrChanged", err)
			}
		})
	}
}

func TestReadFile(t *testing.T) {
	dir := tree(t, "etc/passwd", "etc/d/")
	r, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := r.ReadFile("/etc/passwd", 100); err != nil || string(b) != "etc/passwd" {
		t.Errorf("%q %v", b, err)
	}
	const hole = 1 << 20
	sparse, err := os.Create(dir + "/sparse")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sparse.WriteAt([]byte("x"), hole); err != nil {
		t.Fatal(err)
	}
	if b, err := r.ReadFile("/sparse", hole+1); err != nil || len(b) != hole+1 {
		t.Errorf("%d bytes %v", len(b), err)
	}
	sparse.Close()
	for _, name := range []string{"/etc/d", "/none"} {
		if _, err := r.ReadFile(name, 100); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if _, err := r.ReadFile("/etc/passwd", 3); err == nil {
		t.Error("a file over the limit was read")
	}
}

// TestNothingLeavesTheRoot: whatever links say, the walk ends inside the root or fails.
func TestNothingLeavesTheRoot(t *testing.T) {
	part := rapid.SampledFrom([]string{"..", ".", "a", "b", "/", "/a", "../..", "a/../..", "//"})
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "r")
		if err != nil {
			rt.Fatal(err)
		}
		_ = os.MkdirAll(dir+"/a/b", 0o700)
		for _, l := range []string{"/l", "/a/l", "/a/b/l"} {
			parts := rapid.SliceOfN(part, 1, 4).Draw(rt, l)
			_ = os.Symlink(strings.Join(parts, "/"), dir+l)
		}
		r, err := OpenRoot(dir)
		if err != nil {
			rt.Fatal(err)
		}
		defer r.Close()
		for _, name := range []string{"/l", "/a/l", "/a/b/l", "/l/l/l", "/a/l/b"} {
			target, err := r.Walk(name, 0)
			if err != nil {
				continue
			}
			where, err := fdPath(target.fd)
			if err != nil || (where != r.path && !strings.HasPrefix(where, r.path+"/")) {
				rt.Errorf("%s leads to %s: %v", name, where, err)
			}
			target.Close()
		}
	})
}

// rawACL is the stored form of an ACL.
func rawACL(entries ...aclEntry) []byte {
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

func TestACL(t *testing.T) { // SM-SEC-5004
	const none = ^uint32(0)
	gid := int64(os.Getegid())
	tests := map[string]struct {
		acl    []aclEntry
		uids   []int64 // readers besides the owner
		gids   []int64
		writer bool // 700 can write
	}{
		"a named user": {
			[]aclEntry{{1, 6, none}, {aclUser, 4, 700}, {aclGroupObj, 0, none}, {aclMask, 4, none}, {0x20, 0, none}},
			[]int64{700},
			nil, false,
		},
		"a named user, masked": {
			[]aclEntry{{1, 6, none}, {aclUser, 6, 700}, {aclGroupObj, 4, none}, {aclMask, 2, none}, {0x20, 0, none}}, nil, nil, true,
		},
		"groups": {
			[]aclEntry{{1, 6, none}, {aclGroupObj, 4, none}, {aclGroup, 5, 800}, {aclGroup, 1, 801}, {aclMask, 7, none}, {0x20, 0, none}},
			nil,
			[]int64{gid, 800},
			false,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, "file")
			if err := unix.Setxattr(dir+"/file", "system.posix_acl_access", rawACL(tt.acl...), 0); err != nil {
				t.Fatal(err)
			}
			target, err := walkIn(t, "/", dir+"/file")
			if err != nil {
				t.Fatal(err)
			}
			f := target.File
			if !f.ACL || f.Readers.Everyone || !slices.Equal(f.Readers.UIDs[1:], append([]int64{}, tt.uids...)) ||
				!slices.Equal(f.Readers.GIDs, tt.gids) || slices.Contains(f.Writers.UIDs, 700) != tt.writer {
				t.Errorf("readers %+v, writers %+v", f.Readers, f.Writers)
			}
		})
	}
	for _, raw := range [][]byte{nil, {2, 0, 0}, {3, 0, 0, 0}, append(rawACL(aclEntry{}), 0)} {
		if _, err := parseACL(raw); !errors.Is(err, errACL) {
			t.Errorf("%x: %v", raw, err)
		}
	}
}

// TestACLMask: SM-SEC-5004. The mask counts by itself, not only as the group bits of a mode that was asked for before.
func TestACLMask(t *testing.T) {
	for mask, admitted := range map[uint16]int{4: 3, 2: 0} {
		var p principals
		p.addACL([]aclEntry{{aclUser, 6, 700}, {aclGroupObj, 6, 0}, {aclGroup, 6, 800}, {aclMask, mask, 0}}, 900, 4)
		if got := len(p.UIDs) + len(p.GIDs); got != admitted {
			t.Errorf("mask %o: %+v", mask, p.Principals)
		}
	}
}

// TestACLThatCannotBeRead: SM-SEC-5004. Not to know an ACL is not to have none.
func TestACLThatCannotBeRead(t *testing.T) {
	f, err := os.Open(tree(t, "file") + "/file")
	if err != nil {
		t.Fatal(err)
	}
	fd := int(f.Fd())
	if acl, err := readACL(fd); err != nil || acl != nil { // the control
		t.Errorf("%v %v", acl, err)
	}
	f.Close()
	if acl, err := readACL(fd); err == nil {
		t.Errorf("an ACL without a file: %v", acl)
	}
}

// TestACLOfADirectory: who may write to a directory by its ACL can replace what is in it.
func TestACLOfADirectory(t *testing.T) {
	const none = ^uint32(0)
	dir := tree(t, "d/file")
	acl := rawACL(aclEntry{1, 7, none}, aclEntry{aclUser, 7, 700}, aclEntry{aclGroupObj, 0, none}, aclEntry{aclMask, 7, none}, aclEntry{0x20, 0, none})
	if err := unix.Setxattr(dir+"/d", "system.posix_acl_access", acl, 0); err != nil {
		t.Fatal(err)
	}
	target, err := walkIn(t, "/", dir+"/d/file")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(target.File.Writers.UIDs, 700) {
		t.Errorf("%+v", target.File.Writers)
	}
}
