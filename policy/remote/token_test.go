package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llorch/secrets-management/secret"
)

const fakeToken = "fake-token-0123456789"

// vault hands out a token, and remembers what it handed out.
type vault struct {
	mu    sync.Mutex
	token string
	given []*secret.Secret
}

func (v *vault) load(context.Context) (*secret.Secret, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s, err := secret.FromBytes([]byte(v.token))
	v.given = append(v.given, s)
	return s, err
}

// TestToken: POL-3511. The token goes to where the bundle is and nowhere else, is loaded for each check, and closed.
func TestToken(t *testing.T) {
	s, elsewhere := newSite(t), newSite(t)
	v := &vault{token: fakeToken}
	c := s.config()
	c.Token = v.load
	w := begin(t, c)
	at(t, w.Status(), 1, nil)
	sent := func(s *site) (all string) {
		s.do(func() { all, s.tokens = strings.Join(s.tokens, ", "), nil })
		return all
	}
	if got := sent(s); got != "Bearer "+fakeToken+", Bearer "+fakeToken {
		t.Errorf("sent %q", got)
	}
	t.Run("a token that was rotated", func(t *testing.T) {
		v.token = "fake-second=="
		at(t, again(t, w), 1, nil)
		if got := sent(s); got != "Bearer fake-second==" {
			t.Errorf("sent %q", got)
		}
	})
	t.Run("closed after the check", func(t *testing.T) {
		for i, given := range v.given {
			if err := given.Use(func([]byte) error { return nil }); err == nil {
				t.Errorf("token %d can still be used", i)
			}
		}
		if len(v.given) != 2 {
			t.Errorf("%d tokens were loaded", len(v.given))
		}
	})
	t.Run("not to another host", func(t *testing.T) {
		elsewhere.put(s.pair(2))
		s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, elsewhere.web.URL+r.URL.Path, http.StatusFound) // the same address, another port
			return true
		})
		at(t, again(t, w), 2, nil)
		if got := sent(elsewhere); got != "" || elsewhere.answered() == "" {
			t.Errorf("sent %q elsewhere", got)
		}
	})
	t.Run("not to another host that SignatureURL names", func(t *testing.T) {
		s.misbehave(nil)
		c := restarted(t, c)
		s.put(s.pair(2))
		elsewhere.do(func() { elsewhere.files[signaturePath] = s.files[signaturePath] })
		c.SignatureURL = elsewhere.web.URL + signaturePath
		w, err := newWatcher(c)
		if err == nil {
			err = w.check(t.Context(), c.Timeout)
		}
		if got := sent(elsewhere); err != nil || got != "" || elsewhere.answered() == "" || sent(s) == "" {
			t.Errorf("%v, sent %q elsewhere", err, got)
		}
	})
}

// TestTokensAreNotShown: POL-3511. No error repeats a token, whatever the server does with it, nor a presigned address.
func TestTokensAreNotShown(t *testing.T) {
	s := newSite(t)
	c := s.config()
	c.URL += "?signature=hunter2"
	c.Token = (&vault{token: fakeToken}).load
	w := begin(t, c)
	_, signature := s.pair(2)
	for name, answer := range map[string]http.HandlerFunc{
		"as a status": says("HTTP/1.1 " + fakeToken + "\r\n\r\n"),
		"cut short":   says("HTTP/1.1 " + strings.Repeat("x", 300-len(`net/http: HTTP/1.x transport connection broken: malformed HTTP status code "`)-15) + fakeToken + "\r\n\r\n"),
		"as a header": says("HTTP/1.1 200 OK\r\n" + fakeToken + "\r\n\r\n"),
		"as an encoding": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", fakeToken)
			w.Write(signature)
		},
		"as a scheme": header("Location", "faketoken0123://a/", http.StatusFound),
		"as a host":   header("Location", "http://"+fakeToken+"/", http.StatusFound),
		"as a path":   header("Location", "/"+fakeToken, http.StatusFound),
		"not at all":  status(http.StatusUnauthorized),
	} {
		t.Run(name, func(t *testing.T) {
			s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.RawQuery == "" && r.URL.Path != "/"+fakeToken {
					return false
				}
				answer(w, r)
				return true
			})
			now := again(t, w)
			if now.Err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", now.Err, now.Err, now.Err), fakeToken[:10]) || strings.Contains(now.Err.Error(), "hunter2") ||
				strings.Contains(now.Err.Error(), "faketoken") {
				t.Errorf("%v", now.Err)
			}
		})
	}
}

