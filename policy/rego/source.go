package rego

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// ErrSource is wrapped by every error about a policy's sources.
var ErrSource = errors.New("invalid policy source")

// Limits on sources, those of the bundle that they become.
const (
	maxModuleBytes = 1 << 20
	maxDataBytes   = 64 << 20
	maxSmokeBytes  = 1 << 20
)

// The files of a policy folder that are not Rego.
const (
	dataFile  = "data.json"
	smokeFile = "smoke.json"
)

// Source is a policy before compilation.
type Source struct {
	Name    string            // goes into the manifest; may be empty
	Dir     string            // the folder that errors name in front of a file; may be empty, and is not part of the bundle
	Modules map[string][]byte // Rego by path, with forward slashes
	Data    []byte            // a JSON object; nil stands for no services
	Smoke   []byte            // requests that the policy must judge as told before it is in force; nil for none
}

// ReadDir reads a policy folder: every *.rego but the tests in it and beneath it, and data.json and smoke.json at
// its top. Hidden folders are left out, other files are ignored, and a data file that would not be read is an error.
func ReadDir(dir string) (Source, error) {
	src := Source{Dir: dir, Modules: map[string][]byte{}}
	tree := os.DirFS(dir)
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return src.add(tree, name, entry)
	})
	if err != nil {
		return Source{}, fmt.Errorf("%w: %w", ErrSource, err)
	}
	if len(src.Modules) == 0 && src.Data == nil {
		return Source{}, fmt.Errorf("%w: %q holds neither *.rego nor data.json", ErrSource, dir)
	}
	return src, nil
}

// place names a file of the source in an error. The default rules lie in no folder.
func (src *Source) place(name string) string {
	if _, own := src.Modules[name]; !own && name != dataFile && name != smokeFile || src.Dir == "" {
		return name
	}
	return filepath.ToSlash(filepath.Join(src.Dir, name))
}

// add takes one entry of a policy folder into the source.
func (src *Source) add(tree fs.FS, name string, entry fs.DirEntry) (err error) {
	base := path.Base(name)
	switch {
	case entry.IsDir() && name != "." && strings.HasPrefix(base, "."):
		return fs.SkipDir
	case entry.IsDir(), strings.HasSuffix(base, "_test.rego"):
		return nil
	case name == dataFile:
		src.Data, err = readFile(tree, name, maxDataBytes)
	case name == smokeFile:
		src.Smoke, err = readFile(tree, name, maxSmokeBytes)
	case base == smokeFile:
		err = fmt.Errorf("%s: it belongs at the top of the folder", name)
	case base == dataFile, base == "data.yaml", base == "data.yml":
		err = fmt.Errorf("%s: data belongs in data.json at the top of the folder", name)
	case strings.HasSuffix(base, ".rego"):
		src.Modules[name], err = readFile(tree, name, maxModuleBytes)
	}
	return err
}

// readFile reads a regular file, or what a symbolic link names, of at most limit bytes.
func readFile(tree fs.FS, name string, limit int64) ([]byte, error) {
	info, err := fs.Stat(tree, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", name)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read", name, info.Size(), limit)
	}
	return fs.ReadFile(tree, name)
}
