package bearer

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/llorch/secrets-management/secret"
)

// Config says who is let in. It is read once, by [New].
type Config struct {
	Realm  string       // what the tokens are for, as clients are told: printable ASCII without quotes; required
	Tokens []Token      // each is enough; at least one
	Open   []string     // paths that GET and HEAD need no token for, by exact match: "/health" opens neither "/health/" nor "//health"
	Logger *slog.Logger // nil is slog.Default

	// Failures is how many failures a client address has before it gets 429, whatever it sends. 0 is 20. One is forgiven
	// every Forgive; 0 is 3 seconds.
	//
	// Whoever shares the address of an attacker, behind one proxy or on one host, is shut out with him for that long.
	Failures int
	Forgive  time.Duration
}

// Token is a token, and who has it.
type Token struct {
	Name   string         // of the caller, for logs and [Caller]: required, printable ASCII
	Secret *secret.Secret // stays the caller's to close; once closed it lets nobody in
}

// Guard lets requests through that carry one of its tokens. It is safe for concurrent use.
type Guard struct {
	realm    string
	tokens   []accepted
	open     map[string]bool
	log      *slog.Logger
	failures *limiter
}

// accepted is a token with what logs call it.
type accepted struct {
	name, fingerprint string
	secret            *secret.Secret
}

const (
	defaultFailures = 20
	defaultForgive  = 3 * time.Second
	maxName         = 255

	// maxForgiven is how long it may take until all failures of an address are forgiven: longer than a service runs.
	maxForgiven = 10 * 365 * 24 * time.Hour
)

// New checks the configuration and logs which tokens count: the name of each, and a fingerprint that is good for telling
// tokens apart in the logs of one process and for nothing else, since its key is random and in no other process.
//
// Errors: [ErrConfig]; [ErrToken] for a token that is closed, too long, or that no header can carry.
func New(c Config) (*Guard, error) {
	g := &Guard{realm: c.Realm, open: map[string]bool{}, log: c.Logger}
	if g.log == nil {
		g.log = slog.Default()
	}
	switch {
	case !plain(c.Realm):
		return nil, fmt.Errorf("%w: a realm is 1 to %d printable ASCII characters without quotes and backslashes", ErrConfig, maxName)
	case len(c.Tokens) == 0:
		return nil, fmt.Errorf("%w: no token: nobody could come in", ErrConfig)
	case c.Failures < 0 || c.Forgive < 0:
		return nil, fmt.Errorf("%w: a limit below zero", ErrConfig)
	}
	most, interval := orDefault(c.Failures, defaultFailures), orDefault(c.Forgive, defaultForgive)
	if time.Duration(most) > maxForgiven/interval { // the product would run over, and shut everybody out, or nobody
		return nil, fmt.Errorf("%w: %d failures, of which one is forgiven every %v, take more than %v to forgive", ErrConfig, most, interval, maxForgiven)
	}
	for _, p := range c.Open {
		if !path.IsAbs(p) || path.Clean(p) != p || strings.ContainsAny(p, "%?#*{}") {
			return nil, fmt.Errorf("%w: open path %q: write one absolute, clean path without patterns", ErrConfig, p)
		}
		g.open[p] = true
	}
	if err := g.accept(c.Tokens); err != nil {
		return nil, err
	}
	g.failures = newLimiter(most, interval)
	for _, t := range g.tokens {
		g.log.Info("token accepted from now on", "realm", g.realm, "caller", t.name, "fingerprint", t.fingerprint)
	}
	return g, nil
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// plain is what may stand between quotes in a header, and in a log.
func plain(s string) bool {
	return s != "" && len(s) <= maxName &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' })
}

// accept takes the tokens over. The key of the fingerprints is gone when it returns.
func (g *Guard) accept(tokens []Token) (err error) {
	key, err := newKey()
	if err != nil {
		return err
	}
	defer func() {
		if cerr := key.Close(); err == nil {
			err = cerr
		}
	}()
	seen := map[string]string{} // MACs, not tokens
	for _, t := range tokens {
		if !plain(t.Name) {
			return fmt.Errorf("%w: token %q: a name is 1 to %d printable ASCII characters without quotes and backslashes", ErrConfig, t.Name, maxName)
		}
		if _, err := usable(t.Secret); err != nil {
			return fmt.Errorf("token of %q: %w", t.Name, err)
		}
		mac, err := macOf(key, t.Secret)
		if err != nil {
			return fmt.Errorf("token of %q: %w: %w", t.Name, ErrToken, err)
		}
		if other, twice := seen[mac]; twice {
			return fmt.Errorf("%w: %q and %q have the same token: nobody could tell them apart", ErrConfig, other, t.Name)
		}
		seen[mac] = t.Name
		g.tokens = append(g.tokens, accepted{t.Name, mac[:fingerprintSize], t.Secret})
	}
	return nil
}

type callerKey struct{}

// Caller is the name of the token that came with the request, "" for a request that needed none and outside of a Guard.
func Caller(ctx context.Context) string {
	name, _ := ctx.Value(callerKey{}).(string)
	return name
}

// Handler lets through to next what carries a token, and what asks for an open path. next does not see the Authorization
// header, which it could log or hand on, and learns from [Caller] whose token it was.
//
// Everything else is answered here, with WWW-Authenticate as RFC 6750, section 3, has it: 401 without a token or with a
// wrong one (invalid_token), 400 for a header that is malformed or there twice (invalid_request), 429 with Retry-After
// for an address with too many failures. Which tokens there are, and how near a wrong one was, no answer and no time
// tells.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.isOpen(r) {
			next.ServeHTTP(w, without(r, ""))
			return
		}
		client := clientOf(r)
		if wait := g.failures.wait(client); wait > 0 {
			g.tooMany(w, wait)
			return
		}
		given, fault := presented(r)
		if fault == nil {
			if name, ok := g.verify(given); ok {
				if ctx := r.Context(); g.log.Enabled(ctx, slog.LevelDebug) { // or it would be put together for nobody
					g.log.DebugContext(ctx, "request accepted", "realm", g.realm, "caller", name)
				}
				next.ServeHTTP(w, without(r, name))
				return
			}
			fault = &wrongToken
		}
		g.refuse(w, r, client, fault)
	})
}

