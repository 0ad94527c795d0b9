package secret

import (
	"errors"
	"fmt"
)

// Encoding is how the text of a key spells its [KeySize] bytes. The caller names it: nothing guesses, because most hex
// digits are base64 characters too. The zero value is [Hex].
type Encoding string

const (
	// Hex is 64 hexadecimal digits, upper or lower case.
	Hex Encoding = "hex"
	// Base64 is 44 characters of the standard alphabet (RFC 4648, section 4), or 43 without the padding.
	Base64 Encoding = "base64"
	// Base64URL is 44 characters of the URL-safe alphabet (RFC 4648, section 5), or 43 without the padding.
	Base64URL Encoding = "base64url"
)

// DecodeKey makes a key from a secret that spells it in the encoding e, under the options of s. White space around the
// text is not accepted: see [TrimSpace]. It does not close s; no character leaves the arena, or decides on a branch or a
// memory access. Base64 must be canonical: the bits of the last character that belong to no byte are zero, so that one
// key has one spelling but for the padding (and the case of hex digits).
//
// Errors: [ErrInvalidFormat] for another length, a character outside of the alphabet, or an unknown encoding;
// [ErrClosed]; those of [NewKey]. None says which character is wrong.
func DecodeKey(s *Secret, e Encoding) (*Key, error) {
	var k *Key
	err := s.Use(func(text []byte) (err error) {
		decode, err := e.decoder(len(text))
		if err != nil {
			return err
		}
		k, err = s.Options().NewKey(func(buf []byte) (err error) {
			erasing(func() { err = decode(buf, text) })
			return err
		})
		return err
	})
	if err != nil {
		// The key exists, and must not be left behind, if s was closed meanwhile and found corrupted.
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// DecodeHexKey is [DecodeKey] for [Hex].
func DecodeHexKey(s *Secret) (*Key, error) { return DecodeKey(s, Hex) }

// decoder returns the function that decodes a text of n characters, which it takes to have that length.
func (e Encoding) decoder(n int) (func(dst, text []byte) error, error) {
	switch e {
	case Hex, "":
		if n != 2*KeySize {
			return nil, fmt.Errorf("%w: a key is %d hex digits, not %d characters", ErrInvalidFormat, 2*KeySize, n)
		}
		return decodeHex, nil
	case Base64, Base64URL:
		if n != base64Size && n != base64Size+1 {
			return nil, fmt.Errorf("%w: a key is %d base64 characters, %d with padding, not %d",
				ErrInvalidFormat, base64Size, base64Size+1, n)
		}
		if e == Base64URL {
			return decodeBase64URL, nil
		}
		return decodeBase64Std, nil
	default:
		return nil, fmt.Errorf("%w: unknown encoding %q", ErrInvalidFormat, string(e))
	}
}
