package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/internal/ownfile"
)

// cache is a directory with the last good bundle. An archive and its signature have a name of their own, that of no other
// pair, so that nothing is ever overwritten and no two halves of different pairs meet; the pair before is removed when the
// next one is on the disk. `secretcheck policy verify` and minisign read what is there.
type cache struct {
	dir string
	do  func(name string, step func() error) error // runs each step that writes: between any two the machine may stop
}

const (
	archiveSuffix = ".tar.gz"
	lockName      = "lock"
	maxWait       = 5 * time.Second // for the lock, which others hold for one write
	maxTried      = 8               // of pairs, at a start; there is one, or two after a crash
)

// pairName begins with the revision, so that sorting finds the newest. It is a hint: what counts is what was signed.
var pairName = regexp.MustCompile(`^[0-9]{20}-[0-9a-f]{32}\.tar\.gz$`)

func nameOf(revision uint64, signature []byte) string {
	sum := sha256.Sum256(signature)
	return fmt.Sprintf("%020d-%x%s", revision, sum[:16], archiveSuffix)
}

func do(name string, step func() error) error { return ownfile.Do(name, step) }

func (c cache) path(name string) string { return filepath.Join(c.dir, name) }

// archive reads a kept archive again.
func (c cache) archive(path string, most int64) ([]byte, error) {
	content, err := ownfile.Read(path, most)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrCache, path, err)
	}
	return content, nil
}

// keep writes a pair, unless it is there, and then removes those that it replaces. It returns the archive's path. The error
// matches ErrCache; a pair before is there then, unless the new one is.
func (c cache) keep(ctx context.Context, revision uint64, archive, signature []byte) (string, error) {
	name := nameOf(revision, signature)
	if err := c.write(ctx, name, archive, signature); err != nil {
		return "", fmt.Errorf("%w: %q: what is in force is not kept as it should be, a start without the server may fail: %w", ErrCache, c.dir, err)
	}
	return c.path(name), nil
}

func (c cache) write(ctx context.Context, name string, archive, signature []byte) error {
	if err := ownfile.CheckDir(c.dir); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	unlock, err := ownfile.Lock(ctx, c.path(lockName))
	if err != nil {
		return fmt.Errorf("lock: %w", ownfile.Cause(err))
	}
	defer unlock()
	for _, f := range []struct {
		name    string
		content []byte
	}{{name, archive}, {name + policy.SignatureSuffix, signature}} {
		if err := c.put(f.name, f.content); err != nil {
			return fmt.Errorf("%q: %w", f.name, ownfile.Cause(err))
		}
	}
	if err := c.removeOlder(name); err != nil {
		return fmt.Errorf("what it replaces: %w", ownfile.Cause(err))
	}
	return nil
}

// put writes a file that is not there yet. What a full disk left of it is removed, to give the room back.
func (c cache) put(name string, content []byte) error {
	path := c.path(name)
	if there, err := ownfile.Read(path, int64(len(content))); err == nil && bytes.Equal(there, content) {
		return nil
	}
	err := ownfile.Replace(path, content, c.do)
	if err != nil {
		_ = c.remove(filepath.Base(path) + ".tmp") // the error before it counts
	}
	return err
}

// removeOlder removes pairs of the same revision and of lower ones, and what a crash left of them. A pair that another
// process wrote since is newer and stays.
func (c cache) removeOlder(name string) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return ownfile.Cause(err)
	}
	var failed []error
	for _, e := range entries {
		pair := strings.TrimSuffix(strings.TrimSuffix(e.Name(), ".tmp"), policy.SignatureSuffix)
		if !pairName.MatchString(pair) || pair[:20] > name[:20] || pair == name && !strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		failed = append(failed, c.remove(e.Name()))
	}
	return errors.Join(failed...)
}

func (c cache) remove(name string) error {
	err := c.do("remove", func() error { return os.Remove(c.path(name)) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// first calls use with the pairs that are there, the newest first, until one is taken. The error says what was wrong with
// each. A pair that another process removes meanwhile has a newer one in its place, so that the directory is read again.
func (c cache) first(use func(path string, archive, signature []byte) error) error {
	var err error
	for range 3 {
		if err = c.pass(use); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %q: %w", ErrCache, c.dir, err)
	}
	return nil
}

func (c cache) pass(use func(path string, archive, signature []byte) error) error {
	names, err := c.names()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errors.New("there is none; the first start on a host needs the server")
	}
	var bad []error
	for _, name := range names {
		archive, signature, err := c.pair(name)
		if err == nil {
			err = use(c.path(name), archive, signature)
		}
		if err == nil {
			return nil
		}
		bad = append(bad, fmt.Errorf("%q: %w", name, err))
	}
	return errors.Join(bad...)
}

func (c cache) pair(name string) (archive, signature []byte, err error) {
	if signature, err = ownfile.Read(c.path(name+policy.SignatureSuffix), maxSignature); err != nil {
		return nil, nil, err
	}
	archive, err = ownfile.Read(c.path(name), maxMaxBytes)
	return archive, signature, err
}

// names lists the archives that have a signature, the newest first.
func (c cache) names() ([]string, error) {
	if err := ownfile.CheckDir(c.dir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, ownfile.Cause(err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), policy.SignatureSuffix); ok && pairName.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	slices.Reverse(names)
	return names[:min(len(names), maxTried)], nil
}