// isOpen compares the path as it was sent, and not only decoded: "/%68ealth" is another one to whoever filters requests
// in front of this.
func (g *Guard) isOpen(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.URL.RawPath == "" && g.open[r.URL.Path]
}

// verify compares with every token, so that the time does not tell which one it was.
func (g *Guard) verify(given string) (name string, ok bool) {
	for _, t := range g.tokens {
		if t.secret.Verify(given) {
			name, ok = t.name, true
		}
	}
	return name, ok
}

// without is r without its token.
func without(r *http.Request, caller string) *http.Request {
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, caller))
	r.Header = maps.Clone(r.Header)
	r.Header.Del("Authorization")
	return r
}

// fault is why a request is refused.
type fault struct {
	status      int
	code, words string // RFC 6750, section 3.1; without a code nothing was tried
}

//nolint:gochecknoglobals // constants
var (
	noToken    = fault{http.StatusUnauthorized, "", "a token is needed: Authorization: Bearer TOKEN"}
	wrongToken = fault{http.StatusUnauthorized, "invalid_token", "the token is not accepted"}
	twoHeaders = fault{http.StatusBadRequest, "invalid_request", "more than one Authorization header"}
	malformed  = fault{http.StatusBadRequest, "invalid_request", "malformed Bearer token"}
)

// presented takes the token out of the one Authorization header. The scheme is case-insensitive (RFC 9110, section 11.1).
func presented(r *http.Request) (token string, why *fault) {
	headers := r.Header["Authorization"]
	switch len(headers) {
	case 0:
		return "", &noToken
	case 1:
	default:
		return "", &twoHeaders
	}
	scheme, token, found := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", &noToken
	}
	token = strings.TrimLeft(token, " ")
	if !found || len(token) > MaxToken || !token68(token) {
		return "", &malformed
	}
	return token, nil
}

// refuse counts what was tried, says so in the log, and answers.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, client netip.Addr, f *fault) {
	if f.code != "" {
		last := g.failures.failed(client)
		g.log.WarnContext(r.Context(), "request refused", "realm", g.realm, "client", client, "reason", f.words, "limit_reached", last)
	} else {
		g.log.DebugContext(r.Context(), "request without a token", "realm", g.realm, "client", client)
	}
	challenge := `Bearer realm="` + g.realm + `"`
	if f.code != "" {
		challenge += `, error="` + f.code + `", error_description="` + f.words + `"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	answer(w, f.status, f.words)
}

// tooMany logs nothing: the failure that reached the limit did, and who floods a service shall not flood its log.
func (g *Guard) tooMany(w http.ResponseWriter, wait time.Duration) {
	seconds := int64((wait + time.Second - 1) / time.Second)
	w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	answer(w, http.StatusTooManyRequests, "too many failures from this address")
}

func answer(w http.ResponseWriter, status int, words string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, words, status)
}

// clientOf is the address that a request came from. Where there is none, as on a Unix socket, all clients are one.
func clientOf(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// newKey is a key that nobody knows.
func newKey() (*secret.Key, error) {
	return secret.NewKey(func(buf []byte) error {
		randomize(buf)
		return nil
	})
}

// fingerprintSize is in hexadecimal digits: enough to tell a few tokens apart, too few to find one by.
const fingerprintSize = 8

// macOf is the MAC of a token, in hexadecimal.
func macOf(key *secret.Key, s *secret.Secret) (mac string, err error) {
	err = s.Use(func(b []byte) error {
		sum, err := key.Sign(b)
		mac = hex.EncodeToString(sum)
		return err
	})
	return mac, err
}
