package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/internal/ownfile"
	"github.com/llorch/secrets-management/secret"
)

// WatchConfig says what [Watch] does.
type WatchConfig struct {
	Engine   *policy.Engine  // required; new(policy.Engine) denies everything until the first good bundle
	Verifier policy.Verifier // of every bundle; its StateFile lies outside of Cache

	// URL is where the bundle is: https, or http to the host itself (localhost, 127.0.0.0/8, ::1). It may have a query, which
	// errors do not show, and no user and no fragment.
	URL string

	// SignatureURL is where its signature is. Default: URL with [policy.SignatureSuffix] behind the path.
	SignatureURL string

	// Cache is the absolute path of a directory for the last good bundle, such as systemd's CacheDirectory= makes. It and all
	// above it belong to the service or root and can be written by nobody else, unless they are sticky.
	Cache string

	Interval time.Duration // between two questions, give or take a quarter. Default 1 minute, at least 1 second, at most 24 hours

	// Timeout bounds one check: both files and the redirects to them. Default 10 s, at least 100 ms, at most 10 minutes. Where
	// nothing is kept, Watch tries as long as this before it gives up.
	Timeout time.Duration

	MaxBytes int64 // of the bundle. Default 16 MiB, at most 96 MiB, which is what a bundle may have

	// Token loads a bearer token, before each check, so that one that was rotated is found; it is closed after. Nil sends
	// none. It goes to the scheme, host and port of URL and nowhere else, whatever a redirect or SignatureURL says. For
	// the check, the token lies in ordinary memory as well, as the header that it is sent in. Load it with an engine of
	// its own, such as policy.Default gives: the one that is watched denies everything until it has a bundle.
	Token func(context.Context) (*secret.Secret, error)

	// TLS is what a connection is made with: RootCAs, a client certificate. Nil trusts the system's CAs. A version below
	// 1.2 and InsecureSkipVerify are refused.
	TLS *tls.Config

	// Proxy names a proxy for a request; http.ProxyFromEnvironment is one that does. Nil uses none: the environment
	// does not choose where policies come from.
	Proxy func(*http.Request) (*url.URL, error)

	// PlainHTTP allows http to other hosts, without a Token. Everyone in between can then see the policy and withhold a
	// newer one.
	PlainHTTP bool

	// Notify is called when the state of a Watcher changed: a bundle came into force, the server or what it has went bad
	// for another reason, or is good again. It is never called twice at once, and must return soon. It may be nil.
	Notify func(Status)
}

// Defaults and bounds; the fields of WatchConfig state them.
const (
	defaultInterval, minInterval, maxInterval = time.Minute, time.Second, 24 * time.Hour
	defaultTimeout, minTimeout, maxTimeout    = 10 * time.Second, 100 * time.Millisecond, 10 * time.Minute
	defaultMaxBytes, maxMaxBytes              = 16 << 20, 96 << 20
	maxSignature                              = 16 << 10
)

// check refuses what could not work or is less safe than it seems, and fills in defaults.
func (c *WatchConfig) check() error {
	c.Interval, c.Timeout = or(c.Interval, defaultInterval), or(c.Timeout, defaultTimeout)
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	switch {
	case c.Engine == nil:
		return errors.New("remote: WatchConfig.Engine is nil")
	case c.Interval < minInterval || c.Interval > maxInterval:
		return fmt.Errorf("remote: WatchConfig.Interval is %v, allowed are %v to %v", c.Interval, minInterval, maxInterval)
	case c.Timeout < minTimeout || c.Timeout > maxTimeout:
		return fmt.Errorf("remote: WatchConfig.Timeout is %v, allowed are %v to %v", c.Timeout, minTimeout, maxTimeout)
	case c.MaxBytes < 1 || c.MaxBytes > maxMaxBytes:
		return fmt.Errorf("remote: WatchConfig.MaxBytes is %d, allowed are 1 to %d", c.MaxBytes, maxMaxBytes)
	case c.TLS != nil && c.TLS.InsecureSkipVerify:
		return errors.New("remote: WatchConfig.TLS.InsecureSkipVerify is set: name the server's CA in RootCAs instead")
	case c.TLS != nil && (c.TLS.MinVersion != 0 && c.TLS.MinVersion < tls.VersionTLS12 || c.TLS.MaxVersion != 0 && c.TLS.MaxVersion < tls.VersionTLS12):
		return errors.New("remote: WatchConfig.TLS allows a version below 1.2")
	}
	if _, err := c.Verifier.Verify(nil, nil); !errors.Is(err, policy.ErrUnsigned) {
		return fmt.Errorf("remote: WatchConfig.Verifier: %w", err) // one that is in order finds no signature
	}
	return c.checkPlace()
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// checkPlace refuses a cache that others can write to, and one that the state lies in: whoever can replace the bundle
// must not be able to replace the state.
func (c *WatchConfig) checkPlace() error {
	if c.Cache == "" {
		return fmt.Errorf("%w: WatchConfig.Cache is empty: name a directory for the last good bundle", ErrCache)
	}
	if err := ownfile.CheckDir(c.Cache); err != nil {
		return fmt.Errorf("%w: %q: %w", ErrCache, c.Cache, err)
	}
	if c.Verifier.StateFile == "" {
		return nil
	}
	top, err := os.Stat(c.Cache)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCache, err) // not covered: only if it goes away meanwhile
	}
	inside, err := ownfile.Within(filepath.Dir(c.Verifier.StateFile), top)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %q: %w", policy.ErrState, c.Verifier.StateFile, err)
	case inside:
		return fmt.Errorf("%w: %q lies in WatchConfig.Cache: whoever can replace the bundle could replace it", policy.ErrState, c.Verifier.StateFile)
	}
	return nil
}

// addresses are the checked URLs of the bundle and its signature.
func (c *WatchConfig) addresses() (bundle, signature *url.URL, err error) {
	if bundle, err = c.parse("URL", c.URL); err != nil {
		return nil, nil, err
	}
	if c.SignatureURL != "" {
		signature, err = c.parse("SignatureURL", c.SignatureURL)
		return bundle, signature, err
	}
	beside := *bundle
	beside.Path += policy.SignatureSuffix
	if beside.RawPath != "" {
		beside.RawPath += policy.SignatureSuffix
	}
	return bundle, &beside, nil
}

// parse reads an address. Its errors do not repeat it: it may hold a credential.
func (c *WatchConfig) parse(field, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("remote: WatchConfig.%s is not an address such as https://example.com/policy.tar.gz", field)
	case u.User != nil:
		return nil, fmt.Errorf("remote: WatchConfig.%s holds a user: use WatchConfig.Token", field)
	case u.Fragment != "":
		return nil, fmt.Errorf("remote: WatchConfig.%s has a fragment, which no server sees", field)
	case !c.mayUse(u):
		return nil, fmt.Errorf("remote: WatchConfig.%s is http to another host: use https, or set PlainHTTP", field)
	case u.Scheme == "http" && !loopback(u) && c.Token != nil:
		return nil, fmt.Errorf("remote: WatchConfig.%s is http to another host, where everyone could read the token: use https", field)
	}
	return u, nil
}

// mayUse reports whether an address is encrypted, does not leave the host, or was allowed to do without.
func (c *WatchConfig) mayUse(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && (c.PlainHTTP || loopback(u))
}

func loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return strings.EqualFold(u.Hostname(), "localhost") || ip != nil && ip.IsLoopback()
}
