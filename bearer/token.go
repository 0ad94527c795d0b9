package bearer

import (
	"errors"
	"fmt"

	"github.com/llorch/secrets-management/secret"
)

// What a caller may branch on, with errors.Is. No text holds a part of a token.
var (
	ErrConfig    = errors.New("bearer: configuration")
	ErrToken     = errors.New("bearer: token cannot be used")
	ErrBind      = errors.New("bearer: refused to listen")
	ErrOrigin    = errors.New("bearer: not the origin that the token is for")
	ErrCleartext = errors.New("bearer: the token would be readable on its way")
	ErrHeader    = errors.New("bearer: the request has an Authorization header")
)

const (
	// MaxToken is the length of the longest token in bytes: what is longer is refused without being looked at.
	MaxToken = 4096

	// MinNetworkToken is the length in bytes that a token needs before [Listen] takes an address that others can reach: 128
	// bits as hexadecimal digits. Whoever connects may guess for as long as he likes.
	MinNetworkToken = 32
)

// usable says whether a secret can be a token at all. One that no client could send would lock everybody out, and one
// that cannot be a header value would fail at the first request instead of at the start.
func usable(s *secret.Secret) (length int, err error) {
	err = s.Use(func(b []byte) error {
		length = len(b)
		switch {
		case len(b) > MaxToken:
			return fmt.Errorf("%w: %d bytes, at most %d", ErrToken, len(b), MaxToken)
		case !token68(b):
			return fmt.Errorf("%w: a token is letters, digits and -._~+/ with = at its end (RFC 6750, section 2.1)", ErrToken)
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrToken) {
		err = fmt.Errorf("%w: %w", ErrToken, err)
	}
	return length, err
}

// token68 is the b64token of RFC 6750, section 2.1. How long it takes says where the first wrong character is, which is
// for whoever sent it no secret.
func token68[T string | []byte](s T) bool {
	end := len(s)
	for end > 0 && s[end-1] == '=' {
		end--
	}
	for i := range end {
		if !tokenChar(s[i]) {
			return false
		}
	}
	return end > 0
}

func tokenChar(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	case c == '-', c == '.', c == '_', c == '~', c == '+', c == '/':
		return true
	}
	return false
}
