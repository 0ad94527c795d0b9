package loader_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/kdf"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

func TestMain(m *testing.M) {
	code := asnobody.Main(m)
	if dir, engine := common(); engine != nil {
		engine.Close()
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// common is one folder for the worlds of all tests, and one engine whose grants cover it: compiling the rules for each
// would take most of the time.
var common = sync.OnceValues(func() (dir string, engine *policy.Engine) {
	dir, err := os.MkdirTemp("", "loader")
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err == nil {
		engine, err = openPolicy(grantsFor(dir, ""))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return dir, engine
})

const (
	service = "queen-rbee"
	fake    = "fake-token-0123456789-for-tests"
	fakeHex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
)

// recorder is an audit sink that remembers, and fails when told to.
type recorder struct {
	mu      sync.Mutex
	entries []loader.Entry
	inputs  []string
	fail    func(n int) error // n is the number of the entry, from 1
}

func (r *recorder) Record(_ context.Context, e *loader.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	in, err := json.Marshal(e)
	if err != nil {
		return err
	}
	r.entries = append(r.entries, *e)
	r.inputs = append(r.inputs, string(in))
	if r.fail != nil {
		return r.fail(len(r.entries))
	}
	return nil
}

// outcomes lists the outcome of each entry; a verdict has an empty one.
func (r *recorder) outcomes() string {
	var all []string
	for _, e := range r.entries {
		o := e.Outcome
		if o == "" && e.Result != nil {
			o = map[bool]string{true: "allow", false: "deny"}[e.Result.Allowed()]
		}
		all = append(all, o)
	}
	return strings.Join(all, " ")
}

// openPolicy runs the default rules with a deadline that a busy machine does not reach.
func openPolicy(grants []byte) (*policy.Engine, error) {
	b, err := policy.DefaultBundle(grants)
	if err != nil {
		return nil, err
	}
	return policy.Open(context.Background(), b, policy.Options{Limits: policy.Limits{Deadline: 10 * time.Second}})
}

// world is one service with its grants, its folder of secrets and its audit log.
type world struct {
	t     *testing.T
	dir   string
	audit *recorder
	log   bytes.Buffer
	l     *loader.Loader

	engine loader.Policy
}

// grantsFor grants everything that the tests load, in dir.
func grantsFor(dir string, relax string) []byte {
	d, _ := json.Marshal(dir)
	p, _ := json.Marshal(filepath.Join(dir, "nested", "other"))
	return []byte(`{"secrets":{"services":{"` + service + `":[
	 {"id":"files","actions":["load_secret","load_key"],"source":"file","dirs":[` + string(d) + `],"relax":{` + relax + `}},
	 {"id":"null","actions":["load_secret"],"source":"file","paths":["/dev/null",` + string(p) + `]},
	 {"id":"seal","actions":["derive_key"],"source":"file","dirs":[` + string(d) + `],"purposes":["test-purpose-v1"]},
	 {"id":"credentials","actions":["load_secret","load_key"],"source":"credential","names":["api_token","seal_key","a.b c"]},
	 {"id":"env","actions":["load_secret"],"source":"env","names":["TEST_TOKEN"]}]}}}`)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	base, engine := common()
	if engine == nil {
		t.Fatal("no engine")
	}
	dir, err := os.MkdirTemp(base, "world")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &world{t: t, dir: dir, audit: &recorder{}}
	w.use(engine)
	return w
}

func newWorldIn(t *testing.T, dir string, grants []byte) *world {
	t.Helper()
	engine, err := openPolicy(grants)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	w := &world{t: t, dir: dir, audit: &recorder{}}
	w.use(engine)
	return w
}

func (w *world) use(p loader.Policy) {
	w.t.Helper()
	l, err := loader.New(loader.Config{
		Service: service, Policy: p, Audit: w.audit, Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.l, w.engine = l, p
}

// file writes a file with exactly this mode and gives a reference to it.
func (w *world) file(name, content string, mode os.FileMode) loader.Ref {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		w.t.Fatal(err)
	}
	return loader.File(path)
}

// loads fails the test unless the reference loads and holds want.
func (w *world) loads(ref loader.Ref, want string) {
	w.t.Helper()
	s, err := w.l.LoadSecret(context.Background(), ref)
	if err != nil {
		w.t.Fatalf("not loaded: %v", err)
	}
	defer s.Close()
	holds(w.t, s, want)
}

func holds(t *testing.T, s *secret.Secret, want string) {
	t.Helper()
	if err := s.Use(func(b []byte) error {
		if string(b) != want {
			return errors.New("other content than expected")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// refused checks everything that a refusal promises: nothing is returned, the error is the right one and names the
// reference, the audit log has it, and no content is anywhere.
func (w *world) refused(s *secret.Secret, err error, want error, code string) {
	w.t.Helper()
	var e *loader.Error
	switch {
	case s != nil:
		w.t.Error("a secret was returned")
	case !errors.Is(err, want):
		w.t.Errorf("error %v, want one that matches %v", err, want)
	case !errors.As(err, &e):
		w.t.Errorf("error %T, want *loader.Error", err)
	case code != "" && !strings.Contains(strings.Join(e.Reasons, " "), code):
		w.t.Errorf("reasons %q, want %q", e.Reasons, code)
	case code != "" && !errors.Is(err, loader.ErrDenied):
		w.t.Error("a refusal of the policy does not match ErrDenied")
	}
	if strings.Contains(w.audit.outcomes(), "loaded") || len(w.audit.entries) == 0 {
		w.t.Errorf("audit: %s", w.audit.outcomes())
	}
	w.leaksNothing(err)
}

func (w *world) leaksNothing(err error) {
	w.t.Helper()
	text := w.log.String() + strings.Join(w.audit.inputs, "\n")
	if err != nil {
		text += err.Error()
	}
	if strings.Contains(text, fake) || strings.Contains(text, fakeHex) {
		w.t.Error("the secret is in an error, the log or the audit log")
	}
}

func TestLoadSecret(t *testing.T) { // EXP-SECURITY-8003
	tests := map[string]struct {
		content string
		mode    os.FileMode
		want    string
	}{
		"SM-LOAD-4004 mode 0600":               {fake, 0o600, fake},
		"SEC-SECRET-020 mode 0400":             {fake, 0o400, fake},
		"SM-LOAD-4004 trimmed":                 {" \t" + fake + "\r\n\n", 0o600, fake},
		"SM-LOAD-4004 inner space is content":  {"a  b\n", 0o600, "a  b"},
		"SM-LOAD-4004 one byte":                {"x", 0o600, "x"},
		"SM-LOAD-4004 1 MiB before trimming":   {strings.Repeat("y", 1<<20-1) + "\n", 0o600, strings.Repeat("y", 1<<20-1)},
		"SM-LOAD-4004 bytes that are not text": {"\x00\xff\xfe", 0o600, "\x00\xff\xfe"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.loads(w.file("api-token", tt.content, tt.mode), tt.want)
			if got := w.audit.outcomes(); got != "allow loaded" {
				t.Errorf("audit: %s", got)
			}
			if a, b := w.audit.entries[0], w.audit.entries[1]; a.DecisionID == "" || a.DecisionID != b.DecisionID {
				t.Error("verdict and outcome do not share an id")
			}
			w.leaksNothing(nil)
			if !strings.Contains(w.log.String(), "secret loaded") || !strings.Contains(w.log.String(), `ref="file \"/`) { // EXP-CROSS-7002
				t.Error("a success is not logged")
			}
		})
	}
}

// TestPathIsCleaned: SM-LOAD-4001, SM-LOAD-4004. What the policy is asked about, and what is recorded, is the clean path.
func TestPathIsCleaned(t *testing.T) {
	w := newWorld(t)
	w.file("d/token", fake, 0o600)
	w.loads(loader.File(w.dir+"/./d//x/../token"), fake)
	for _, e := range w.audit.entries {
		if e.Input != nil && e.Input.Resource.Path != w.dir+"/d/token" {
			t.Errorf("asked about %q", e.Input.Resource.Path)
		}
	}
}

func TestLoadKey(t *testing.T) {
	tests := map[string]struct {
		content string
		ok      bool
	}{
		"SM-LOAD-4001 64 digits":           {fakeHex, true},
		"SM-LOAD-4001 upper case":          {strings.ToUpper(fakeHex) + "\n", true},
		"SM-LOAD-4001 63 digits":           {fakeHex[1:], false},
		"SM-LOAD-4001 65 digits":           {fakeHex + "0", false},
		"SM-LOAD-4001 not hexadecimal":     {fakeHex[2:] + "zz", false},
		"SM-LOAD-4001 empty":               {"", false},
		"SM-LOAD-4001 32 bytes":            {fakeHex[:32], false},
		"SM-LOAD-4001 1 KiB with space":    {fakeHex + strings.Repeat(" ", 1024-64), true},
		"SM-LOAD-4001 over 1 KiB":          {fakeHex + strings.Repeat(" ", 1025-64), false},
		"SM-LOAD-4001 space in the digits": {fakeHex[:32] + " " + fakeHex[32:], false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			k, err := w.l.LoadKey(context.Background(), w.file("seal-key", tt.content, 0o600))
			if (err == nil) != tt.ok {
				t.Fatalf("error %v", err)
			}
			w.leaksNothing(err)
			if !tt.ok {
				if k != nil || !errors.Is(err, loader.ErrInvalidFormat) {
					t.Errorf("error %v, want invalid format", err)
				}
				return
			}
			defer k.Close()
			if err := k.Use(func(b []byte) error {
				for i := range b {
					if b[i] != byte(i) {
						return errors.New("wrong bytes")
					}
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDeriveKey(t *testing.T) {
	w := newWorld(t)
	ref := w.file("worker-token", fake+"\n", 0o600)
	ctx := context.Background()
	t.Run("SM-LOAD-4003 is decided by its label", func(t *testing.T) {
		k, err := w.l.DeriveKey(ctx, "test-purpose-v1", ref)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		again, err := w.l.DeriveKey(ctx, "test-purpose-v1", ref)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		mac, err := k.Sign([]byte("m"))
		if err != nil || !again.VerifyMAC([]byte("m"), mac) {
			t.Error("the same token and label gave another key")
		}
	})
	t.Run("SM-LOAD-4003 another label is denied", func(t *testing.T) {
		k, err := w.l.DeriveKey(ctx, "other-purpose-v1", ref)
		if k != nil || !errors.Is(err, loader.ErrDenied) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("SM-LOAD-4003 a label that is not UTF-8 is refused and recorded", func(t *testing.T) {
		before := len(w.audit.entries)
		k, err := w.l.DeriveKey(ctx, "p\xff", ref)
		if k != nil || !errors.Is(err, kdf.ErrDerivation) || len(w.audit.entries) != before+1 {
			t.Errorf("error %v, %d entries", err, len(w.audit.entries)-before)
		}
	})
	t.Run("SM-LOAD-4003 a missing label is a derivation error", func(t *testing.T) {
		k, err := w.l.DeriveKey(ctx, "", ref)
		if k != nil || !errors.Is(err, kdf.ErrDerivation) {
			t.Errorf("error %v", err)
		}
	})
}

func TestFallback(t *testing.T) {
	w := newWorld(t)
	good := w.file("token", fake, 0o600)
	absent := loader.File(filepath.Join(w.dir, "absent"))
	open := w.file("open", fake, 0o644)
	ctx := context.Background()
	t.Run("EXP-ORCH-2004 moves on from what is absent", func(t *testing.T) {
		s, err := w.l.LoadSecret(ctx, absent, loader.Credential("api_token"), good)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		holds(t, s, fake)
	})
	t.Run("EXP-ORCH-2004 stops at what is refused", func(t *testing.T) {
		s, err := w.l.LoadSecret(ctx, open, good)
		if s != nil || !errors.Is(err, loader.ErrPermissionsTooOpen) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("EXP-ORCH-2004 stops at what may not be asked for", func(t *testing.T) {
		s, err := w.l.LoadSecret(ctx, loader.File("/not/granted"), good)
		if s != nil || !errors.Is(err, loader.ErrDenied) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("EXP-ORCH-2004 names all when all are absent", func(t *testing.T) {
		s, err := w.l.LoadSecret(ctx, absent, loader.Env("TEST_TOKEN"))
		if s != nil || !errors.Is(err, loader.ErrNotFound) ||
			!strings.Contains(err.Error(), "absent") || !strings.Contains(err.Error(), "TEST_TOKEN") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("EXP-CROSS-7001 nothing to load from", func(t *testing.T) {
		if _, err := w.l.LoadSecret(ctx); !errors.Is(err, loader.ErrPath) {
			t.Errorf("error %v", err)
		}
	})
}

func TestEnvironment(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	t.Run("SM-LOAD-4005 unset", func(t *testing.T) {
		if _, err := w.l.LoadSecret(ctx, loader.Env("TEST_TOKEN")); !errors.Is(err, loader.ErrNotFound) {
			t.Errorf("error %v", err)
		}
		if strings.Contains(w.log.String(), "level=WARN") {
			t.Error("a warning about a secret that is not there")
		}
	})
	t.Run("SM-LOAD-4005 SEC-SECRET-016 loads and warns each time", func(t *testing.T) {
		t.Setenv("TEST_TOKEN", " "+fake+"\n")
		for range 2 {
			w.log.Reset()
			w.loads(loader.Env("TEST_TOKEN"), fake)
			if !strings.Contains(w.log.String(), "level=WARN") || !strings.Contains(w.log.String(), "TEST_TOKEN") {
				t.Error("no warning that names the variable")
			}
		}
		w.leaksNothing(nil)
	})
	t.Run("SM-LOAD-4005 changed after the decision", func(t *testing.T) {
		t.Setenv("TEST_TOKEN", fake)
		w := newWorld(t)
		for _, other := range []string{fake + "x", "", fake[1:]} {
			w.audit.fail = func(int) error { return os.Setenv("TEST_TOKEN", other) }
			s, err := w.l.LoadSecret(ctx, loader.Env("TEST_TOKEN"))
			if s != nil || !errors.Is(err, loader.ErrChanged) {
				t.Errorf("secret %v, error %v", s != nil, err)
			}
			t.Setenv("TEST_TOKEN", fake)
		}
	})
	t.Run("SM-LOAD-4005 empty", func(t *testing.T) {
		t.Setenv("TEST_TOKEN", " ")
		if _, err := w.l.LoadSecret(ctx, loader.Env("TEST_TOKEN")); !errors.Is(err, loader.ErrInvalidFormat) {
			t.Errorf("error %v", err)
		}
	})
}

func TestAuditFailureDenies(t *testing.T) {
	broken := errors.New("disk full")
	tests := map[string]func(n int) error{
		"verdict cannot be recorded": func(int) error { return broken },
		"outcome cannot be recorded": func(n int) error {
			if n == 2 {
				return broken
			}
			return nil
		},
	}
	for name, fail := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ref := w.file("token", fake, 0o600)
			w.audit.fail = fail
			s, err := w.l.LoadSecret(context.Background(), ref)
			if s != nil || !errors.Is(err, loader.ErrAudit) || !errors.Is(err, broken) {
				t.Errorf("secret %v, error %v", s != nil, err)
			}
			k, err := w.l.LoadKey(context.Background(), w.file("key", fakeHex, 0o600))
			if name == "verdict cannot be recorded" && (k != nil || !errors.Is(err, loader.ErrAudit)) {
				t.Errorf("key %v, error %v", k != nil, err)
			}
		})
	}
}

// brokenPolicy fails at the questions that it is told to fail at.
type brokenPolicy struct {
	*policy.Engine

	ask, decide error
}

func (b brokenPolicy) Ask(ctx context.Context, r *policy.Request) (policy.Decision, error) {
	d, err := b.Engine.Ask(ctx, r)
	return d, errors.Join(err, b.ask)
}

func (b brokenPolicy) Decide(ctx context.Context, r *policy.Request) (policy.Decision, error) {
	d, err := b.Engine.Decide(ctx, r)
	return d, errors.Join(err, b.decide)
}

func TestPolicyFailureDenies(t *testing.T) {
	w := newWorld(t)
	ref := w.file("token", fake, 0o600)
	engine, err := openPolicy(grantsFor(w.dir, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	for name, p := range map[string]loader.Policy{
		"cannot be asked":                 brokenPolicy{Engine: engine, ask: policy.ErrLimit},
		"cannot decide, though it allows": brokenPolicy{Engine: engine, decide: policy.ErrEvaluation},
		"closed":                          new(policy.Engine),
	} {
		t.Run(name, func(*testing.T) {
			w.use(p)
			s, err := w.l.LoadSecret(context.Background(), ref)
			w.refused(s, err, loader.ErrPolicyUnavailable, "")
		})
	}
}

// silentPolicy lets everything be asked for and refuses it without a word.
type silentPolicy struct{ *policy.Engine }

func (silentPolicy) Decide(context.Context, *policy.Request) (policy.Decision, error) {
	return policy.Decision{}, nil
}

// TestRefusalWithoutReasons: SM-TYPE-3003. What is not allowed is denied, whether or not the policy says why.
func TestRefusalWithoutReasons(t *testing.T) {
	w := newWorld(t)
	ref := w.file("token", fake, 0o600)
	engine, err := openPolicy(grantsFor(w.dir, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	w.use(silentPolicy{engine})
	s, err := w.l.LoadSecret(context.Background(), ref)
	w.refused(s, err, loader.ErrDenied, "denied")
}

func TestPreflight(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	d, err := w.l.Preflight(ctx, policy.LoadSecret, "", w.file("token", fake, 0o600))
	if err != nil || !d.Allowed() {
		t.Fatalf("allowed %v, error %v", d.Allowed(), err)
	}
	if got := w.audit.outcomes(); got != "allow preflight" {
		t.Errorf("audit: %s", got)
	}
	d, err = w.l.Preflight(ctx, policy.LoadSecret, "", w.file("open", fake, 0o644))
	if d.Allowed() || !errors.Is(err, loader.ErrPermissionsTooOpen) {
		t.Errorf("allowed %v, error %v", d.Allowed(), err)
	}
	if len(d.Reasons()) == 0 || !strings.Contains(d.Reasons()[0].Fix, "chmod 0600") {
		t.Errorf("no fix: %+v", d.Reasons())
	}
}

func TestNewRefusesHalfAConfiguration(t *testing.T) {
	engine := new(policy.Engine)
	sink := loader.NewAuditWriter(io.Discard)
	for name, c := range map[string]loader.Config{
		"zero":          {},
		"no policy":     {Service: service, Audit: sink},
		"no audit":      {Service: service, Policy: engine},
		"no service":    {Policy: engine, Audit: sink},
		"hostile name":  {Service: "a\x1b[2J", Policy: engine, Audit: sink},
		"not UTF-8":     {Service: service, Environment: "\xff", Policy: engine, Audit: sink},
		"too long name": {Service: strings.Repeat("a", 256), Policy: engine, Audit: sink},
	} {
		t.Run(name, func(t *testing.T) {
			if l, err := loader.New(c); l != nil || err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestConcurrentLoads(t *testing.T) { // EXP-RELIABLE-8002
	w := newWorld(t)
	ref := w.file("token", fake, 0o600)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				s, err := w.l.LoadSecret(context.Background(), ref)
				if err != nil {
					t.Error(err)
					return
				}
				if !s.Verify(fake) {
					t.Error("other content")
				}
				s.Close()
			}
		})
	}
	wg.Wait()
	if n := len(w.audit.entries); n != 8*20*2 {
		t.Errorf("%d audit entries", n)
	}
}

func must(w *world, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}
