package host

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/envfile"
)

// maxEnvironment bounds an environment file.
const maxEnvironment = 1 << 20

// Variables lists what an environment file sets. Its values are looked at and dropped.
func (h *Host) Variables(name string) ([]envfile.Variable, error) {
	data, err := h.root.ReadFile(name, maxEnvironment)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	return envfile.Parse(data)
}

// maxMatches bounds the files of a pattern.
const maxMatches = 1000

var errPattern = errors.New("a pattern that stands for more than 1,000 files, or has its wildcards in front of the last slash")

// Match lists the files that a pattern of glob(7) stands for, sorted. Hidden ones only match where the pattern says so.
// Wildcards stand in the last component: a unit could else send the check through the whole file system. Directories are
// not reached through links that are absolute or lead out of the root.
func (h *Host) Match(pattern string) ([]string, error) {
	if strings.ContainsAny(path.Dir(pattern), "*?[") {
		return nil, errPattern
	}
	root, err := os.OpenRoot(h.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	names, err := fs.Glob(root.FS(), strings.ReplaceAll(strings.TrimPrefix(path.Clean(pattern), "/"), "[!", "[^"))
	if len(names) > maxMatches {
		return nil, errPattern
	}
	var files []string
	for _, n := range names {
		if !strings.HasPrefix(path.Base(n), ".") || strings.HasPrefix(path.Base(pattern), ".") {
			files = append(files, "/"+n)
		}
	}
	return files, err
}
