package facts

import (
	"io/fs"
	"os"
)

// ReadDir lists a directory inside the root, sorted by name. Of the entries only Name and Type are of use: their files are
// looked at with [Root.Walk]. The error is an *[Error].
func (r *Root) ReadDir(name string) ([]fs.DirEntry, error) {
	t, err := r.Walk(name, 0)
	if err != nil {
		return nil, err
	}
	defer t.Close() //nolint:errcheck // O_PATH
	if t.File.Type != "directory" {
		return nil, &Error{name, ErrNotDir}
	}
	entries, err := os.ReadDir(procPath(t.fd))
	if err != nil {
		return nil, &Error{name, err}
	}
	return entries, nil
}

// Real is where on this machine a path inside the root leads. It is for files that are no secrets: what is there can be
// swapped until it is opened.
func (r *Root) Real(name string) (string, error) {
	t, err := r.Walk(name, 0)
	if err != nil {
		return "", err
	}
	defer t.Close() //nolint:errcheck // O_PATH
	return r.path + t.Resolved, nil
}
