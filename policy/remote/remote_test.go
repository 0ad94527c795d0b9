package remote

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/llorch/secrets-management/policy"
)

// TestServicesDoNotLinkIt: POL-3501. Who wants no bundles from a server has no HTTP client in the program.
func TestServicesDoNotLinkIt(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "github.com/llorch/secrets-management/loader", "github.com/llorch/secrets-management/policy").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "github.com/tetratelabs/wazero") {
		t.Fatalf("%d packages, and not the ones of the question", len(deps))
	}
	for _, p := range deps {
		if p == "net/http" || strings.HasPrefix(p, "github.com/llorch/secrets-management/policy/remote") {
			t.Errorf("loader or policy imports %s", p)
		}
	}
}

// TestWatch: POL-3502, POL-3522. One call, and the engine has what the server has, now and a moment after it changed.
func TestWatch(t *testing.T) {
	s := newSite(t)
	before := goleak.IgnoreCurrent() // the server stays up
	c := s.config()
	c.Interval = time.Second
	notified := make(chan Status, 10)
	c.Notify = func(s Status) { notified <- s }
	ctx, cancel := context.WithCancel(t.Context())
	w, err := Watch(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	at(t, w.Status(), 1, nil)
	at(t, <-notified, 1, nil)
	s.publish(2)
	select {
	case n := <-notified:
		at(t, n, 2, nil)
	case <-time.After(10 * time.Second):
		t.Errorf("still %+v", w.Status())
	}
	if s := w.Status(); s.Confirmed.IsZero() || s.Checked.Before(s.Confirmed) || s.Info.Since.IsZero() {
		t.Errorf("%+v", s)
	}
	t.Run("POL-3520 nothing is left when it ends", func(t *testing.T) {
		cancel()
		<-w.Done()
		if d := c.Engine.Info().Signed.Revision; d != 2 {
			t.Errorf("revision %d in force after the watch", d)
		}
		c.Engine.Close()
		goleak.VerifyNone(t, before)
	})
}

// TestOnlyWhatIsSignedCounts: POL-3503. Whatever a server has, the verifier decides, and the last good one stays.
func TestOnlyWhatIsSignedCounts(t *testing.T) {
	s := newSite(t)
	w := begin(t, s.config())
	archive2, signature2 := s.pair(2)
	archive3, signature3 := s.pair(3)
	other := newOffline(t)
	for _, c := range []struct {
		name               string
		archive, signature []byte
		want               error
	}{
		{"no signature", archive2, nil, ErrServer},
		{"another's signature", archive2, other.files[signaturePath].content, policy.ErrWrongKey},
		{"altered", append(bytes.Clone(archive2), 0), signature2, policy.ErrSignature},
		{"a page where the bundle should be", []byte("<html>log in</html>"), signature2, policy.ErrSignature},
		{"a page where the signature should be", archive2, []byte("<html>log in</html>"), policy.ErrSignatureFormat},
		{"empty", []byte{}, []byte{}, policy.ErrUnsigned},
		{"bundle of the next, signature of this", archive3, signature2, policy.ErrSignature},
		{"bundle of this, signature of the next", archive2, signature3, policy.ErrSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.put(c.archive, c.signature)
			at(t, again(t, w), 1, c.want)
		})
	}
	t.Run("expired", func(t *testing.T) {
		s.put(s.signed(2, 2, time.Now().Add(-time.Second)))
		at(t, again(t, w), 1, policy.ErrExpired)
	})
	t.Run("POL-3504 both halves are there in the end", func(t *testing.T) {
		s.put(archive3, signature3)
		at(t, again(t, w), 3, nil)
	})
	t.Run("older", func(t *testing.T) {
		s.put(archive2, signature2)
		at(t, again(t, w), 3, policy.ErrRolledBack)
	})
	if r, err := offline(t, w.config); r != 3 || err != nil {
		t.Errorf("after a restart %d, %v", r, err)
	}
}