// TestTokensThatAreNone: POL-3511. Without its token nothing is asked.
func TestTokensThatAreNone(t *testing.T) {
	s := newSite(t)
	w := begin(t, s.config())
	s.answered()
	for name, load := range map[string]func(context.Context) (*secret.Secret, error){
		"denied":          noToken,
		"nil":             func(context.Context) (*secret.Secret, error) { return nil, nil },
		"a line break":    (&vault{token: "fake\r\nX-Evil: 1"}).load,
		"a space":         (&vault{token: "fake token"}).load,
		"longer than all": (&vault{token: strings.Repeat("x", maxToken+1)}).load,
	} {
		w.server.token = load
		now := again(t, w)
		at(t, now, 1, ErrToken)
		if got := s.answered(); got != "" || strings.Contains(fmt.Sprint(now.Err), "Evil") {
			t.Errorf("%s: asked %q, %v", name, got, now.Err)
		}
	}
}

// TestTLS: POL-3507. A server is who the configured CA says it is.
func TestTLS(t *testing.T) {
	s := newOffline(t)
	web := httptest.NewUnstartedServer(s)
	web.EnableHTTP2 = true
	web.Config.ErrorLog = quiet()
	web.StartTLS()
	t.Cleanup(web.Close)
	c := s.config()
	c.URL, c.Timeout = web.URL+bundlePath, time.Minute // of which a handshake on a busy machine may take some
	stranger, err := newWatcher(c)
	must(t, err)
	var unknown x509.UnknownAuthorityError
	if err := stranger.check(t.Context(), time.Minute); !errors.Is(err, ErrServer) || !errors.As(err, &unknown) {
		t.Errorf("an unknown CA: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	c.TLS = &tls.Config{RootCAs: pool}
	w := begin(t, c)
	at(t, w.Status(), 1, nil)
	s.publish(2)
	s.misbehave(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.TLS == nil || r.ProtoMajor != 1 {
			t.Errorf("asked over %s, %+v", r.Proto, r.TLS)
		}
		if r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("asked for %q", r.Header.Get("Accept-Encoding"))
		}
		return false
	})
	at(t, again(t, w), 2, nil)
	down := header("Location", "http://127.0.0.1/", http.StatusFound)
	s.misbehave(func(w http.ResponseWriter, r *http.Request) bool { down(w, r); return true })
	if now := again(t, w); now.Err == nil || !strings.Contains(now.Err.Error(), "a redirect from https") {
		t.Errorf("to plain http: %v", now.Err)
	}
}

// TestProxy: POL-3523. A proxy is used where one is configured, and the environment configures none.
func TestProxy(t *testing.T) {
	s := newSite(t)
	for _, name := range []string{"HTTP_PROXY", "http_proxy"} {
		t.Setenv(name, s.web.URL)
	}
	c := s.config()
	c.URL, c.PlainHTTP = "http://192.0.2.1"+bundlePath, true // nobody has this address
	direct, err := newWatcher(c)
	must(t, err)
	if err := direct.check(t.Context(), 50*time.Millisecond); !errors.Is(err, ErrServer) || s.answered() != "" {
		t.Errorf("by itself: %v", err)
	}
	c.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(s.web.URL) }
	at(t, begin(t, c).Status(), 1, nil)
}
