// Package statefile remembers the highest revision of a policy that was ever in force, across restarts and for every
// process of a service. A file that cannot be understood is an error and never a start from nothing: whoever can damage
// it must not be able to bring an old policy back.
package statefile

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"time"

	"github.com/llorch/secrets-management/policy/internal/ownfile"
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
	if err := ownfile.CheckPlace(path); err != nil {
		return State{}, err
	}
	content, err := ownfile.Read(path, maxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, errMissing
	}
	if err != nil {
		return State{}, err
	}
	return parse(content)
}

var errMissing = fmt.Errorf("%w; Verifier.CreateState lets the first activation on a host create it", fs.ErrNotExist)

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
	unlock, err := ownfile.Lock(ctx, path+".lock")
	if err != nil {
		return fmt.Errorf("%w: %q: lock: %w", ErrState, path, ownfile.Cause(err))
	}
	defer unlock()
	if done, err := compare(path, s, create); done || err != nil { // another process may have come before
		return err
	}
	if err := ownfile.Replace(path, s.marshal(), ownfile.Do); err != nil {
		return fmt.Errorf("%w: %q: %w", ErrState, path, ownfile.Cause(err))
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
