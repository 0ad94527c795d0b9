// Package sign signs policy bundles, as minisign does. It is for tools: services verify, with [policy.Verifier], and do
// not link the key derivation that a key file needs.
package sign

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"aead.dev/minisign"

	"github.com/llorch/secrets-management/policy"
)

// ErrKey is matched when a key file cannot be read, or not with that password.
var ErrKey = errors.New("secret key of no use")

// Key is a minisign secret key. Nothing prints it. It is safe for concurrent use.
type Key struct {
	public policy.PublicKey
	sign   func(archive []byte, comment string) []byte // a function, because nothing can look inside
}

// ParseKey reads a key file that `minisign -G` wrote. The password is ignored where the file has none (`minisign -G -W`).
// Reading one with a password takes seconds and 1 GiB of memory: that is its protection. The error matches ErrKey.
func ParseKey(file []byte, password string) (*Key, error) {
	var k minisign.PrivateKey
	var err error
	if minisign.IsEncrypted(file) {
		k, err = minisign.DecryptKey(password, file)
	} else {
		err = k.UnmarshalText(file)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return newKey(k)
}

func newKey(k minisign.PrivateKey) (*Key, error) {
	public, ok := k.Public().(minisign.PublicKey)
	if !ok { // unreachable: the library gives nothing else
		return nil, ErrKey
	}
	parsed, err := policy.ParsePublicKey(public.String())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return &Key{parsed, func(archive []byte, comment string) []byte {
		r := minisign.NewReader(bytes.NewReader(archive))
		_, _ = io.Copy(io.Discard, r) // from memory to nowhere: it cannot fail
		return r.SignWithComments(k, comment, "signature of a secrets-management policy bundle")
	}}, nil
}

// Public is the key that verifies what this one signs.
func (k *Key) Public() policy.PublicKey { return k.public }

// Sign returns the signature file for a bundle's archive. Equal arguments give equal files. The error matches
// policy.ErrStatement: the statement has to have a valid name and a time.
func (k *Key) Sign(archive []byte, s policy.Statement) ([]byte, error) {
	comment, err := s.MarshalText()
	if err != nil {
		return nil, err
	}
	return k.sign(archive, string(comment)), nil
}

// Generate makes a new key: the file of the secret one, as [ParseKey] takes it, and that of the public one, as
// `minisign -G` writes both. The secret one is encrypted under a password unless that is empty, which takes seconds and
// 1 GiB of memory.
func Generate(password string) (secretFile, publicFile []byte, err error) {
	public, k, err := minisign.GenerateKey(nil)
	if err != nil {
		return nil, nil, err // not covered: the system's random source does not fail
	}
	if password == "" {
		secretFile, err = k.MarshalText()
	} else {
		secretFile, err = minisign.EncryptKey(password, k)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	publicFile, err = public.MarshalText()
	return append(secretFile, '\n'), append(publicFile, '\n'), err
}

// NeedsPassword reports whether a key file can be read only with the password that it was made with.
func NeedsPassword(file []byte) bool { return minisign.IsEncrypted(file) }
