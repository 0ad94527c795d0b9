package loader_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// A scene is a path that is attacked by whoever owns every directory on it. Every file says in its content under which
// facts it was written, and is empty while they change: a load whose content contradicts its decision shows.
type scene struct {
	dir, path string
	begun     atomic.Uint32 // writes that have begun: each content has the number of its write

	mu     sync.Mutex // one attack at a time
	random *rand.Rand
	houses [2]house
	front  int // the one whose directory is at the path
	serial int
	err    error // the first thing that went wrong with an attack
}

// house is a directory that can stand at the path. One of the two lets another user in.
type house struct {
	shared bool
	link   bool // the path ends in a symbolic link that leads out of the directory
	dots   int  // behind the mark
	extra  string
	mark
}

// mark is what a content says about its file.
type mark struct {
	mode   uint32
	nlink  int64
	reader int64 // whom the ACL lets read; 0 without one
	links  int
	shared bool
	at     string // the real path
}

// naive is the part of a mark that stat(2) tells.
func (m mark) naive() string { return fmt.Sprintf("mode=%04o;nlink=%d;", m.mode, m.nlink) }

func (m mark) String() string {
	return fmt.Sprintf("%sreader=%d;links=%d;shared=%v;at=%s;", m.naive(), m.reader, m.links, m.shared, m.at)
}

const (
	numberLen      = 8   // of a write, in front of the mark
	otherWriter    = 777 // whom the ACL of the shared directory lets write
	reader1        = 700 // whom the ACL of a file lets read
	reader2        = 701
	accessACL      = "system.posix_acl_access"
	maxDots        = 300
	foreverMissing = ^uint32(0) // an ACL entry without an id
)

// userACL lets a user have what the mask lets him.
func userACL(id int64, perm uint16) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 6 | perm, foreverMissing}, {2, perm, uint32(id)}, {4, 0, foreverMissing}, {0x10, perm, foreverMissing}, {0x20, 0, foreverMissing}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

func newScene(t *testing.T, base string) *scene {
	t.Helper()
	dir, err := os.MkdirTemp(base, "scene")
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &scene{dir: dir, path: dir + "/d/secret", random: rand.New(rand.NewPCG(1, 2))}
	for _, name := range []string{"d", "e", "o", "x"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Setxattr(dir+"/e", accessACL, userACL(otherWriter, 7), 0); err != nil {
		t.Fatal(err)
	}
	s.houses[1].shared = true
	for range s.houses { // a file for each
		if err := errors.Join(s.place(false), s.exchange()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// house is the one at the path, and file the regular file that the path leads to.
func (s *scene) house() *house { return &s.houses[s.front] }

func (s *scene) file() string {
	if s.house().link {
		return fmt.Sprintf("%s/o/%d", s.dir, s.front)
	}
	return s.path
}

// attacks are what the owner of the directories can do.
func (s *scene) attacks() []func() error {
	return []func() error{
		func() error { return s.place(false) },
		func() error { return s.place(true) },
		s.exchange, s.awayAndBack, s.truncate, s.grow, s.overwrite, s.overwrite,
		func() error { return s.rewrite(s.changeMode) },
		func() error { return s.rewrite(s.changeACL) },
		func() error { return s.rewrite(s.changeLinks) },
	}
}

// strike attacks once.
func (s *scene) strike() {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.attacks()
	if err := all[s.random.IntN(len(all))](); err != nil && s.err == nil {
		s.err = err
	}
}

// chance is true once in n times.
func (s *scene) chance(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n) == 0
}

// write writes the content of a file whose facts stand.
func (s *scene) write(f *os.File, h *house) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%08x%s%s", s.begun.Add(1), h.mark, strings.Repeat(".", h.dots)), 0)
	return err
}

// place puts another file at the path, or a link that leads to one, in one step.
func (s *scene) place(link bool) error {
	h := s.house()
	if h.extra != "" && h.link && !link { // the file stays where it is, and must not say what is no longer true
		if err := s.rewrite(s.changeLinks); err != nil {
			return err
		}
	}
	old := h.extra
	h.link, h.extra, h.dots = link, "", 1+s.random.IntN(maxDots)
	h.mark = mark{mode: 0o600, nlink: 1, shared: h.shared, at: s.file()}
	if link {
		h.links = 1
	}
	f, err := os.OpenFile(s.dir+"/x/new", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(s.changeMode(f), s.write(f, h), f.Close(), os.Rename(s.dir+"/x/new", s.file()))
	if link {
		err = errors.Join(err, os.Symlink(s.file(), s.dir+"/x/link"), os.Rename(s.dir+"/x/link", s.path))
	}
	if old != "" {
		err = errors.Join(err, os.Remove(old))
	}
	return err
}

// exchange swaps the two directories.
func (s *scene) exchange() error {
	s.front = 1 - s.front
	return unix.Renameat2(unix.AT_FDCWD, s.dir+"/d", unix.AT_FDCWD, s.dir+"/e", unix.RENAME_EXCHANGE)
}

func (s *scene) awayAndBack() error {
	return errors.Join(os.Rename(s.dir+"/d", s.dir+"/z"), os.Rename(s.dir+"/z", s.dir+"/d"))
}

func (s *scene) truncate() error {
	h := s.house()
	h.dots = 1 + s.random.IntN(h.dots)
	return os.Truncate(s.file(), int64(numberLen+len(h.String())+h.dots))
}

func (s *scene) grow() error {
	h := s.house()
	if h.dots > maxDots {
		return s.truncate()
	}
	more := 1 + s.random.IntN(10)
	h.dots += more
	f, err := os.OpenFile(s.file(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Repeat(".", more))
	return errors.Join(err, f.Close())
}

// overwrite changes nothing that the mark says.
func (s *scene) overwrite() error {
	f, err := os.OpenFile(s.file(), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "%0*x", numberLen, s.begun.Add(1)), 0)
	return errors.Join(err, f.Close())
}

// rewrite empties the file, changes facts, and writes what is true then.
func (s *scene) rewrite(change func(*os.File) error) error {
	f, err := os.OpenFile(s.file(), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(0), change(f), s.write(f, s.house()), f.Close())
}

func (s *scene) changeMode(f *os.File) error {
	h := s.house()
	h.mode = []uint32{0o600, 0o640, 0o604, 0o644}[s.random.IntN(4)]
	err := unix.Fremovexattr(int(f.Fd()), accessACL)
	if errors.Is(err, unix.ENODATA) {
		err = nil
	}
	h.reader = 0
	return errors.Join(err, unix.Fchmod(int(f.Fd()), h.mode))
}

func (s *scene) changeACL(f *os.File) error {
	h := s.house()
	h.mode, h.reader = 0o640, reader1+reader2-h.reader
	if h.reader > reader2 { // there was none
		h.reader = reader1
	}
	return unix.Fsetxattr(int(f.Fd()), accessACL, userACL(h.reader, 4), 0)
}

// changeLinks gives the file a second name, or takes it away.
func (s *scene) changeLinks(*os.File) error {
	h := s.house()
	if h.extra != "" {
		name := h.extra
		h.extra, h.nlink = "", 1
		return os.Remove(name)
	}
	s.serial++
	h.extra, h.nlink = fmt.Sprintf("%s/x/%d", s.dir, s.serial), 2
	return os.Link(s.file(), h.extra)
}
