package facts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/policy"
)

// Users and groups that own and are named below. The stranger has nothing to do with any of them.
const (
	ownerID, entryOwnerID, namedID = 20001, 20002, 20003
	groupA, groupB, groupC         = 30001, 30002, 30003
	elsewhere                      = 30009
)

func users(t *testing.T) (all []*user, stranger *user) {
	t.Helper()
	stranger = &user{uid: 20005, groups: []int64{elsewhere}}
	all = []*user{
		{uid: ownerID, groups: []int64{elsewhere}},
		{uid: entryOwnerID, groups: []int64{elsewhere, groupA}},
		{uid: namedID, groups: []int64{groupB}},
		{uid: 20004, groups: []int64{groupC, groupA}},
		stranger,
	}
	for _, u := range all {
		u.start(t)
	}
	return all, stranger
}

// places are folders on the file systems that there are: the usual one, and memory.
func places(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, base := range []string{os.TempDir(), "/dev/shm"} { // a folder of t is closed to others
		dir, err := os.MkdirTemp(base, "facts")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		var sf unix.Statfs_t
		if err := errors.Join(unix.Statfs(dir, &sf), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
		all[filesystem(int64(sf.Type))] = dir //nolint:unconvert // 32 bits on some systems
	}
	if len(all) < 2 {
		asnobody.NotRun(t, "let /tmp and /dev/shm be on a disk and in memory (tmpfs)")
	}
	return all
}

// acls are extended ACLs by what they say besides owner, mask and others: GROUP_OBJ, and entries with names. Takes marks
// one that takes from a named user what a group of his has: the bound still lists the group.
type aclCase struct {
	name  string
	group uint16
	named []aclEntry
	takes bool
}

// raw is the stored form under a mode: the group bits are the mask.
func (c aclCase) raw(mode uint32) []byte {
	const none = ^uint32(0)
	var users, groups []aclEntry
	for _, e := range c.named {
		if e.tag == aclUser {
			users = append(users, e)
		} else {
			groups = append(groups, e)
		}
	}
	entries := append([]aclEntry{{1, uint16(mode >> 6 & 7), none}}, users...)
	entries = append(append(entries, aclEntry{aclGroupObj, c.group, none}), groups...)
	return rawACL(append(entries, aclEntry{aclMask, uint16(mode >> 3 & 7), none}, aclEntry{0x20, uint16(mode & 7), none})...)
}

func aclCases() []aclCase {
	return []aclCase{
		{name: "none"},
		{name: "default only"},
		{"a user reads", 0, []aclEntry{{aclUser, 5, namedID}}, false},
		{"a user writes", 4, []aclEntry{{aclUser, 7, namedID}}, false},
		{"the owner by name", 0, []aclEntry{{aclUser, 7, ownerID}}, false},
		{"a group", 2, []aclEntry{{aclGroup, 5, groupC}}, false},
		{"the file's group by name", 0, []aclEntry{{aclGroup, 7, groupA}}, false},
		{"a user is kept out", 7, []aclEntry{{aclUser, 0, namedID}, {aclGroup, 7, groupB}}, true},
		{"a mask alone", 7, nil, false},
	}
}

// give sets owner, mode and ACL of a file or directory; the ACL last, because it has the mode in it.
func (c aclCase) give(t *testing.T, path string, uid, gid int, mode uint32) {
	t.Helper()
	_ = unix.Removexattr(path, "system.posix_acl_access") // mostly there is none
	err := errors.Join(os.Chown(path, uid, gid), unix.Chmod(path, mode))
	if c.name != "none" && c.name != "default only" {
		err = errors.Join(err, unix.Setxattr(path, "system.posix_acl_access", c.raw(mode), 0))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func seen(t *testing.T, r *Root, path string) policy.File {
	t.Helper()
	target, err := r.Walk(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	short, err := Walk(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer short.Close()
	if !reflect.DeepEqual(facts(short), facts(target)) {
		t.Errorf("%+v, on the short way %+v", facts(target), facts(short))
	}
	return target.File
}

// TestFileAgainstTheKernel: SM-LOAD-4006. Whoever the kernel lets read or write a file is among its readers or writers;
// and where nothing is open to everyone, nobody else is.
func TestFileAgainstTheKernel(t *testing.T) {
	if !asnobody.Root(t) {
		return
	}
	r, err := OpenRoot("/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all, stranger := users(t)
	for name, dir := range places(t) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "file")
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			tried, admitted := 0, 0
			for _, g := range fileGrid() {
				g.acl.give(t, path, g.uid, g.gid, g.mode)
				file := seen(t, r, path)
				for _, u := range all {
					got := u.tries(t, attempt{File: path, FileMode: g.mode})
					g.compare(t, u, "read", got.Read, file.Readers, u == stranger)
					g.compare(t, u, "write", got.Write, file.Writers, u == stranger)
					if got.Read {
						admitted++
					}
					tried++
				}
			}
			t.Logf("%d files for %d users, of whom %d could read", len(fileGrid()), len(all), admitted)
			if admitted < tried/10 || admitted > tried*9/10 {
				t.Errorf("%d of %d could read: the grid shows too little", admitted, tried)
			}
		})
	}
}

// state is one combination of owner, group, mode and ACL.
type state struct {
	uid, gid int
	mode     uint32
	acl      aclCase
}

func (s state) String() string {
	return fmt.Sprintf("mode %04o, owner %d:%d, ACL: %s", s.mode, s.uid, s.gid, s.acl.name)
}

// compare judges one attempt by what the facts say. exact is for somebody whom only what is open to everyone concerns.
func (s state) compare(t *testing.T, u *user, what string, can bool, p policy.Principals, exact bool) {
	t.Helper()
	listed := u.listed(p)
	switch {
	case can && !listed:
		t.Errorf("%s: %s can %s and is not in %+v", s, u, what, p)
	case !can && listed && (exact || !p.Everyone && !s.acl.takes):
		t.Errorf("%s: %s cannot %s and is in %+v", s, u, what, p)
	}
}

func fileGrid() (all []state) {
	for _, uid := range []int{0, ownerID} {
		for _, gid := range []int{groupA, groupB} {
			for _, owner := range []uint32{0, 4, 6} {
				for _, group := range []uint32{0, 2, 4, 6} {
					for _, other := range []uint32{0, 2, 4, 6} {
						for _, acl := range aclCases() {
							all = append(all, state{uid, gid, owner<<6 | group<<3 | other, acl})
						}
					}
				}
			}
		}
	}
	return all
}

// dirState is the state of a directory, and who owns the entry in it.
type dirState struct {
	state
	entryOwner int
}

func dirGrid() (all []dirState) {
	for _, s := range []state{{uid: 0, gid: groupA}, {uid: ownerID, gid: groupB}} {
		for _, sticky := range []uint32{0, sticky} {
			for _, group := range []uint32{0, 3, 5, 7} {
				for _, other := range []uint32{0, 3, 5} {
					for _, acl := range aclCases() {
						for _, entryOwner := range []int{0, entryOwnerID} {
							s.mode, s.acl = sticky|0o700|group<<3|other, acl
							all = append(all, dirState{s, entryOwner})
						}
					}
				}
			}
		}
	}
	return all
}

// layout is a way to a file on which one directory, "d", and its entry decide who can replace the file.
type layout struct {
	name  string
	items []string
	file  string // as asked
	entry string // in "d"
}

func layouts() []layout {
	return []layout{
		{"the directory of the file", []string{"d/file"}, "d/file", "file"},
		{"a directory above it", []string{"d/sub/file"}, "d/sub/file", "sub"},
		{"the directory of a link", []string{"d/link -> ../o/file", "o/file"}, "d/link", "link"},
		{"a directory above where a link leads", []string{"link -> d/sub", "d/sub/file"}, "link/file", "sub"},
	}
}

// TestDirectoriesAgainstTheKernel: SM-LOAD-4006. Whoever the kernel lets replace an entry on the way, in whatever
// directory it is, is among the writers.
func TestDirectoriesAgainstTheKernel(t *testing.T) {
	if !asnobody.Root(t) {
		return
	}
	r, err := OpenRoot("/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all, stranger := users(t)
	for name, base := range places(t) {
		for _, l := range layouts() {
			t.Run(name+"/"+l.name, func(t *testing.T) {
				dir := treeIn(t, base, l.items...)
				for _, item := range []string{"", "d", "d/sub", "o"} {
					_ = os.Chmod(filepath.Join(dir, item), 0o755) // not every layout has each
				}
				d, entry := filepath.Join(dir, "d"), filepath.Join(dir, "d", l.entry)
				replaced := 0
				for _, g := range dirGrid() {
					g.acl.give(t, d, g.uid, g.gid, g.mode)
					g.setDefault(t, d)
					if err := os.Lchown(entry, g.entryOwner, groupB); err != nil {
						t.Fatal(err)
					}
					file := seen(t, r, filepath.Join(dir, l.file))
					for _, u := range all {
						got := u.tries(t, attempt{File: "/none", Dir: d, DirMode: g.mode, Entry: entry})
						if got.Replace {
							replaced++
						}
						if got.Replace && !u.listed(file.Writers) || u == stranger && !got.Replace && file.Writers.Everyone {
							t.Errorf("%s, entry of %d: %s replaces: %v; writers %+v", g, g.entryOwner, u, got.Replace, file.Writers)
						}
					}
				}
				t.Logf("%d directories for %d users, %d could replace", len(dirGrid()), len(all), replaced)
				if tried := len(dirGrid()) * len(all); replaced < tried/10 || replaced > tried*9/10 {
					t.Errorf("%d of %d could replace: the grid shows too little", replaced, tried)
				}
			})
		}
	}
}

// setDefault gives the directory an ACL for what will be made in it, which admits nobody to the directory itself.
func (s dirState) setDefault(t *testing.T, dir string) {
	t.Helper()
	const name = "system.posix_acl_default"
	_ = unix.Removexattr(dir, name) // mostly there is none
	if s.acl.name != "default only" {
		return
	}
	if err := unix.Setxattr(dir, name, aclCase{named: []aclEntry{{aclUser, 7, namedID}}}.raw(0o770), 0); err != nil {
		t.Fatal(err)
	}
}
