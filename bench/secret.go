package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/awnumar/memguard"

	"github.com/llorch/secrets-management/secret"
)

const token = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_" // 64 bytes

func secretRatios() []ratio {
	return []ratio{
		{name: "secret_lifecycle_vs_memguard", limit: 0.10, measure: lifecycle},
		{name: "secret_locked_mib_10k", limit: 4, measure: lockedMiB},
		{name: "verify_vs_hmac", limit: 2, measure: verify},
		{name: "verify_allocs", limit: 0, measure: withSecret(func(s *secret.Secret) (float64, error) {
			return allocations(func() { s.Verify(token) }), nil
		})},
		{name: "use_allocs", limit: 0, measure: withSecret(func(s *secret.Secret) (float64, error) {
			return allocations(func() { _ = s.Use(ignore) }), nil
		})},
		{name: "verify_scaling_2", atLeast: true, limit: 0.85, measure: withSecret(func(s *secret.Secret) (float64, error) {
			return scaling(func(int) { s.Verify(token) })
		})},
		{name: "use_scaling_2", atLeast: true, limit: 0.85, measure: useScaling},
	}
}

func ignore([]byte) error { return nil }

func fill(buf []byte) (int, error) { return copy(buf, token), nil }

// once creates and closes a secret, and remembers the first error.
func once(failed *error) func() {
	return func() {
		s, err := secret.New(len(token), fill)
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			*failed = err
		}
	}
}

func withSecret(f func(*secret.Secret) (float64, error)) func() (float64, error) {
	return func() (float64, error) {
		s, err := secret.New(len(token), fill)
		if err != nil {
			return 0, err
		}
		if !s.Verify(token) {
			return 0, errors.New("does not verify")
		}
		value, err := f(s)
		return value, errors.Join(err, s.Close())
	}
}

// lifecycle: to create and close a secret of 64 bytes.
func lifecycle() (float64, error) {
	var failed error
	src := make([]byte, len(token))
	value := compare(once(&failed), func() {
		copy(src, token) // memguard wipes it
		b := memguard.NewBufferFromBytes(src)
		if b.Size() != len(token) {
			failed = errors.New("memguard made no buffer")
		}
		b.Destroy()
	})
	return value, failed
}

// lockedMiB: what the kernel counts as locked for 10,000 secrets of 64 bytes, guard pages included.
func lockedMiB() (_ float64, err error) {
	before, err := statusKiB("VmLck:")
	if err != nil {
		return 0, err
	}
	for range 10_000 {
		s, err := secret.Options{RequireLocked: true}.New(len(token), fill)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
	}
	after, err := statusKiB("VmLck:")
	if err == nil && after-before < 10_000*len(token)/1024 {
		err = fmt.Errorf("%d KiB locked, which is less than the secrets", after-before)
	}
	return float64(after-before) / 1024, err
}

// verify: Verify of 64 bytes against one HMAC-SHA256 of 64 bytes by the standard library.
func verify() (float64, error) {
	key, msg := []byte(strings.Repeat("k", 32)), []byte(token)
	var sum [sha256.Size]byte
	return withSecret(func(s *secret.Secret) (float64, error) {
		return compare(func() { s.Verify(token) }, func() {
			h := hmac.New(sha256.New, key)
			h.Write(msg)
			h.Sum(sum[:0])
		}), nil
	})()
}

// useScaling: each goroutine uses a secret of its own.
func useScaling() (float64, error) {
	other, err := secret.New(len(token), fill)
	if err != nil {
		return 0, err
	}
	value, err := withSecret(func(s *secret.Secret) (float64, error) {
		secrets := [2]*secret.Secret{s, other}
		return scaling(func(g int) { _ = secrets[g].Use(ignore) })
	})()
	return value, errors.Join(err, other.Close())
}
