package collect

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Root is a folder that stands for the root of a machine.
type Root interface {
	// Real is where on this machine a path inside the root leads. The error matches fs.ErrNotExist where that is what
	// it means.
	Real(path string) (string, error)
}

// view looks at the file system. What lies below a root is found as it would be on the machine that the root stands for:
// no link leads out of it. The zero value has no root.
type view struct {
	root Root
	dir  string // of the root, absolute and clean; "" when there is none, or it is this machine's own
	real string // the same without symbolic links
}

// newView returns a view in which dir is a root, or one without a root when that is the machine's own.
func newView(root Root, dir string) (*view, error) {
	if root == nil {
		return &view{}, nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	real, err := root.Real("/")
	real = strings.TrimSuffix(real, "/")
	if err != nil || real == "" {
		return &view{}, err
	}
	return &view{root: root, dir: abs, real: real}, nil
}

// at is where p is to be opened.
func (f *view) at(p string) (string, error) {
	if f.dir == "" {
		return p, nil
	}
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	for _, dir := range []string{f.dir, f.real} {
		if rest, err := filepath.Rel(dir, abs); err == nil && filepath.IsLocal(rest) {
			return f.root.Real(path.Join("/", filepath.ToSlash(rest)))
		}
	}
	return p, nil
}

func (f *view) stat(p string) (fs.FileInfo, error) {
	at, err := f.at(p)
	if err != nil {
		return nil, err
	}
	return os.Stat(at)
}

func (f *view) list(dir string) ([]fs.DirEntry, error) {
	at, err := f.at(dir)
	if err != nil {
		return nil, err
	}
	return os.ReadDir(at)
}

func (f *view) read(p string) ([]byte, fs.FileInfo, error) { return f.readBounded(p, maxFile) }

func (f *view) readBounded(p string, limit int64) ([]byte, fs.FileInfo, error) {
	at, err := f.at(p)
	if err != nil {
		return nil, nil, err
	}
	return readBounded(at, limit)
}

// link is where the link at p points to, "" when p is none.
func (f *view) link(p string) string {
	dir, err := f.at(filepath.Dir(p))
	if err != nil {
		return ""
	}
	target, err := os.Readlink(filepath.Join(dir, filepath.Base(p)))
	if err != nil {
		return ""
	}
	return target
}

// isNull reports whether p is a link to the null device, which a root that is only a folder need not have, or to another.
func (f *view) isNull(p string) bool {
	switch target := f.link(p); {
	case target == "":
		return false
	case filepath.IsAbs(target) && filepath.Clean(target) == os.DevNull:
		return true
	}
	info, err := f.stat(p)
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}
