package remote

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

const (
	bearer   = "Bearer "
	maxToken = 16 << 10
)

// tokenGrammar is what a bearer token may be (RFC 6750, section 2.1).
var tokenGrammar = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// authorization loads the token for one check. net/http takes a string, so the token leaves locked memory here.
func (s *server) authorization(ctx context.Context) (string, error) {
	if s.token == nil {
		return "", nil
	}
	token, err := s.token(ctx)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrToken, err)
	}
	defer token.Close() //nolint:errcheck // never fails
	var header string
	err = token.Use(func(b []byte) error {
		if len(b) > maxToken || !tokenGrammar.Match(b) {
			return errors.New("not of the characters that a bearer token may have (RFC 6750)")
		}
		header = bearer + string(b)
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrToken, err)
	}
	return header, nil
}

// sameOrigin reports whether two addresses have the same scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
