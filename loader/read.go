package loader

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/llorch/secrets-management/internal/facts"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

// The floor that no policy lowers.
const (
	maxSecretBytes = 1 << 20
	maxKeyBytes    = 1 << 10
)

// limits of what may be read, in bytes: the floor, and the obligations and the service's own wish where they are stricter.
func (a *attempt) limits() (most, least int64) {
	most = maxSecretBytes
	if a.req.Action == policy.LoadKey {
		most = maxKeyBytes
	}
	o := a.decision.Obligations()
	if o.MaxBytes > 0 {
		most = min(most, o.MaxBytes)
	}
	return most, max(o.MinLength, int64(a.minLength))
}

// read takes the content straight into a secret, from the inode that was decided on.
func (a *attempt) read(ctx context.Context) (*secret.Secret, error) {
	most, least := a.limits()
	size := a.req.Resource.File.Size
	switch {
	case a.ref.source != policy.SourceEnv && a.req.Resource.File.Type != "regular":
		return nil, fmt.Errorf("%w: not a regular file", ErrPath)
	case size > most:
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrInvalidFormat, size, most)
	case size == 0:
		return nil, fmt.Errorf("%w: empty", ErrInvalidFormat)
	}
	s, err := a.memory().New(int(size)+1, func(buf []byte) (int, error) {
		n, err := a.fill(ctx, buf)
		if err != nil {
			return 0, err
		}
		n = secret.TrimSpace(buf[:n])
		switch {
		case n == 0:
			return 0, fmt.Errorf("%w: empty but for white space", ErrInvalidFormat)
		case int64(n) < least:
			return 0, fmt.Errorf("%w: %d bytes, at least %d are demanded", ErrInvalidFormat, n, least)
		}
		return n, nil
	})
	demanded := a.decision.Obligations().MinMemory
	switch {
	case err == nil && protects(s.Level(), demanded):
		return s, nil
	case err == nil:
		_ = s.Close()
	case !errors.Is(err, secret.ErrNotLocked) || protects(secret.LevelHeap, demanded):
		return nil, err
	}
	return nil, a.refuse(StageRead, []string{"weak_memory"})
}

// memory is what every buffer that the content comes into must have.
func (a *attempt) memory() secret.Options {
	return secret.Options{RequireLocked: a.l.config.RequireLocked || !protects(secret.LevelHeap, a.decision.Obligations().MinMemory)}
}

func (a *attempt) fill(ctx context.Context, buf []byte) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if a.ref.source == policy.SourceEnv {
		value, _ := lookupEnv(a.ref.value)
		if len(value) != len(buf)-1 {
			return 0, ErrChanged
		}
		return copy(buf, value), nil
	}
	f, err := a.target.Open()
	if err != nil {
		return 0, a.changed(err)
	}
	defer f.Close() //nolint:errcheck // only read
	n, err := readAll(f, buf)
	if err != nil {
		return 0, err
	}
	// A clock that is coarser than a write hides one that came in between: the bytes must say the same twice.
	again, err := a.memory().New(len(buf), func(second []byte) (int, error) {
		m, err := readAll(f, second)
		if err == nil && (m != n || subtle.ConstantTimeCompare(second[:m], buf[:n]) != 1) {
			err = ErrChanged
		}
		return m, err
	})
	if err != nil {
		return 0, err
	}
	return n, errors.Join(again.Close(), a.changed(a.target.Unchanged(f)))
}

func (a *attempt) changed(err error) error {
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, facts.ErrChanged):
		return ErrChanged
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("uid %d may not read it: %w", a.req.Subject.UID, err)
	}
	return fmt.Errorf("reading: %w", err)
}

// readAll reads the file from its start. buf has room for one byte more than was decided on; filling it, or not quite
// reaching that size, means that the file changed.
func readAll(f io.ReaderAt, buf []byte) (n int, err error) {
	for n < len(buf)-1 && err == nil {
		var more int
		more, err = f.ReadAt(buf[n:], int64(n))
		n += more
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return 0, fmt.Errorf("reading: %w", err)
	case n != len(buf)-1:
		return 0, ErrChanged
	}
	return n, nil
}

// protects reports whether memory of a level satisfies what a policy demands.
func protects(have secret.Level, want policy.Memory) bool {
	rank := map[policy.Memory]int{"": 0, policy.MemoryHeap: 0, policy.MemoryLocked: 1, policy.MemorySecret: 2}
	return rank[policy.Memory(have)] >= rank[want]
}
