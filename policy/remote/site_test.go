package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/internal/tinypolicy"
	"github.com/llorch/secrets-management/policy/sign"
)

// site is a web server with a bundle and its signature, and whoever signs them.
type site struct {
	t   testing.TB
	key *sign.Key
	web *httptest.Server

	mu       sync.Mutex
	files    map[string]file // by path
	modified time.Time       // the latest
	bare     bool            // it sends no validators and knows no conditions
	untagged bool            // it sends dates alone
	asked    []string        // path, condition and status of each request
	tokens   []string        // of each request that has one
	hostile  func(w http.ResponseWriter, r *http.Request) bool
}

type file struct {
	content  []byte
	modified time.Time
}

const (
	bundlePath    = "/p/policy.tar.gz"
	signaturePath = bundlePath + policy.SignatureSuffix
)

func newSite(t testing.TB) *site {
	t.Helper()
	s := newOffline(t)
	s.web = httptest.NewServer(s)
	s.web.Config.ErrorLog = nil
	t.Cleanup(s.web.Close)
	return s
}

// newOffline is a site that nobody can reach.
func newOffline(t testing.TB) *site {
	t.Helper()
	_, raw, err := minisign.GenerateKey(nil)
	text, err2 := raw.MarshalText()
	key, err3 := sign.ParseKey(text, "")
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, key: key, files: map[string]file{}, modified: time.Now().Add(-time.Hour)}
	s.publish(1)
	return s
}

// pair is a bundle of a revision and its signature.
func (s *site) pair(revision uint64) (archive, signature []byte) {
	s.t.Helper()
	return s.signed(revision, revision, time.Now().Add(time.Hour))
}

// signed is the bundle with that grant, signed as a revision with an end.
func (s *site) signed(grant, revision uint64, end time.Time) (archive, signature []byte) {
	s.t.Helper()
	name := fmt.Sprintf("g-%d", grant)
	b := &policy.Bundle{Wasm: tinypolicy.Wasm(name), Manifest: policy.NewManifest("", name)}
	archive, err := b.Marshal()
	if err == nil {
		signature, err = s.key.Sign(archive, policy.Statement{Name: "llorch", Revision: revision, NotAfter: end})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return archive, signature
}

func (s *site) publish(revision uint64) {
	s.t.Helper()
	s.put(s.pair(revision))
}

// put puts both files there, long enough ago for their dates to tell them from others. One that is there stays as it is.
func (s *site) put(archive, signature []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.modified = s.modified.Add(time.Minute)
	for path, content := range map[string][]byte{bundlePath: archive, signaturePath: signature} {
		if !bytes.Equal(s.files[path].content, content) || s.files[path].modified.IsZero() {
			s.files[path] = file{content, s.modified}
		}
	}
}

func (s *site) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// misbehave is what the server does from now on, for the requests of which f returns true.
func (s *site) misbehave(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.do(func() { s.hostile = f })
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	f, bare, untagged, hostile := s.files[r.URL.Path], s.bare, s.untagged, s.hostile
	if a := r.Header.Get("Authorization"); a != "" {
		s.tokens = append(s.tokens, a)
	}
	s.mu.Unlock()
	if hostile != nil && hostile(w, r) {
		return
	}
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	switch {
	case f.content == nil:
		http.NotFound(rec, r)
	case bare:
		rec.Write(f.content)
	case untagged:
		http.ServeContent(rec, r, "", f.modified, bytes.NewReader(f.content))
	default:
		rec.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, f.modified.Unix(), len(f.content)))
		http.ServeContent(rec, r, "", f.modified, bytes.NewReader(f.content))
	}
	condition := ""
	switch {
	case r.Header.Get("If-None-Match") != "":
		condition = " if"
	case r.Header.Get("If-Modified-Since") != "":
		condition = " since"
	}
	s.do(func() {
		s.asked = append(s.asked, fmt.Sprintf("%s%s %d", strings.TrimPrefix(r.URL.Path, bundlePath), condition, rec.status))
	})
}

type recorder struct {
	http.ResponseWriter

	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// answered tells what was asked since the last time.
func (s *site) answered() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.asked, ", ")
	s.asked = nil
	return all
}

// own is a directory that only we can write to.
func own(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// config is for a service on a host that nothing is kept on yet.
func (s *site) config() WatchConfig {
	s.t.Helper()
	c := WatchConfig{
		Engine: new(policy.Engine), URL: "http://127.0.0.1:1" + bundlePath, Cache: own(s.t), Timeout: 20 * time.Second,
		Verifier: policy.Verifier{
			Keys: []policy.PublicKey{s.key.Public()}, Name: "llorch", StateFile: filepath.Join(own(s.t), "state"), CreateState: true,
		},
	}
	if s.web != nil {
		c.URL = s.web.URL + bundlePath
	}
	s.t.Cleanup(c.Engine.Close)
	return c
}

// restarted is the same service after a restart.
func restarted(t testing.TB, c WatchConfig) WatchConfig {
	c.Engine = new(policy.Engine)
	t.Cleanup(c.Engine.Close)
	return c
}

// down is the same service after a restart, with the server down.
func down(t testing.TB, c WatchConfig) WatchConfig {
	c = restarted(t, c)
	c.URL, c.SignatureURL, c.Timeout = "http://127.0.0.1:1/none", "", minTimeout
	return c
}

// begin starts a watcher whose checks the test makes itself, with look.
func begin(t testing.TB, c WatchConfig) *Watcher {
	t.Helper()
	w, err := newWatcher(c)
	if err == nil {
		err = w.start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.server.close)
	return w
}

// again makes one check and returns the status after it.
func again(t testing.TB, w *Watcher) Status {
	t.Helper()
	w.look(t.Context(), w.config.Timeout)
	return w.Status()
}

// at fails unless that revision is in force and the error is as wanted.
func at(t testing.TB, s Status, revision uint64, want error) {
	t.Helper()
	if got := s.Info.Signed.Revision; got != revision || !errors.Is(s.Err, want) {
		t.Errorf("revision %d in force, error %v; want %d, %v", got, s.Err, revision, want)
	}
}

// offline starts the service while the server is down, and returns the revision that is in force then.
func offline(t testing.TB, c WatchConfig) (uint64, error) {
	t.Helper()
	c = down(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := Watch(ctx, c)
	cancel()
	if err == nil {
		<-w.Done()
	}
	return c.Engine.Info().Signed.Revision, err
}
