// Package starter writes a policy to begin with.
package starter

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/llorch/secrets-management/policy/rego"
)

//go:embed files
var files embed.FS

// ErrNotEmpty is the error of [Write] for a folder with something in it.
var ErrNotEmpty = errors.New("the folder is not empty")

// Files are those of the policy by their names, with forward slashes: rules, tests, grants, requests to try it on, a page for
// who works on it, and the schemas of grants and input.
func Files() (map[string][]byte, error) {
	all := map[string][]byte{}
	for name, schema := range rego.Schemas() {
		all["schemas/"+name] = schema
	}
	top, err := fs.Sub(files, "files")
	if err != nil {
		return nil, err // unreachable: the name is valid
	}
	entries, err := fs.ReadDir(top, ".")
	if err != nil {
		return nil, err // unreachable: it is embedded
	}
	for _, e := range entries {
		if all[e.Name()], err = fs.ReadFile(top, e.Name()); err != nil {
			return nil, err // unreachable: likewise
		}
	}
	return all, nil
}

// Write writes the files into a folder that is empty, but for a .git, or not there yet, and returns their names. It
// overwrites nothing, whoever else writes there, and takes back what it has written when it cannot write all.
func Write(dir string) ([]string, error) {
	all, err := Files()
	if err != nil {
		return nil, err
	}
	if err := empty(dir); err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(all))
	if err := os.MkdirAll(filepath.Join(dir, "schemas"), 0o755); err != nil { //nolint:gosec // G301: a policy is for reading
		return nil, err
	}
	for i, name := range names {
		if err := create(filepath.Join(dir, filepath.FromSlash(name)), all[name]); err != nil {
			for _, written := range names[:i] {
				err = errors.Join(err, os.Remove(filepath.Join(dir, filepath.FromSlash(written))))
			}
			return nil, err
		}
	}
	return names, nil
}

func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.Name() != ".git" {
			return fmt.Errorf("%s: %w", dir, ErrNotEmpty)
		}
	}
	return err
}

func create(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // G302: likewise
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
