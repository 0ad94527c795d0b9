package bearer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/secret"
	"github.com/llorch/secrets-management/secret/secrettest"
)

const (
	queenToken = "fake-queen-token-0123456789abcdef"
	poolToken  = "fake-pool-token-0123456789abcdef"
)

func tokenOf(t testing.TB, text string) *secret.Secret {
	t.Helper()
	s, err := secret.FromBytes([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// door is a Guard with two tokens, and what went through it.
type door struct {
	*Guard

	log     bytes.Buffer
	through []*http.Request
}

func newDoor(t testing.TB, change func(*Config)) *door {
	t.Helper()
	d := &door{}
	c := Config{
		Realm:  "test",
		Tokens: []Token{{"queen-rbee", tokenOf(t, queenToken)}, {"pool-managerd", tokenOf(t, poolToken)}},
		Open:   []string{"/health", "/a b"},
		Logger: slog.New(slog.NewJSONHandler(&d.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&c)
	}
	var err error
	if d.Guard, err = New(c); err != nil {
		t.Fatal(err)
	}
	return d
}

// send gives the request to the Guard.
func (d *door) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	d.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { d.through = append(d.through, r) })).ServeHTTP(w, r)
	return w
}

func request(authorization ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v2/nodes", http.NoBody)
	r.Header["Authorization"] = authorization
	if len(authorization) == 0 {
		delete(r.Header, "Authorization")
	}
	return r
}

// TestGuard: SVC-7001, EXP-POOL-3002, SM-INTEG-6002. One header with one of the tokens, and nothing else, gets through.
func TestGuard(t *testing.T) {
	const (
		none      = `Bearer realm="test"`
		wrong     = `Bearer realm="test", error="invalid_token", error_description="the token is not accepted"`
		malformed = `Bearer realm="test", error="invalid_request", error_description="malformed Bearer token"`
		twice     = `Bearer realm="test", error="invalid_request", error_description="more than one Authorization header"`
	)
	long := strings.Repeat("a", MaxToken)
	for name, tt := range map[string]struct {
		headers   []string
		status    int
		challenge string
		caller    string
	}{
		"no header":             {nil, 401, none, ""},
		"empty":                 {[]string{""}, 401, none, ""},
		"another scheme":        {[]string{"Basic cXVlZW46" + queenToken}, 401, none, ""},
		"the token alone":       {[]string{queenToken}, 401, none, ""},
		"scheme with a tab":     {[]string{"Bearer\t" + queenToken}, 401, none, ""},
		"no token":              {[]string{"Bearer"}, 400, malformed, ""},
		"an empty token":        {[]string{"Bearer "}, 400, malformed, ""},
		"only padding":          {[]string{"Bearer =="}, 400, malformed, ""},
		"a space behind":        {[]string{"Bearer " + queenToken + " "}, 400, malformed, ""},
		"two tokens":            {[]string{"Bearer " + queenToken + " " + poolToken}, 400, malformed, ""},
		"a list":                {[]string{"Bearer " + queenToken + ",Bearer " + poolToken}, 400, malformed, ""},
		"bytes of no token":     {[]string{"Bearer " + queenToken + "\x00"}, 400, malformed, ""},
		"not ASCII":             {[]string{"Bearer tokén"}, 400, malformed, ""},
		"padding inside":        {[]string{"Bearer a=b"}, 400, malformed, ""},
		"too long":              {[]string{"Bearer a" + long}, 400, malformed, ""},
		"as long as it may be":  {[]string{"Bearer " + long}, 401, wrong, ""},
		"right and wrong":       {[]string{"Bearer " + queenToken, "Bearer x"}, 400, twice, ""},
		"right twice":           {[]string{"Bearer " + queenToken, "Bearer " + queenToken}, 400, twice, ""},
		"wrong":                 {[]string{"Bearer x"}, 401, wrong, ""},
		"a prefix":              {[]string{"Bearer " + queenToken[:20]}, 401, wrong, ""},
		"one more":              {[]string{"Bearer " + queenToken + "0"}, 401, wrong, ""},
		"another case":          {[]string{"Bearer " + strings.ToUpper(queenToken)}, 401, wrong, ""},
		"the first":             {[]string{"Bearer " + queenToken}, 200, "", "queen-rbee"},
		"the second":            {[]string{"Bearer " + poolToken}, 200, "", "pool-managerd"},
		"the scheme's case":     {[]string{"bEARER " + queenToken}, 200, "", "queen-rbee"},
		"more than one space":   {[]string{"Bearer   " + queenToken}, 200, "", "queen-rbee"},
		"scheme runs into name": {[]string{"Bearers " + queenToken}, 401, none, ""},
	} {
		t.Run("SVC-7001/"+name, func(t *testing.T) {
			d := newDoor(t, nil)
			w := d.send(request(tt.headers...))
			if w.Code != tt.status || w.Header().Get("WWW-Authenticate") != tt.challenge {
				t.Errorf("%d %s, want %d %s", w.Code, w.Header().Get("WWW-Authenticate"), tt.status, tt.challenge)
			}
			if (tt.caller != "") != (len(d.through) == 1) {
				t.Fatalf("%d requests went through", len(d.through))
			}
			if tt.caller != "" && (Caller(d.through[0].Context()) != tt.caller || d.through[0].Header["Authorization"] != nil) {
				t.Errorf("caller %q, headers %v", Caller(d.through[0].Context()), d.through[0].Header)
			}
			if said := d.log.String() + w.Body.String() + fmt.Sprint(w.Header()); strings.Contains(said, "0123456789") || strings.Contains(said, "aaaa") {
				t.Errorf("a token is in %s", said)
			}
		})
	}
}

// TestOpenPaths: SVC-7002. A path that needs no token is that path, as it was sent.
func TestOpenPaths(t *testing.T) {
	for target, open := range map[string]bool{
		"/health": true, "/health?verbose=1": true, "http://example.org/health": true,

		"/health/": false, "//health": false, "/health%2f": false, "/HEALTH": false, "/%68ealth": false, "/health%00": false,
		"/./health": false, "/x/../health": false, "/health;a=b": false, "/healthy": false, "/": false, "/healt": false,
		"/health%20": false, "/health//": false, "/health/../v2/nodes": false, "//example.org/health": false, "/v2/nodes": false,
	} {
		t.Run("SVC-7002 "+target, func(t *testing.T) {
			d := newDoor(t, nil)
			r := httptest.NewRequest(http.MethodGet, target, http.NoBody)
			if w := d.send(r); (w.Code == 200) != open || (len(d.through) == 1) != open {
				t.Errorf("status %d", w.Code)
			}
		})
	}
	t.Run("SVC-7002 methods", func(t *testing.T) {
		d := newDoor(t, nil)
		for method, open := range map[string]bool{"GET": true, "HEAD": true, "POST": false, "PUT": false, "DELETE": false, "OPTIONS": false, "get": false} {
			if w := d.send(httptest.NewRequest(method, "/health", http.NoBody)); (w.Code == 200) != open {
				t.Errorf("%s: status %d", method, w.Code)
			}
		}
	})
	t.Run("SVC-7002 no token goes on", func(t *testing.T) {
		d := newDoor(t, nil)
		r := request("Bearer " + queenToken)
		r.URL.Path = "/health"
		d.send(r)
		if got := d.through[0]; got.Header["Authorization"] != nil || Caller(got.Context()) != "" || r.Header["Authorization"] == nil {
			t.Errorf("went on with %v, the request has %v", got.Header, r.Header)
		}
	})
}

// TestOverTheWire: SVC-7002. What a real server and its mux make of such paths opens nothing either.
func TestOverTheWire(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "open") })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "secret") })
	server := httptest.NewServer(newDoor(t, func(c *Config) { c.Failures = 1000 }).Handler(mux))
	defer server.Close()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for path, want := range map[string]string{
		"/health": "200 open", "//health": "401", "/health/": "401", "/health%2f": "401", "/HEALTH": "401", "/x/../health": "401", "/health/../v2": "401",
	} {
		res, err := client.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if got := fmt.Sprint(res.StatusCode, " ", string(body)); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// TestClosedToken: SVC-7001. A token that was closed lets nobody in, and no other is in its place.
func TestClosedToken(t *testing.T) {
	token := tokenOf(t, queenToken)
	d := newDoor(t, func(c *Config) { c.Tokens[0].Secret = token })
	if w := d.send(request("Bearer " + queenToken)); w.Code != 200 {
		t.Fatalf("status %d", w.Code)
	}
	token.Close()
	for _, given := range []string{queenToken, "", strings.Repeat("\x00", len(queenToken))} {
		if w := d.send(request("Bearer " + given)); w.Code == 200 {
			t.Errorf("%q gets through", given)
		}
	}
	if w := d.send(request("Bearer " + poolToken)); w.Code != 200 {
		t.Errorf("the other token: status %d", w.Code)
	}
}

// TestFingerprint: SVC-7004. Logs tell accepted tokens apart, by what no other process has, and say nothing of others.
func TestFingerprint(t *testing.T) {
	line := regexp.MustCompile(`"caller":"([a-z-]+)","fingerprint":"([0-9a-f]{8})"`)
	seen := map[string]string{}
	for range 2 {
		d := newDoor(t, nil)
		at := line.FindAllStringSubmatch(d.log.String(), -1)
		if len(at) != 2 || at[0][1] != "queen-rbee" || at[1][1] != "pool-managerd" {
			t.Fatalf("logged %s", d.log.String())
		}
		for _, m := range at {
			if other := seen[m[2]]; other != "" {
				t.Errorf("%s has the fingerprint of %s", m[1], other)
			}
			seen[m[2]] = m[1]
		}
		d.log.Reset()
		d.send(request("Bearer fake-wrong-token"))
		if said := d.log.String(); !strings.Contains(said, "the token is not accepted") || strings.Contains(said, "fingerprint") || strings.Contains(said, "fake-wrong") {
			t.Errorf("of a wrong token: %s", said)
		}
	}
}

// TestNothingShowsAToken: SVC-7004, SM-SEC-5002. Not even whoever prints a Guard, its configuration, or a Transport.
func TestNothingShowsAToken(t *testing.T) {
	token := secrettest.Canary(t)
	c := Config{Realm: "test", Tokens: []Token{{"a", token}}, Logger: slog.New(slog.DiscardHandler)}
	guard, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	out := Client{Origin: "https://example.org", Token: token}
	transport, err := out.Transport()
	if err != nil {
		t.Fatal(err)
	}
	c.Logger = nil
	for _, v := range []any{guard, &c, &out, transport} {
		secrettest.Check(t, v, token)
	}
}

// TestConfig: SVC-7001. What would let everybody in, or nobody, is refused when the service starts.
func TestConfig(t *testing.T) {
	closed := tokenOf(t, queenToken)
	closed.Close()
	for name, tt := range map[string]struct {
		change func(*Config)
		want   error
	}{
		"no realm":          {func(c *Config) { c.Realm = "" }, ErrConfig},
		"quotes":            {func(c *Config) { c.Realm = `a", error="` }, ErrConfig},
		"line feed":         {func(c *Config) { c.Realm = "a\r\nSet-Cookie: b" }, ErrConfig},
		"no token":          {func(c *Config) { c.Tokens = nil }, ErrConfig},
		"no name":           {func(c *Config) { c.Tokens[0].Name = "" }, ErrConfig},
		"nil":               {func(c *Config) { c.Tokens[0].Secret = nil }, ErrToken},
		"closed":            {func(c *Config) { c.Tokens[0].Secret = closed }, ErrToken},
		"no token68":        {func(c *Config) { c.Tokens[0].Secret = tokenOf(t, "fake token with spaces") }, ErrToken},
		"too long":          {func(c *Config) { c.Tokens[0].Secret = tokenOf(t, strings.Repeat("a", MaxToken+1)) }, ErrToken},
		"the same":          {func(c *Config) { c.Tokens[1].Secret = c.Tokens[0].Secret }, ErrConfig},
		"the same content":  {func(c *Config) { c.Tokens[1].Secret = tokenOf(t, queenToken) }, ErrConfig},
		"open relative":     {func(c *Config) { c.Open = []string{"health"} }, ErrConfig},
		"open empty":        {func(c *Config) { c.Open = []string{""} }, ErrConfig},
		"open subtree":      {func(c *Config) { c.Open = []string{"/health/"} }, ErrConfig},
		"open pattern":      {func(c *Config) { c.Open = []string{"/{any}"} }, ErrConfig},
		"open unclean":      {func(c *Config) { c.Open = []string{"/x/../health"} }, ErrConfig},
		"negative failures": {func(c *Config) { c.Failures = -1 }, ErrConfig},
		"negative time":     {func(c *Config) { c.Forgive = -1 }, ErrConfig},
		"no limit":          {func(c *Config) { c.Failures = math.MaxInt }, ErrConfig},
		"never forgiven":    {func(c *Config) { c.Forgive = math.MaxInt64 }, ErrConfig},
	} {
		c := Config{Realm: "test", Tokens: []Token{{"a", tokenOf(t, queenToken)}, {"b", tokenOf(t, poolToken)}}, Logger: slog.New(slog.DiscardHandler)}
		if g, err := New(c); g == nil || err != nil {
			t.Fatalf("the control is refused: %v", err)
		}
		tt.change(&c)
		g, err := New(c)
		if g != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "fake") {
			t.Errorf("%s: a token is in %v", name, err)
		}
	}
}

func TestCallerOutsideOfAGuard(t *testing.T) {
	if got := Caller(context.Background()); got != "" {
		t.Errorf("caller %q", got)
	}
}
