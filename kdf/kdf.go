package kdf

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"unicode/utf8"

	"github.com/llorch/secrets-management/secret"
)

// MaxDomain is the length of the longest domain in bytes. Labels are short: a longer one is a mistake.
const MaxDomain = 1024

// ErrDerivation says that no key can be derived for this domain, or by the cryptography in force.
var ErrDerivation = errors.New("kdf: key derivation")

// Derive returns the key of token for domain, which is neither empty nor longer than [MaxDomain], valid UTF-8, and named
// in errors. It does not close token. It is safe for concurrent use.
//
// Errors: [ErrDerivation] for a bad domain, and under GODEBUG=fips140=only for a token under 14 bytes;
// [secret.ErrInvalidFormat] for a nil token; [secret.ErrClosed] for a closed one; those of [secret.NewKey]. The key is made
// under the options of token: locked memory that was required for one is required for the other.
func Derive(token *secret.Secret, domain string) (*secret.Key, error) {
	if err := checkDomain(domain); err != nil {
		return nil, err
	}
	if token == nil {
		return nil, fmt.Errorf("%w: empty token", secret.ErrInvalidFormat)
	}
	var key *secret.Key
	err := token.Use(func(b []byte) (err error) {
		key, err = token.Options().NewKey(func(buf []byte) error { return derive(buf, b, nil, domain) })
		return err
	})
	if err != nil {
		// The key exists, and must not be left behind, if token was closed meanwhile and found corrupted.
		return nil, errors.Join(err, key.Close())
	}
	return key, nil
}

func checkDomain(domain string) error {
	switch {
	case domain == "":
		return fmt.Errorf("%w: empty domain", ErrDerivation)
	case len(domain) > MaxDomain:
		return fmt.Errorf("%w: domain of %d bytes, at most %d", ErrDerivation, len(domain), MaxDomain)
	case !utf8.ValidString(domain):
		return fmt.Errorf("%w: domain %q is not UTF-8", ErrDerivation, domain)
	}
	return nil
}

// derive fills dst with HKDF-SHA256 output.
func derive(dst, token, salt []byte, domain string) error {
	if len(token) == 0 { // no such secret can be made, and RFC 5869 would derive a key that everybody knows
		return fmt.Errorf("%w: empty token", secret.ErrInvalidFormat)
	}
	var used digests
	defer used.overwrite()
	var err error
	erasing(func() {
		var out []byte
		if out, err = hkdf.Key(used.add, token, salt, domain, len(dst)); err == nil {
			copy(dst, out)
			secret.Wipe(out)
		}
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDerivation, err)
	}
	return nil
}

// digests remembers the digests that crypto/hkdf asks for. They are on the Go heap and keep the last block that they
// hashed: for a token under 64 bytes, all of it.
type digests []hash.Hash

func (d *digests) add() hash.Hash {
	h := sha256.New()
	*d = append(*d, h)
	return h
}

func (d *digests) overwrite() {
	zeros := make([]byte, sha256.BlockSize)
	for _, h := range *d {
		h.Reset()
		// Two writes: one alone would be hashed from where it is, without a copy into the digest's buffer.
		h.Write(zeros[1:])
		h.Write(zeros[:1])
		h.Reset()
	}
}