// TestConditions: POL-3505. What did not change is not sent again.
func TestConditions(t *testing.T) {
	s := newSite(t)
	c := s.config()
	w := begin(t, c)
	asks := func(t *testing.T, w *Watcher, revision uint64, want string) {
		t.Helper()
		s.answered()
		at(t, again(t, w), revision, nil)
		if got := s.answered(); got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
	}
	t.Run("nothing new", func(t *testing.T) { asks(t, w, 1, ".minisig if 304") })
	t.Run("a new one", func(t *testing.T) {
		s.publish(2)
		asks(t, w, 2, ".minisig if 200,  if 200")
		asks(t, w, 2, ".minisig if 304")
	})
	t.Run("signed anew", func(t *testing.T) {
		s.put(s.signed(2, 3, time.Now().Add(2*time.Hour)))
		asks(t, w, 3, ".minisig if 200,  if 304")
		asks(t, w, 3, ".minisig if 304")
	})
	t.Run("signed anew, and the kept archive is gone", func(t *testing.T) {
		must(t, os.Remove(w.held.kept))
		s.put(s.signed(2, 3, time.Now().Add(3*time.Hour)))
		at(t, again(t, w), 3, ErrCache)
		asks(t, w, 3, ".minisig if 200,  200")
	})
	t.Run("after a restart", func(t *testing.T) {
		s.answered()
		w := begin(t, restarted(t, c))
		if got := s.answered(); got != ".minisig 200" {
			t.Errorf("asked %s", got)
		}
		asks(t, w, 3, ".minisig if 304")
	})
	t.Run("a server that knows dates alone", func(t *testing.T) {
		s.do(func() { s.untagged = true })
		w := begin(t, restarted(t, c))
		asks(t, w, 3, ".minisig since 304")
		s.do(func() { s.untagged = false })
	})
	t.Run("a server that knows no conditions", func(t *testing.T) {
		s.do(func() { s.bare = true })
		asks(t, w, 3, ".minisig if 200")
		asks(t, w, 3, ".minisig 200")
		s.publish(4)
		asks(t, w, 4, ".minisig 200,  if 200")
	})
	t.Run("a 304 that nobody asked for", func(t *testing.T) {
		s.misbehave(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusNotModified); return true })
		at(t, again(t, w), 4, ErrServer)
		s.misbehave(nil)
	})
	t.Run("another bundle in the engine", func(t *testing.T) {
		b, err := c.Verifier.Verify(s.pair(5))
		if err == nil {
			err = w.config.Engine.Activate(t.Context(), b)
		}
		if err != nil {
			t.Fatal(err)
		}
		at(t, again(t, w), 5, policy.ErrRolledBack)
	})
}

