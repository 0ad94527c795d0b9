package facts

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Root is a directory that paths are resolved in, "/" or a folder that stands for it. Nothing outside it is reached,
// whatever links say. It is safe for concurrent use.
type Root struct {
	fd    int
	path  string // as the kernel names it; "" for "/"
	owner int64
}

// OpenRoot opens a directory. In one other than "/" the owner of dir counts as root, so that an unprivileged user can
// check a tree that was made for a machine.
func OpenRoot(dir string) (*Root, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	r := &Root{fd: fd}
	if dir == "/" {
		return r, nil
	}
	var st unix.Statx_t
	if err := statx(fd, &st); err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if r.path, err = fdPath(fd); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	if r.path == "/" {
		r.path = ""
	} else {
		r.owner = int64(st.Uid)
	}
	return r, nil
}

// Close frees the directory.
func (r *Root) Close() error { return unix.Close(r.fd) }

// fdPath is where the kernel says that a descriptor leads.
func fdPath(fd int) (string, error) {
	var buf [maxPath]byte // the kernel gives no more: a longer path is an error
	n, err := unix.Readlink(procPath(fd), buf[:])
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// frame is a directory on the way, or the file at its end.
type frame struct {
	fd   int
	name string
	entry
	stat unix.Statx_t
}

// walk is the state of one resolution.
type walk struct {
	root    *Root
	self    int64    // who is to read the file; -1 where that is not known
	stack   []frame  // from the root's own directory down
	todo    []string // components yet to be walked, the next one last
	links   []string
	way     []string // links, each with its target
	final   bool     // the last component of the path was a symbolic link
	barred  string   // where self cannot pass
	mount   uint64   // that all of the way is on, where the kernel walked
	writers principals
}

// Walk resolves a path that is absolute and lexically clean, and gathers the facts about the file at its end, whatever
// its type, as they concern a subject whose uid is self. The error is an *[Error]. The caller closes the Target.
//
// A link that is swapped, as Kubernetes swaps ..data, can lead to a directory that is gone the moment after. So that
// nothing is at the end of links is true once two walks in a row went the same way; links that do not hold still are
// ErrChanged.
func (r *Root) Walk(name string, self int64) (*Target, error) {
	if !valid(name) {
		return nil, &Error{name, ErrPath}
	}
	var before []string
	for range maxWalks {
		t, way, err := r.walk(name, self)
		switch {
		case err == nil:
			return t, nil
		case !errors.Is(err, fs.ErrNotExist), len(way) == 0, slices.Equal(way, before):
			return nil, &Error{name, err}
		}
		before = way
	}
	return nil, &Error{name, ErrChanged}
}

func valid(name string) bool {
	return path.IsAbs(name) && path.Clean(name) == name && len(name) <= maxPath && !strings.ContainsRune(name, 0)
}

// maxWalks bounds how often a path is walked whose links change all the time. Each walk stands for itself.
const maxWalks = 10

// walk is one walk, and the links that it followed, each with where it led.
func (r *Root) walk(name string, self int64) (t *Target, way []string, err error) {
	w := &walk{root: r, self: self, stack: make([]frame, 0, 8)}
	defer w.close()
	if err := w.run(name); err != nil {
		if w.final && errors.Is(err, fs.ErrNotExist) {
			err = ErrDangling
		}
		return nil, w.way, err
	}
	if !utf8.ValidString(w.resolved()) {
		return nil, nil, ErrPath // a policy could not be asked about it
	}
	t, err = w.target()
	return t, w.way, err
}

func (w *walk) close() {
	for _, f := range w.stack {
		if f.fd != w.root.fd {
			_ = unix.Close(f.fd)
		}
	}
}

func (w *walk) top() *frame { return &w.stack[len(w.stack)-1] }

func (w *walk) push(components string) {
	parts := strings.Split(components, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if p := parts[i]; p != "" && p != "." {
			w.todo = append(w.todo, p)
		}
	}
}

func (w *walk) run(name string) error {
	top := frame{fd: w.root.fd}
	if err := w.root.look(&top); err != nil {
		return err
	}
	w.disown(&top)
	w.stack = append(w.stack, top)
	w.push(name)
	for len(w.todo) > 0 {
		next := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		if err := w.step(next); err != nil {
			return err
		}
	}
	return nil
}

// step walks one component from the top of the stack.
func (w *walk) step(name string) error {
	dir := w.top()
	if dir.stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return ErrNotDir
	}
	w.pass(*dir, search)
	if name == ".." {
		if len(w.stack) > 1 {
			_ = unix.Close(dir.fd)
			w.stack = w.stack[:len(w.stack)-1]
		}
		return nil
	}
	fd, err := openat(dir.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	next := frame{fd: fd, name: name}
	if err := w.root.look(&next); err != nil {
		_ = unix.Close(fd)
		return err
	}
	w.disown(&next)
	w.writers.addDir(dir.entry, next.entry)
	if next.stat.Mode&unix.S_IFMT != unix.S_IFLNK {
		w.stack = append(w.stack, next)
		return nil
	}
	defer unix.Close(fd) //nolint:errcheck // O_PATH
	return w.follow(&next)
}

// pass notes the first place on the way that self may not pass.
func (w *walk) pass(at frame, perm uint32) {
	if w.barred == "" && at.bars(w.self, perm) {
		w.barred = w.resolved()
	}
}

// follow puts the target of a symbolic link in front of what is left to walk.
func (w *walk) follow(link *frame) error {
	if len(w.links) == maxLinks {
		return ErrLoop
	}
	w.writers.addLink(link.entry)
	w.links = append(w.links, path.Join(w.resolved(), link.name))
	w.final = w.final || len(w.todo) == 0
	target, err := readlink(link.fd)
	if err != nil {
		return err
	}
	w.way = append(w.way, w.links[len(w.links)-1]+" -> "+target)
	if path.IsAbs(target) {
		for _, f := range w.stack[1:] {
			_ = unix.Close(f.fd)
		}
		w.stack = w.stack[:1]
	}
	w.push(target)
	return nil
}

// resolved is the real path of the top of the stack.
func (w *walk) resolved() string {
	if len(w.stack) == 1 {
		return "/"
	}
	var b strings.Builder
	for _, f := range w.stack[1:] {
		b.WriteByte('/')
		b.WriteString(f.name)
	}
	return b.String()
}

// target takes the file off the stack and makes sure that it still is where it was found.
func (w *walk) target() (*Target, error) {
	f := *w.top()
	w.pass(f, read)
	resolved := w.resolved()
	if f.fd == w.root.fd { // the root itself: give the target a descriptor of its own
		fd, err := openat(f.fd, ".", unix.O_PATH|unix.O_CLOEXEC)
		if err != nil {
			return nil, err
		}
		f.fd = fd
	} else {
		w.stack = w.stack[:len(w.stack)-1]
	}
	return w.found(&f, resolved)
}

// found is the target that a frame becomes, and closes the frame if it is none.
func (w *walk) found(f *frame, resolved string) (*Target, error) {
	t := &Target{Resolved: resolved, Links: w.links, Barred: w.barred, handle: handle{fd: f.fd, stat: f.stat, acl: f.acl, self: w.self}}
	t.Above = make([]string, 0, strings.Count(resolved, "/"))
	for p := resolved; p != "/"; {
		p = path.Dir(p)
		t.Above = append(t.Above, p)
	}
	if err := w.describe(t, f); err != nil {
		_ = t.Close()
		return nil, err
	}
	return t, nil
}

func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func readlink(fd int) (string, error) {
	buf := make([]byte, maxPath)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", err
	}
	if n == 0 || n == len(buf) {
		return "", ErrLoop
	}
	return string(buf[:n]), nil
}

