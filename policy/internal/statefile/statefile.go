// Package statefile remembers the highest revision of a policy that was ever in force, across restarts and for every
// process of a service. A file that cannot be understood is an error and never a start from nothing: whoever can damage
// it must not be able to bring an old policy back.
package statefile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Errors of this package, for errors.Is.
var (
	// ErrState is matched when a state file is missing, torn, somebody else's, or cannot be written.
	ErrState = errors.New("policy state file is of no use")

	// ErrOlder is returned by [Raise] when the file holds a higher revision.
	ErrOlder = errors.New("older than the recorded one")
)

// State is what a state file holds.
type State struct {
	Name     string // of the policy
	Revision uint64
}

// maxSize bounds a state file: the longest has fewer bytes.
const maxSize = 512

// maxName bounds the name of a policy, in bytes.
const maxName = 64

// maxWait bounds the wait for the lock, which others hold for one write of one line.
const maxWait = 5 * time.Second

// grammar is the whole file. The sum covers what stands before it, so that neither a cut nor a changed digit passes.
var grammar = regexp.MustCompile(`^(secrets-policy-state/v1 name=([a-z0-9._-]+) revision=(0|[1-9][0-9]*)) sum=([0-9a-f]+)\n$`)

func (s State) marshal() []byte {
	text := fmt.Sprintf("secrets-policy-state/v1 name=%s revision=%d", s.Name, s.Revision)
	return []byte(text + " sum=" + sum(text) + "\n")
}

func sum(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

func parse(content []byte) (State, error) {
	m := grammar.FindSubmatch(content)
	if m == nil || len(m[2]) > maxName {
		return State{}, errors.New("it is empty, torn, or no state file")
	}
	if sum(string(m[1])) != string(m[4]) {
		return State{}, errors.New("its sum does not match")
	}
	revision, err := strconv.ParseUint(string(m[3]), 10, 64)
	if err != nil {
		return State{}, errors.New("its revision is out of range")
	}
	return State{string(m[2]), revision}, nil
}

// Read returns what is recorded. The error matches ErrState, and fs.ErrNotExist where there is no file.
func Read(path string) (State, error) {
	s, err := read(path)
	if err != nil {
		return State{}, fmt.Errorf("%w: %q: %w", ErrState, path, err)
	}
	return s, nil
}

func read(path string) (State, error) {
	if err := checkPath(path); err != nil {
		return State{}, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|openNoFollow, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, errMissing
	}
	if err != nil {
		return State{}, cause(err)
	}
	defer f.Close() //nolint:errcheck // only read from
	if err := checkFile(f); err != nil {
		return State{}, err
	}
	content, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return State{}, cause(err)
	}
	return parse(content)
}

var errMissing = fmt.Errorf("%w; Verifier.CreateState lets the first activation on a host create it", fs.ErrNotExist)

// checkPath refuses a place that is not explicit, or where others could replace the file.
func checkPath(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return errors.New("the path is not absolute and clean")
	}
	dir, err := os.Stat(filepath.Dir(path))
	switch {
	case err != nil:
		return cause(err)
	case !dir.IsDir():
		return errors.New("its directory is none")
	case runtime.GOOS != "windows" && dir.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others can write to its directory: mode %04o", dir.Mode().Perm())
	}
	if err := checkOwner(dir); err != nil {
		return err
	}
	return checkWay(filepath.Dir(path), maxLinks)
}

const maxLinks = 40

// checkWay refuses a directory that others could put another in the place of: who can write to one above it can rename what
// is in there, unless it is sticky, and who owns a link leads it elsewhere.
func checkWay(dir string, links int) error {
	for {
		fi, err := os.Lstat(dir)
		switch {
		case err != nil:
			return cause(err)
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
		return cause(err)
	}
	if !filepath.IsAbs(target) {
		target = parent(link) + string(filepath.Separator) + target
	}
	real, err := filepath.EvalSymlinks(link)
	if err != nil {
		return cause(err)
	}
	return errors.Join(checkWay(target, links), checkWay(real, links))
}

func checkFile(f *os.File) error {
	fi, err := f.Stat()
	switch {
	case err != nil:
		return cause(err)
	case !fi.Mode().IsRegular():
		return errors.New("it is not a regular file")
	case runtime.GOOS != "windows" && fi.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("mode %04o, expected 0600", fi.Mode().Perm())
	}
	return checkOwner(fi)
}

// Raise records a revision unless a higher one is recorded. It is safe against other processes that do the same: a
// recorded revision never falls. A missing file is created only where create is set. The error matches ErrOlder,
// ErrState, or the context's while another process holds
// the lock, for at most 5 seconds. A crash at any moment leaves the file as it was or as
// it shall be.
func Raise(ctx context.Context, path string, s State, create bool) error {
	if done, err := compare(path, s, create); done || err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	unlock, err := lock(ctx, path+".lock")
	if err != nil {
		return fmt.Errorf("%w: %q: lock: %w", ErrState, path, cause(err))
	}
	defer unlock()
	if done, err := compare(path, s, create); done || err != nil { // another process may have come before
		return err
	}
	if err := replace(path, s.marshal(), func(_ string, step func() error) error { return step() }); err != nil {
		return fmt.Errorf("%w: %q: %w", ErrState, path, cause(err))
	}
	return nil
}

// compare reports whether there is nothing left to write.
func compare(path string, s State, create bool) (done bool, err error) {
	recorded, err := Read(path)
	switch {
	case create && errors.Is(err, errMissing):
		return false, nil
	case err != nil:
		return false, err
	}
	if err := recorded.admits(path, s); err != nil {
		return false, err
	}
	return recorded == s, nil
}

// admits reports what keeps s from following r.
func (r State) admits(path string, s State) error {
	switch {
	case r.Name != s.Name:
		return fmt.Errorf("%w: %q: it belongs to the policy %q, not to %q", ErrState, path, r.Name, s.Name)
	case r.Revision > s.Revision:
		return fmt.Errorf("revision %d is %w, %d in %q", s.Revision, ErrOlder, r.Revision, path)
	}
	return nil
}

// Admit reports whether [Raise] would record s, without writing anything.
func Admit(path string, s State, create bool) error {
	_, err := compare(path, s, create)
	return err
}

// replace writes a file whole or not at all, in steps that are each run by do: between any two of them the machine may
// stop. The temporary file has one name, for the holder of the lock, so that crashes leave no heap of them.
func replace(path string, content []byte, do func(name string, step func() error) error) error {
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
		{"sync directory", func() error { return syncDir(filepath.Dir(path)) }},
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

func onlyError(_ int64, err error) error { return err }

// cause drops the path that the caller names anyway.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