// TestSigns: POL-3505. Dates count whole seconds, so that signs which the next version may have as well are not used.
func TestSigns(t *testing.T) {
	const date, before = "Tue, 24 Nov 2026 15:00:10 GMT", "Tue, 24 Nov 2026 15:00:08 GMT"
	for _, c := range []struct {
		name, etag, modified, date string
		want                       validators
	}{
		{"both", `"a-1"`, before, date, validators{`"a-1"`, before}},
		{"weak", `W/"a"`, "", "", validators{etag: `W/"a"`}},
		{"changed just now", `"a-1"`, "Tue, 24 Nov 2026 15:00:09 GMT", date, validators{}},
		{"changed tomorrow", `"a-1"`, "Wed, 25 Nov 2026 15:00:09 GMT", date, validators{}},
		{"no date to compare with", `"a-1"`, before, "", validators{etag: `"a-1"`}},
		{"no quotes", `a-1`, "yesterday", date, validators{}},
		{"a line break", "\"a\r\nX: y\"", "", "", validators{}},
		{"endless", `"` + strings.Repeat("a", maxETag) + `"`, "", "", validators{}},
		{"none", "", "", "", validators{}},
	} {
		h := http.Header{}
		h.Set("ETag", c.etag)
		h.Set("Last-Modified", c.modified)
		h.Set("Date", c.date)
		if got := signs(h); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestStartWithoutAnything: POL-3506. There is no policy out of nothing, and the error says where it was looked for.
func TestStartWithoutAnything(t *testing.T) {
	s := newOffline(t)
	c := s.config()
	c.Timeout = minTimeout
	_, err := Watch(t.Context(), c)
	if !errors.Is(err, ErrServer) || !errors.Is(err, ErrCache) {
		t.Fatal(err)
	}
	for _, part := range []string{"connection refused", c.Cache, "the first start on a host needs the server"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	if d, err := c.Engine.Decide(t.Context(), new(policy.Request)); d.Allowed() || !errors.Is(err, policy.ErrClosed) {
		t.Errorf("allowed %v, %v", d.Allowed(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Watch(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestStartTriesAgain: POL-3506. A hiccup of the server at the very first start is none of the service's.
func TestStartTriesAgain(t *testing.T) {
	s := newSite(t)
	var mu sync.Mutex
	failures := 2
	s.misbehave(func(w http.ResponseWriter, _ *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if failures--; failures < 0 {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	at(t, begin(t, s.config()).Status(), 1, nil)
}

// TestStartWithAPolicyOfItsOwn: POL-3506. An engine that has a policy starts with it, whatever the server and the cache say.
func TestStartWithAPolicyOfItsOwn(t *testing.T) {
	s := newOffline(t)
	c := s.config()
	b, err := c.Verifier.Verify(s.pair(7))
	if err == nil {
		err = c.Engine.Activate(t.Context(), b)
	}
	if err != nil {
		t.Fatal(err)
	}
	at(t, begin(t, c).Status(), 7, ErrServer)
}

// TestConfigurations: POL-3507. What could not work, or would be less safe than it seems, is refused at once.
func TestConfigurations(t *testing.T) {
	s := newSite(t)
	for name, change := range configurations(t) {
		t.Run(name, func(t *testing.T) {
			c := s.config()
			change.spoil(&c)
			_, err := Watch(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), change.says) || change.is != nil && !errors.Is(err, change.is) {
				t.Errorf("error %v, want one that says %q", err, change.says)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v repeats a credential", err)
			}
		})
	}
	if got := s.answered(); got != "" {
		t.Errorf("asked %s", got)
	}
	for _, url := range []string{"https://example.com/p", "http://localhost/p", "http://[::1]:8/p", "http://127.9.9.9/p?sig=x"} {
		c := s.config()
		c.URL = url
		if _, err := newWatcher(c); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	c := s.config()
	c.URL, c.PlainHTTP = "http://example.com/a%2Fp?key=1", true
	w, err := newWatcher(c)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.server.signature.String(); got != "http://example.com/a%2Fp.minisig?key=1" {
		t.Errorf("the signature is looked for at %s", got)
	}
}

type configuration struct {
	spoil func(*WatchConfig)
	says  string
	is    error
}

func configurations(t *testing.T) map[string]configuration {
	wide := own(t)
	return map[string]configuration{
		"no engine":         {func(c *WatchConfig) { c.Engine = nil }, "Engine is nil", nil},
		"no key":            {func(c *WatchConfig) { c.Verifier.Keys = nil }, "Verifier", policy.ErrNoKey},
		"no name":           {func(c *WatchConfig) { c.Verifier.Name = "" }, "Verifier", nil},
		"no floor":          {func(c *WatchConfig) { c.Verifier.StateFile = "" }, "Verifier", policy.ErrState},
		"no address":        {func(c *WatchConfig) { c.URL = "" }, "URL is not an address", nil},
		"a path":            {func(c *WatchConfig) { c.URL = "/etc/policy" }, "URL is not an address", nil},
		"another scheme":    {func(c *WatchConfig) { c.URL = "ftp://example.com/hunter2" }, "URL is not an address", nil},
		"not parsed":        {func(c *WatchConfig) { c.URL = "https://hunter2\x7f" }, "URL is not an address", nil},
		"a user":            {func(c *WatchConfig) { c.URL = "https://a:hunter2@example.com/" }, "use WatchConfig.Token", nil},
		"a fragment":        {func(c *WatchConfig) { c.URL = "https://example.com/#a" }, "fragment", nil},
		"plain":             {func(c *WatchConfig) { c.URL = "http://example.com/" }, "PlainHTTP", nil},
		"plain signature":   {func(c *WatchConfig) { c.SignatureURL = "http://example.com/" }, "WatchConfig.SignatureURL", nil},
		"a token for all":   {func(c *WatchConfig) { c.URL, c.PlainHTTP, c.Token = "http://example.com/", true, noToken }, "everyone could read", nil},
		"too often":         {func(c *WatchConfig) { c.Interval = time.Millisecond }, "Interval is 1ms", nil},
		"too seldom":        {func(c *WatchConfig) { c.Interval = 25 * time.Hour }, "Interval is 25h", nil},
		"too patient":       {func(c *WatchConfig) { c.Timeout = time.Hour }, "Timeout is 1h", nil},
		"too hasty":         {func(c *WatchConfig) { c.Timeout = -1 }, "Timeout is -1ns", nil},
		"too large":         {func(c *WatchConfig) { c.MaxBytes = 1 << 40 }, "MaxBytes", nil},
		"negative":          {func(c *WatchConfig) { c.MaxBytes = -1 }, "MaxBytes", nil},
		"unverified TLS":    {func(c *WatchConfig) { c.TLS = unverified() }, "RootCAs", nil},
		"old TLS":           {func(c *WatchConfig) { c.TLS = oldest() }, "below 1.2", nil},
		"TLS that ends old": {func(c *WatchConfig) { c.TLS = newest() }, "below 1.2", nil},
		"no cache":          {func(c *WatchConfig) { c.Cache = "" }, "Cache is empty", ErrCache},
		"a relative cache":  {func(c *WatchConfig) { c.Cache = "cache" }, "not absolute", ErrCache},
		"no directory":      {func(c *WatchConfig) { c.Cache += "/none" }, "no such file", ErrCache},
		"a cache for all":   {func(c *WatchConfig) { c.Cache = chmod(t, wide, 0o777) }, "others can write", ErrCache},
		"a state in the cache": {
			func(c *WatchConfig) { c.Verifier.StateFile = filepath.Join(c.Cache, "state") }, "could replace it", policy.ErrState,
		},
		"a state beneath the cache": {
			func(c *WatchConfig) { c.Verifier.StateFile = filepath.Join(mkdir(t, c.Cache, "a"), "state") }, "could replace it", policy.ErrState,
		},
		"a state nowhere": {func(c *WatchConfig) { c.Verifier.StateFile = "/none/of/it" }, "no such file", policy.ErrState},
	}
}
