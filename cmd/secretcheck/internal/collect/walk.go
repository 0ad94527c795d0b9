package collect

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

// walk goes through a directory. Plain files come before symbolic links, so that of a unit and its alias the unit is
// the one that is read.
func (c *collector) walk(root string) {
	var links []string
	err := filepath.WalkDir(root, func(p string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			c.unreadable(p, err)
			if entry != nil && entry.IsDir() {
				return fs.SkipDir
			}
		case entry.IsDir():
			return c.directory(p)
		case entry.Type()&fs.ModeSymlink != 0:
			links = append(links, p)
		default:
			c.file(p, false)
		}
		return nil
	})
	if err != nil {
		c.unreadable(root, err)
	}
	for _, p := range links {
		c.link(p)
	}
}

// directory decides about descending. Drop-ins are read with their unit, or as one when the unit lies elsewhere; the
// links that systemctl enable makes say when a unit starts, not what it is.
func (c *collector) directory(p string) error {
	name := filepath.Base(p)
	switch {
	case strings.HasSuffix(name, ".service.d"):
		if _, err := os.Lstat(strings.TrimSuffix(p, ".d")); errors.Is(err, fs.ErrNotExist) {
			c.unit(strings.TrimSuffix(p, ".d"), true)
		}
		return fs.SkipDir
	case strings.HasSuffix(name, ".wants"), strings.HasSuffix(name, ".requires"), strings.HasSuffix(name, ".upholds"):
		return fs.SkipDir
	}
	return nil
}

// link reads a unit that is a symbolic link: an instance of a template, an alias, or a mask.
func (c *collector) link(p string) {
	info, err := os.Stat(p)
	switch {
	case !strings.HasSuffix(p, ".service") && !isYAML(p):
	case err != nil:
		c.unreadable(p, err)
	case info.Mode()&fs.ModeCharDevice != 0:
		c.note(p, descriptor.RuleMasked, "the unit is masked: it does not start")
	case info.IsDir():
	case c.known(info) && !strings.Contains(filepath.Base(p), "@"):
	default:
		c.file(p, false)
	}
}

func (c *collector) known(info os.FileInfo) bool {
	for _, i := range c.inodes {
		if os.SameFile(i, info) {
			return true
		}
	}
	return false
}
