package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

const (
	maxRedirects = 5
	maxHeaders   = 64 << 10
	maxETag      = 256
	idle         = 90 * time.Second
)

// server is where bundles come from.
type server struct {
	bundle, signature *url.URL

	transport http.RoundTripper
	close     func()
	token     func(context.Context) (*secret.Secret, error)
	mayUse    func(*url.URL) bool
	now       func() time.Time
}

func newServer(c *WatchConfig) (*server, error) {
	bundle, signature, err := c.addresses()
	if err != nil {
		return nil, err
	}
	config := c.TLS.Clone()
	if config == nil {
		config = new(tls.Config)
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	t := &http.Transport{
		Proxy: c.Proxy, TLSClientConfig: config, DialContext: (&net.Dialer{Timeout: c.Timeout}).DialContext, TLSHandshakeTimeout: c.Timeout,
		DisableCompression: true, MaxResponseHeaderBytes: maxHeaders, MaxIdleConns: 2, IdleConnTimeout: idle,
		Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true) // of HTTP/2 two small files have nothing, and an attacker has much
	return &server{bundle, signature, t, t.CloseIdleConnections, c.Token, c.mayUse, time.Now}, nil
}

// answer is a file, or the word that it is still the same.
type answer struct {
	notModified bool
	body        []byte
	is          validators
	encoded     bool // it says that it is; nothing is decoded here
}

// hint says what may be behind a bundle that was refused.
func (a *answer) hint(err error) string {
	switch {
	case !errors.Is(err, policy.ErrSignature) && !errors.Is(err, policy.ErrSignatureFormat):
		return ""
	case a.encoded:
		return "; the server sends it with a Content-Encoding: it has to send the bytes that were signed"
	}
	return "; where one of the two files is not there yet, it is tried again"
}

// validators are a server's signs for one version of a file.
type validators struct{ etag, modified string }

func (v validators) some() bool { return v != validators{} }

// coarse is how near a change may be to an answer for another change to have the same signs: dates count whole seconds, and
// nginx makes its ETag of such a date and the size (RFC 9110, section 8.8.2.2).
const coarse = 2 * time.Second

var entityTag = regexp.MustCompile(`^(W/)?"[\x21\x23-\x7e]*"$`)

// signs reads the validators of an answer, none where they could be those of the next version as well.
func signs(h http.Header) validators {
	var v validators
	if tag := h.Get("ETag"); len(tag) <= maxETag && entityTag.MatchString(tag) {
		v.etag = tag
	}
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return v
	}
	sent, err := http.ParseTime(h.Get("Date"))
	switch {
	case err != nil:
		return v
	case sent.Sub(modified) < coarse:
		return validators{}
	}
	v.modified = modified.UTC().Format(http.TimeFormat)
	return v
}

// get asks for a file of at most that many bytes, on condition that it is not the one that is known.
func (s *server) get(ctx context.Context, u *url.URL, authorization string, known validators, most int64) (answer, error) {
	a, err := s.follow(ctx, u, authorization, known, most)
	switch {
	case err == nil:
		return a, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("%w (WatchConfig.Timeout): %w", ctx.Err(), err)
	}
	if token := strings.TrimPrefix(authorization, bearer); token != "" && repeats(err, token) {
		err = errors.New("its answer repeats the token, so it is not shown")
	}
	return answer{}, fmt.Errorf("%w: %s: %w", ErrServer, shown(u), err)
}

// repeats reports whether an error has the token, in what is cut off its text as well: a part of the token would be left.
func repeats(err error, token string) bool {
	var long cut
	return strings.Contains(err.Error(), token) || errors.As(err, &long) && strings.Contains(long.error.Error(), token)
}

