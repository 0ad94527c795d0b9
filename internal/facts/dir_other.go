//go:build !linux

package facts

import (
	"io/fs"
	"os"
)

// ReadDir lists a directory inside the root, sorted by name.
func (r *Root) ReadDir(name string) ([]fs.DirEntry, error) {
	real, err := r.Real(name)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(real)
	if err != nil {
		return nil, &Error{name, err}
	}
	return entries, nil
}

// Real is where on this machine a path inside the root leads.
func (r *Root) Real(name string) (string, error) {
	t, err := r.Walk(name, 0)
	if err != nil {
		return "", err
	}
	return r.path + t.Resolved, nil
}