// handle is the open file of a Target.
type handle struct {
	fd    int
	stat  unix.Statx_t
	acl   []aclEntry
	where string // as the kernel names it
	self  int64
}

// Close frees the descriptor.
func (h *handle) Close() error {
	if h.fd < 0 {
		return nil
	}
	fd := h.fd
	h.fd = -1
	return unix.Close(fd)
}

// nobody is how the kernel shows an owner that has no number in this user namespace or on this mount
// (user_namespaces(7)), and an account of its own as well.
const nobody = 65534

// Open opens the same inode for reading. It is meant for regular files; it does not block on any other. The error
// matches ErrChanged when what is opened is no longer what was described, and ErrOwner when self is nobody and the file
// looked like its own but is that of somebody without a number here.
func (h *handle) Open() (*File, error) {
	flags := unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	prove := h.self == nobody && h.stat.Uid == nobody
	if prove {
		flags |= unix.O_NOATIME // only the owner may ask for it (open(2)), and the kernel knows who that is
	}
	fd, err := openat(unix.AT_FDCWD, procPath(h.fd), flags)
	switch {
	case prove && errors.Is(err, unix.EPERM):
		return nil, ErrOwner
	case err != nil:
		return nil, err
	}
	settle(fd)
	f := &File{fd}
	if err := h.same(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// settle waits for whoever is in the middle of changing the inode. The kernel sets time stamps before it copies what is
// written, and drops a link before it forgets the name: facts taken in between look like those of a file at rest. It
// changes an inode under a lock that ext4, btrfs, tmpfs and overlayfs take for this search too. It fails on a file
// without data; its result does not matter.
func settle(fd int) { _, _ = unix.Seek(fd, 0, unix.SEEK_DATA) }

// Unchanged compares everything that the description rests on with what f is now. A change in the same tick of a coarse
// clock shows in no time stamp (before Linux 6.13, or on a file system without fine ones): type, owner, mode, link
// count, size and the extended ACL are compared for themselves, and only the content is left for the caller to compare.
// A directory on the way may have been renamed: the file is still the one that was described.
func (h *handle) Unchanged(f *File) error {
	if err := h.same(f); err != nil {
		return err
	}
	where, err := fdPath(h.fd)
	if err == nil && where != h.where && strings.HasSuffix(where, removed) {
		err = ErrChanged // described between the loss of a link and that of its name
	}
	return err
}

// removed is what the kernel appends to the name of a file that is not there any more (proc_pid_fd(5)).
const removed = " (deleted)"

func (h *handle) same(f *File) error {
	var now unix.Statx_t
	if err := statx(f.fd, &now); err != nil {
		return err
	}
	was := &h.stat
	same := now.Dev_major == was.Dev_major && now.Dev_minor == was.Dev_minor && now.Ino == was.Ino && now.Mode == was.Mode &&
		now.Uid == was.Uid && now.Gid == was.Gid && now.Nlink == was.Nlink && now.Size == was.Size &&
		now.Mtime == was.Mtime && now.Ctime == was.Ctime && now.Attributes == was.Attributes
	if !same {
		return ErrChanged
	}
	if now.Mode&0o070 == 0 {
		return nil // an ACL that has nothing to give: the bits are its mask
	}
	acl, err := readACL(h.fd)
	if err != nil {
		return err
	}
	if !slices.Equal(acl, h.acl) {
		return ErrChanged
	}
	return nil
}

// File is a file that is open for reading. It is no [os.File]: that one asks the poller about each file, which costs more
// than reading a small one. Whoever opened it closes it.
type File struct{ fd int }

// ReadAt reads with one call of pread(2), so that it can return less than there is. At the end of the file it returns io.EOF.
func (f *File) ReadAt(b []byte, offset int64) (int, error) {
	for {
		n, err := unix.Pread(f.fd, b, offset)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// Close frees the descriptor.
func (f *File) Close() error { return unix.Close(f.fd) }

// ReadFile reads a small file that is no secret, such as etc/passwd, from inside the root.
func (r *Root) ReadFile(name string, most int64) ([]byte, error) {
	t, err := r.Walk(name, 0)
	if err != nil {
		return nil, err
	}
	defer t.Close() //nolint:errcheck // O_PATH
	if t.File.Type != "regular" || t.File.Size > most {
		return nil, &Error{name, errors.New("not a regular file, or too large")}
	}
	f, err := t.Open()
	if err != nil {
		return nil, &Error{name, err}
	}
	defer f.Close() //nolint:errcheck // only read
	return io.ReadAll(io.NewSectionReader(f, 0, most))
}
