//go:build !linux

package facts

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/llorch/secrets-management/policy"
)

// Root is a directory that paths are resolved in. This implementation, for systems other than Linux, looks paths up by
// name, so a file can be swapped between check and use; the file system is named after the operating system, which the
// default rules do not trust: a grant has to accept it by name.
type Root struct{ path string }

// OpenRoot opens a directory.
func OpenRoot(dir string) (*Root, error) {
	fi, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, &os.PathError{Op: "open", Path: dir, Err: ErrNotDir}
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	return &Root{path: strings.TrimSuffix(real, string(filepath.Separator))}, nil
}

// Close does nothing: no descriptor is held.
func (r *Root) Close() error { return nil }

// Walk is [Root.Walk] in "/".
func Walk(name string, self int64) (*Target, error) {
	root, err := OpenRoot("/")
	if err != nil {
		return nil, err
	}
	return root.Walk(name, self)
}

// Walk resolves a path and gathers what this system tells about the file at its end.
func (r *Root) Walk(name string, self int64) (*Target, error) {
	if !filepath.IsAbs(name) || filepath.Clean(name) != name || len(name) > maxPath || strings.ContainsRune(name, 0) {
		return nil, &Error{name, ErrPath}
	}
	real, err := filepath.EvalSymlinks(r.path + name)
	if err != nil {
		return nil, &Error{name, err}
	}
	resolved, inside := strings.CutPrefix(real, r.path)
	if !inside {
		return nil, &Error{name, ErrPath}
	}
	fi, err := os.Lstat(real)
	if err != nil {
		return nil, &Error{name, err}
	}
	t := &Target{Resolved: resolved, handle: handle{path: real, info: fi}}
	var writers, readers principals
	child := entryOf(fi)
	writers.addFile(child, groupWrite, otherWrite)
	readers.addFile(child, groupRead, otherRead)
	for p := real; p != filepath.Dir(p); {
		p = filepath.Dir(p)
		dir, err := os.Lstat(p)
		if err != nil {
			return nil, &Error{name, err}
		}
		writers.addDir(entryOf(dir), child)
		child = entryOf(dir)
		t.Above = append(t.Above, p)
	}
	links := 0
	if resolved != name {
		links = 1 // at least
		t.Links = []string{name}
	}
	e := entryOf(fi)
	t.File = policy.File{
		Type: fileType(fi.Mode()), Mode: e.mode, UID: e.uid, GID: e.gid, OwnerIsRoot: e.uid == 0, OwnerIsMe: e.uid == self,
		Size: fi.Size(), NLink: linkCount(fi), Filesystem: runtime.GOOS, Symlinks: links, FinalSymlink: links > 0,
		Readers: readers.Principals, Writers: writers.Principals,
	}
	return t, nil
}

func entryOf(fi os.FileInfo) entry {
	uid, gid := owner(fi)
	mode := uint32(fi.Mode().Perm())
	if fi.Mode()&os.ModeSticky != 0 {
		mode |= sticky
	}
	return entry{uid: uid, gid: gid, mode: mode}
}

func fileType(m os.FileMode) string {
	switch {
	case m.IsRegular():
		return "regular"
	case m.IsDir():
		return "directory"
	case m&os.ModeNamedPipe != 0:
		return "fifo"
	case m&os.ModeSocket != 0:
		return "socket"
	case m&os.ModeCharDevice != 0:
		return "char_device"
	case m&os.ModeDevice != 0:
		return "block_device"
	default:
		return ""
	}
}

type handle struct {
	path string
	info os.FileInfo
}

// Close does nothing: no descriptor is held.
func (h *handle) Close() error { return nil }

// File is a file that is open for reading.
type File = os.File

// Open opens the file by its real path.
func (h *handle) Open() (*File, error) {
	f, err := os.Open(h.path)
	if err != nil {
		return nil, err
	}
	if err := h.Unchanged(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Unchanged compares what the system tells about f with what was described.
func (h *handle) Unchanged(f *File) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(now, h.info) || now.Mode() != h.info.Mode() || now.Size() != h.info.Size() ||
		!now.ModTime().Equal(h.info.ModTime()) {
		return ErrChanged
	}
	return nil
}

// ReadFile reads a small file that is no secret from inside the root.
func (r *Root) ReadFile(name string, most int64) ([]byte, error) {
	t, err := r.Walk(name, 0)
	if err != nil {
		return nil, err
	}
	f, err := t.Open()
	if err != nil {
		return nil, &Error{name, err}
	}
	defer f.Close() //nolint:errcheck // only read
	return io.ReadAll(io.LimitReader(f, most))
}

// aclEntry has no meaning here: extended ACLs of these systems are not read.
type aclEntry struct{}

func (p *principals) addACL([]aclEntry, int64, uint16) {}
