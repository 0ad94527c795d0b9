// Package ownfile keeps files that only their owner may have a hand in: it refuses places in which others could put
// another file, reads without following a link, replaces a file whole or not at all, and locks among processes.
package ownfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// CheckPlace refuses a place that is not explicit, or where others could replace the file.
func CheckPlace(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return errors.New("the path is not absolute and clean")
	}
	return checkDir(filepath.Dir(path))
}

// CheckDir is CheckPlace for everything in a directory.
func CheckDir(dir string) error { return CheckPlace(dir + string(filepath.Separator) + "file") }

func checkDir(name string) error {
	dir, err := os.Stat(name)
	switch {
	case err != nil:
		return Cause(err)
	case !dir.IsDir():
		return errors.New("its directory is none")
	case runtime.GOOS != "windows" && dir.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others can write to its directory: mode %04o", dir.Mode().Perm())
	}
	if err := checkOwner(dir); err != nil {
		return err
	}
	return checkWay(name, maxLinks)
}

const maxLinks = 40

// checkWay refuses a directory that others could put another in the place of: who can write to one above it can rename what
// is in there, unless it is sticky, and who owns a link leads it elsewhere.
func checkWay(dir string, links int) error {
	for {
		fi, err := os.Lstat(dir)
		switch {
		case err != nil:
			return Cause(err)
		case links == 0:
			return errors.New("too many symbolic links lead to it")
		}
		if err := checkOwner(fi); err != nil {
			return fmt.Errorf("%q: %w", dir, err)
		}
		if fi.Mode()&fs.ModeSymlink != 0 {
			if err := checkTarget(dir, links-1); err != nil {
				return err
			}
		} else if runtime.GOOS != "windows" && fi.Mode().Perm()&0o022 != 0 && fi.Mode()&fs.ModeSticky == 0 {
			return fmt.Errorf("others can write to %q: mode %04o", dir, fi.Mode().Perm())
		}
		above := parent(dir)
		if above == dir {
			return nil
		}
		dir = above
	}
}

// parent is the directory that something lies in, or the root itself. Other than filepath.Dir it cleans nothing: behind a
// link, ".." is what the link makes it, and the link is on the way.
func parent(dir string) string {
	if runtime.GOOS == "windows" {
		return filepath.Dir(dir)
	}
	above, _ := filepath.Split(strings.TrimRight(dir, "/"))
	if above = strings.TrimRight(above, "/"); above == "" {
		return "/"
	}
	return above
}

// checkTarget looks at where a link leads, as it says, with every step, and as it is.
func checkTarget(link string, links int) error {
	target, err := os.Readlink(link)
	if err != nil {
		return Cause(err)
	}
	if !filepath.IsAbs(target) {
		target = parent(link) + string(filepath.Separator) + target
	}
	real, err := filepath.EvalSymlinks(link)
	if err != nil {
		return Cause(err)
	}
	return errors.Join(checkWay(target, links), checkWay(real, links))
}

// Within reports whether one directory is another or lies beneath it. It compares what they are, not what they are
// called.
func Within(dir string, top fs.FileInfo) (bool, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false, err
	}
	for {
		fi, err := os.Stat(dir)
		if err != nil {
			return false, err // not covered: only if the directory goes away meanwhile
		}
		if os.SameFile(fi, top) {
			return true, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return false, nil
		}
		dir = parent
	}
}

func checkFile(f *os.File) error {
	fi, err := f.Stat()
	switch {
	case err != nil:
		return Cause(err)
	case !fi.Mode().IsRegular():
		return errors.New("it is not a regular file")
	case runtime.GOOS != "windows" && fi.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("mode %04o, expected 0600", fi.Mode().Perm())
	}
	return checkOwner(fi)
}

// Read reads a file of this process's user or root that others cannot read, of at most that many bytes. It follows no
// link. The error matches fs.ErrNotExist where there is none.
func Read(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openNoFollow, 0)
	if err != nil {
		return nil, Cause(err)
	}
	defer f.Close() //nolint:errcheck // only read from
	if err := checkFile(f); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(content)) > most {
		return nil, fmt.Errorf("it has more than %d bytes", most)
	}
	return content, Cause(err)
}

// Replace writes a file whole or not at all, in steps that are each run by do: between any two of them the machine may
// stop. The temporary file has one name, for the holder of the lock, so that crashes leave no heap of them.
func Replace(path string, content []byte, do func(name string, step func() error) error) error {
	var f *os.File
	tmp := path + ".tmp"
	steps := []struct {
		name string
		step func() error
	}{
		{"create", func() (err error) {
			if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			f, err = os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|openNoFollow, 0o600)
			return err
		}},
		{"write", func() error { return onlyError(io.Copy(f, bytes.NewReader(content))) }},
		{"sync", func() error { return f.Sync() }},
		{"close", func() error { return f.Close() }},
		{"rename", func() error { return os.Rename(tmp, path) }},
		{"sync directory", func() error { return SyncDir(filepath.Dir(path)) }},
	}
	for _, s := range steps {
		if err := do(s.name, s.step); err != nil {
			if f != nil {
				_ = f.Close() // a second time after the step "close": an error of no interest
			}
			return err
		}
	}
	return nil
}

// Do runs every step of [Replace].
func Do(_ string, step func() error) error { return step() }

func onlyError(_ int64, err error) error { return err }

// Cause drops the path that the caller names anyway.
func Cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
