package kdf

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
	"unicode/utf8"

	xhkdf "golang.org/x/crypto/hkdf"

	"github.com/llorch/secrets-management/secret"
)

// FuzzDerive: SM-LOAD-4003: a key is what another implementation of RFC 5869 derives, or there is none and the error says
// whose fault it is.
func FuzzDerive(f *testing.F) {
	f.Add([]byte("worker-token-0123456789"), SealKeyV1)
	f.Add([]byte("t"), "\xff")
	f.Add([]byte{}, "domain")
	f.Fuzz(func(t *testing.T, token []byte, domain string) {
		s, err := secret.FromBytes(bytes.Clone(token))
		if err != nil {
			return // no secret, no key
		}
		defer s.Close()
		got, err := keyBytes(s, domain)
		if domain == "" || len(domain) > MaxDomain || !utf8.ValidString(domain) {
			if !errors.Is(err, ErrDerivation) {
				t.Errorf("SEC-SECRET-041: domain %q: error %v", domain, err)
			}
			return
		}
		want := make([]byte, secret.KeySize)
		if _, err := io.ReadFull(xhkdf.New(sha256.New, token, nil, []byte(domain)), want); err != nil {
			t.Fatal(err)
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("SEC-SECRET-040: another key (error %v)", err)
		}
		if !s.VerifyBytes(token) {
			t.Error("SM-LOAD-4003: the token changed")
		}
	})
}
