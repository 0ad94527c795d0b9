package bearer

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/llorch/secrets-management/secret"
)

// Client says where a token goes, and nowhere else. It is read once, by [Client.Transport].
type Client struct {
	Origin string            // "https://HOST" or "https://HOST:PORT"; "http://127.0.0.1:PORT" on this machine; required
	Token  *secret.Secret    // stays the caller's to close; requests fail once it is
	Base   http.RoundTripper // what sends the requests; nil is http.DefaultTransport

	// Cleartext allows http to an address that is not this machine, where everybody on the way can read the token: for a
	// network that encrypts by itself.
	Cleartext bool
}

// Transport gives an [http.RoundTripper] that adds the token to every request for the origin. A request for any other, such
// as a redirect makes, is [ErrOrigin] and is not sent; one that has an Authorization header already is [ErrHeader]. It is safe
// for concurrent use.
//
// Errors: [ErrConfig], [ErrCleartext], [ErrToken].
func (c Client) Transport() (http.RoundTripper, error) {
	u, err := url.Parse(c.Origin)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" || u.Opaque != "" {
		return nil, fmt.Errorf("%w: an origin is https://HOST[:PORT] and nothing else", ErrConfig) // not quoted: it may hold a password
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && (c.Cleartext || isThisMachine(u.Hostname())):
	case u.Scheme == "http":
		return nil, fmt.Errorf("%w: %s: use https, or the address 127.0.0.1 for this machine", ErrCleartext, u.Host)
	default:
		return nil, fmt.Errorf("%w: an origin is https://HOST[:PORT] and nothing else", ErrConfig)
	}
	if _, err := usable(c.Token); err != nil {
		return nil, err
	}
	t := &transport{origin: originOf(u), token: c.Token, base: c.Base}
	if t.base == nil {
		t.base = http.DefaultTransport
	}
	return t, nil
}

// isThisMachine takes addresses alone: what "localhost" is, a resolver says.
func isThisMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// originOf is the scheme, host and port of a URL in one spelling (RFC 6454, section 4).
func originOf(u *url.URL) string {
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

type transport struct {
	origin string
	token  *secret.Secret
	base   http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.mayHave(r); err != nil {
		return nil, refused(r, err)
	}
	out := r.Clone(r.Context())
	if out.Header == nil {
		out.Header = http.Header{}
	}
	err := t.token.Use(func(b []byte) error {
		out.Header.Set("Authorization", "Bearer "+string(b))
		return nil
	})
	if err != nil {
		return nil, refused(r, fmt.Errorf("%w: %w", ErrToken, err))
	}
	res, err := t.base.RoundTrip(out)
	if res != nil {
		res.Request = r // which has no token, and is what callers look at and log
	}
	return res, err
}

// mayHave says whether the token is for this request.
func (t *transport) mayHave(r *http.Request) error {
	switch {
	case r.URL == nil || originOf(r.URL) != t.origin || r.Host != "" && !strings.EqualFold(r.Host, r.URL.Host):
		return fmt.Errorf("%w, which is %s", ErrOrigin, t.origin)
	case r.Header["Authorization"] != nil || r.URL.User != nil:
		return ErrHeader
	}
	return nil
}

// refused closes the body, as a RoundTripper must.
func refused(r *http.Request, err error) error {
	if r.Body != nil {
		if cerr := r.Body.Close(); cerr != nil {
			return fmt.Errorf("%w; and its body: %w", err, cerr)
		}
	}
	return err
}