// follow asks, and asks where it is sent. Redirects are followed here, since http.Client takes its credentials to other
// ports and subdomains.
func (s *server) follow(ctx context.Context, u *url.URL, authorization string, known validators, most int64) (answer, error) {
	for range maxRedirects + 1 {
		r, err := s.ask(ctx, u, authorization, known)
		if err != nil {
			return answer{}, cut{err}
		}
		to, err := s.redirect(u, r)
		if err == nil && to == nil {
			return s.read(r, known, most)
		}
		_ = r.Body.Close() // not read
		if err != nil {
			return answer{}, err
		}
		u = to
	}
	return answer{}, fmt.Errorf("more than %d redirects", maxRedirects)
}

func (s *server) ask(ctx context.Context, u *url.URL, authorization string, known validators) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, errors.New("not an address") // not covered: it was parsed
	}
	r.Header.Set("User-Agent", "secrets-management")
	r.Header.Set("Accept-Encoding", "identity")
	if known.etag != "" {
		r.Header.Set("If-None-Match", known.etag)
	}
	if known.modified != "" {
		r.Header.Set("If-Modified-Since", known.modified)
	}
	if authorization != "" && sameOrigin(u, s.bundle) {
		r.Header.Set("Authorization", authorization)
	}
	return s.transport.RoundTrip(r)
}

// redirect is where an answer leads; nil where it stays.
func (s *server) redirect(from *url.URL, r *http.Response) (*url.URL, error) {
	switch r.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return next(from, r.Header.Get("Location"), s.mayUse)
	}
	return nil, nil //nolint:nilnil // it stays
}

// next is where a redirect leads: to the same scheme, and never from an encrypted or local address to one that is not.
func next(from *url.URL, location string, mayUse func(*url.URL) bool) (*url.URL, error) {
	to, err := from.Parse(location)
	switch {
	case err != nil || location == "" || to.Host == "":
		return nil, errors.New("a redirect to nowhere")
	case to.User != nil:
		return nil, errors.New("a redirect to an address with a user")
	case to.Scheme != from.Scheme:
		return nil, fmt.Errorf("a redirect from %s to another scheme; configure the address that it leads to", from.Scheme)
	case !mayUse(to):
		return nil, errors.New("a redirect over http to another host")
	}
	return to, nil
}

// read takes the answer itself.
func (s *server) read(r *http.Response, known validators, most int64) (answer, error) {
	defer r.Body.Close() //nolint:errcheck // only read from
	switch {
	case r.StatusCode == http.StatusNotModified && known.some():
		return answer{notModified: true}, nil
	case r.StatusCode != http.StatusOK:
		return answer{}, refused(r, s.now())
	case r.ContentLength > most:
		return answer{}, fmt.Errorf("%w: it has %d bytes, at most %d are taken", policy.ErrOversized, r.ContentLength, most)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	switch {
	case err != nil:
		return answer{}, cut{err}
	case int64(len(body)) > most:
		return answer{}, fmt.Errorf("%w: it has more than %d bytes", policy.ErrOversized, most)
	}
	return answer{body: body, is: signs(r.Header), encoded: r.Header.Get("Content-Encoding") != ""}, nil
}

// refused is the error for a status that brings no file.
func refused(r *http.Response, now time.Time) error {
	err := fmt.Errorf("status %d %s", r.StatusCode, http.StatusText(r.StatusCode))
	switch {
	case r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w: see WatchConfig.Token and TLS", err)
	case r.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: see WatchConfig.URL and SignatureURL", err)
	case r.StatusCode == http.StatusTooManyRequests || r.StatusCode >= 500:
		return &retryError{err, retryAfter(r.Header, now)}
	}
	return err
}

// shown is an address without what may be a credential in it: the query of a presigned one.
func shown(u *url.URL) string {
	query := ""
	if u.RawQuery != "" {
		query = "?…"
	}
	return fmt.Sprintf("%s://%s%s%s", u.Scheme, u.Host, u.EscapedPath(), query)
}

// cut bounds the message of an error that may quote the server, and takes control characters out of it.
type cut struct{ error }

func (c cut) Error() string {
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, c.error.Error())
	return fmt.Sprintf("%.300s", text)
}

func (c cut) Unwrap() error { return c.error }
