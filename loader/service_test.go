package loader_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

// TestFallbackStopsAtAudit: EXP-ORCH-2004. That something is absent and could not be recorded is no absence.
func TestFallbackStopsAtAudit(t *testing.T) {
	w := newWorld(t)
	good := w.file("token", fake, 0o600)
	w.audit.fail = func(n int) error {
		if n == 1 {
			return errors.New("disk full")
		}
		return nil
	}
	s, err := w.l.LoadSecret(context.Background(), loader.File(w.dir+"/absent"), good)
	if s != nil || !errors.Is(err, loader.ErrAudit) || len(w.audit.entries) != 1 {
		t.Errorf("secret %v, error %v, audit %s", s != nil, err, w.audit.outcomes())
	}
}

// TestFileFromEnv: SVC-1001. The path comes from a variable that is set and not empty, and is judged like any other.
func TestFileFromEnv(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	const variable = "LLORCH_TEST_TOKEN_FILE"
	w.file("here", fake, 0o600)
	w.file("there", "fake-token-from-elsewhere", 0o600)
	here, there := w.dir+"/here", w.dir+"/there"
	load := func(t *testing.T, want string) {
		t.Helper()
		s, err := w.l.LoadSecret(ctx, loader.FileFromEnv(variable, here))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		holds(t, s, want)
	}
	t.Run("SVC-1001 unset", func(t *testing.T) { load(t, fake) })
	t.Run("SVC-1001 empty", func(t *testing.T) {
		t.Setenv(variable, "")
		load(t, fake)
	})
	t.Run("SVC-1001 unset and nothing else is named", func(t *testing.T) {
		_, err := w.l.LoadSecret(ctx, loader.FileFromEnv(variable, ""))
		want := `load file "" (from "LLORCH_TEST_TOKEN_FILE"): path validation failed: the variable gives no path, and there is no fallback`
		if !errors.Is(err, loader.ErrPath) || err.Error() != want {
			t.Errorf("error %v\nwant %s", err, want)
		}
	})
	t.Run("SVC-1001 set", func(t *testing.T) {
		t.Setenv(variable, there)
		load(t, "fake-token-from-elsewhere")
	})
	for name, tt := range map[string]struct {
		path string
		want error
	}{
		"SVC-1001 outside of the grants":            {"/etc/passwd", loader.ErrDenied},
		"SVC-1001 climbing out":                     {w.dir + "/../../../../etc/passwd", loader.ErrDenied},
		"SVC-1001 relative":                         {"token", loader.ErrPath},
		"SVC-1001 white space":                      {" ", loader.ErrPath},
		"SVC-1001 absent is no reason to fall back": {w.dir + "/absent", loader.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(variable, tt.path)
			s, err := w.l.LoadSecret(ctx, loader.FileFromEnv(variable, here))
			if s != nil || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), variable) {
				t.Errorf("secret %v, error %v", s != nil, err)
			}
		})
	}
	t.Run("SVC-1001 a secret instead of a path", func(t *testing.T) {
		t.Setenv(variable, fake)
		var logged bytes.Buffer
		l, err := loader.New(loader.Config{Service: service, Policy: w.engine, Audit: loader.NewAuditWriter(&logged), Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		must(w, err)
		_, err = l.LoadSecret(ctx, loader.FileFromEnv(variable, here))
		if !errors.Is(err, loader.ErrPath) || !strings.Contains(err.Error(), variable) {
			t.Errorf("error %v", err)
		}
		if said := err.Error() + logged.String(); strings.Contains(said, fake) || !strings.Contains(said, "not an absolute path") {
			t.Errorf("it says %s", said)
		}
	})
	t.Run("SVC-1001 the environment of the call", func(t *testing.T) {
		t.Setenv(variable, there)
		ref := loader.FileFromEnv(variable, here)
		t.Setenv(variable, here)
		if !strings.Contains(ref.String(), there) {
			t.Error(ref)
		}
	})
}

// TestMinLength: SVC-1002. The service's own demand and the grant's: the larger counts.
func TestMinLength(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	l, err := loader.New(loader.Config{Service: service, Policy: w.engine, Audit: w.audit, MinLength: 16})
	must(w, err)
	long, short := w.file("long", "0123456789abcdef\n", 0o600), w.file("short", "0123456789abcde \n", 0o600)
	s, err := l.LoadSecret(ctx, long)
	must(w, err)
	s.Close()
	if s, err := l.LoadSecret(ctx, short); s != nil || !errors.Is(err, loader.ErrInvalidFormat) || !strings.Contains(err.Error(), "15 bytes, at least 16") {
		t.Errorf("error %v", err)
	}
	if k, err := l.DeriveKey(ctx, "test-purpose-v1", short); k != nil || !errors.Is(err, loader.ErrInvalidFormat) {
		t.Errorf("error %v", err)
	}
	k, err := l.LoadKey(ctx, w.file("key", fakeHex, 0o600))
	must(w, err)
	k.Close()
	for least, ok := range map[int]bool{0: true, 16: true, 17: false} {
		var s *secret.Secret
		if err := l.LoadAll(ctx, loader.Request{Secret: &s, Refs: []loader.Ref{long}, MinLength: least}); (err == nil) != ok || (s != nil) != ok {
			t.Errorf("at least %d: %v", least, err)
		}
		if s != nil {
			s.Close()
		}
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(w, err)
	granted := newWorldIn(t, dir, fmt.Appendf(nil, `{"secrets":{"services":{%q:[{"id":"a","actions":["load_secret"],"source":"file","dirs":[%q],"min_length":20}]}}}`, service, dir))
	strict, err := loader.New(loader.Config{Service: service, Policy: granted.engine, Audit: granted.audit, MinLength: 16})
	must(w, err)
	if s, err := strict.LoadSecret(ctx, granted.file("long", "0123456789abcdef", 0o600)); s != nil || !strings.Contains(err.Error(), "at least 20") {
		t.Errorf("error %v", err)
	}
	for _, bad := range []int{-1, 1<<20 + 1} {
		if l, err := loader.New(loader.Config{Service: service, Policy: w.engine, Audit: w.audit, MinLength: bad}); l != nil || err == nil {
			t.Errorf("MinLength %d is accepted", bad)
		}
	}
}

// cancelling ends a context at a question to the policy.
type cancelling struct {
	loader.Policy

	ask, decide context.CancelFunc
}

func (c cancelling) Ask(ctx context.Context, r *policy.Request) (policy.Decision, error) {
	d, err := c.Policy.Ask(ctx, r)
	if c.ask != nil {
		c.ask()
	}
	return d, err
}

func (c cancelling) Decide(ctx context.Context, r *policy.Request) (policy.Decision, error) {
	d, err := c.Policy.Decide(ctx, r)
	if c.decide != nil {
		c.decide()
	}
	return d, err
}

// TestCancelled: SVC-1003. Whenever the context ends, the load takes no further step, says so, and is recorded.
func TestCancelled(t *testing.T) {
	for name, tt := range map[string]struct {
		at    func(cancel context.CancelFunc, w *world)
		stage loader.Stage
		audit string
	}{
		"before it":                {func(cancel context.CancelFunc, _ *world) { cancel() }, loader.StageAsk, "deny"},
		"after the first question": {func(cancel context.CancelFunc, w *world) { w.use(cancelling{w.engine, cancel, nil}) }, loader.StageLook, "deny"},
		"after the second":         {func(cancel context.CancelFunc, w *world) { w.use(cancelling{w.engine, nil, cancel}) }, loader.StageRead, "allow failed"},
		"while the verdict is written": {func(cancel context.CancelFunc, w *world) {
			w.audit.fail = func(int) error { cancel(); return nil }
		}, loader.StageRead, "allow failed"},
	} {
		t.Run("SVC-1003 "+name, func(t *testing.T) {
			w := newWorld(t)
			ref, second := w.file("token", fake, 0o600), w.file("second", fake, 0o600)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			tt.at(cancel, w)
			s, err := w.l.LoadSecret(ctx, ref, second)
			var e *loader.Error
			if s != nil || !errors.Is(err, context.Canceled) || !errors.As(err, &e) || e.Stage != tt.stage || e.Ref != ref {
				t.Errorf("secret %v, error %v at %v", s != nil, err, e)
			}
			if got := w.audit.outcomes(); got != tt.audit {
				t.Errorf("audit %q, want %q", got, tt.audit)
			}
			if p := w.audit.entries[0].Input.Resource.Path; p != w.dir+"/token" {
				t.Errorf("the record does not say what was asked for: %q", p)
			}
			w.leaksNothing(err)
		})
	}
	t.Run("SVC-1003 a deadline", func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
		defer cancel()
		if s, err := w.l.LoadSecret(ctx, w.file("token", fake, 0o600)); s != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("SVC-1003 a sink that heeds its context records it all the same", func(t *testing.T) {
		w := newWorld(t)
		l, err := loader.New(loader.Config{Service: service, Policy: w.engine, Audit: heedful{w.audit}})
		must(w, err)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := l.LoadSecret(ctx, w.file("token", fake, 0o600)); !errors.Is(err, context.Canceled) || errors.Is(err, loader.ErrAudit) {
			t.Errorf("error %v", err)
		}
		if w.audit.outcomes() != "deny" {
			t.Errorf("audit %q", w.audit.outcomes())
		}
	})
}

// heedful is a sink that does nothing once its context has ended, as one over a network would.
type heedful struct{ loader.AuditSink }

func (h heedful) Record(ctx context.Context, e *loader.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return h.AuditSink.Record(ctx, e)
}

// TestLoadAll: SVC-1004. Everything or nothing, and every failure is told.
func TestLoadAll(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	token, key := w.file("token", fake, 0o600), w.file("key", fakeHex, 0o600)
	absent, open := loader.File(w.dir+"/absent"), w.file("open", fake, 0o644)
	t.Run("SVC-1004 everything", func(t *testing.T) {
		var s *secret.Secret
		var k, derived *secret.Key
		err := w.l.LoadAll(ctx,
			loader.Request{Secret: &s, Refs: []loader.Ref{absent, token}},
			loader.Request{Key: &k, Refs: []loader.Ref{key}},
			loader.Request{Key: &derived, Purpose: "test-purpose-v1", Refs: []loader.Ref{token}})
		must(w, err)
		defer s.Close()
		defer k.Close()
		defer derived.Close()
		holds(t, s, fake)
		if mac, err := k.Sign([]byte("m")); err != nil || derived.VerifyMAC([]byte("m"), mac) {
			t.Errorf("the two keys are one: %v", err)
		}
	})
	t.Run("SVC-1004 nothing where one fails, and all errors", func(t *testing.T) {
		old, err := w.l.LoadSecret(ctx, token)
		must(w, err)
		defer old.Close()
		first, second, third := old, (*secret.Secret)(nil), (*secret.Key)(nil)
		err = w.l.LoadAll(ctx,
			loader.Request{Secret: &first, Refs: []loader.Ref{token}},
			loader.Request{Secret: &second, Refs: []loader.Ref{open}},
			loader.Request{Key: &third, Refs: []loader.Ref{token}},
			loader.Request{Secret: new(*secret.Secret), Refs: []loader.Ref{absent, loader.Credential("api_token")}},
			loader.Request{Secret: new(*secret.Secret)})
		if first != old || second != nil || third != nil {
			t.Error("something was set")
		}
		holds(t, first, fake)
		var all interface{ Unwrap() []error }
		if !errors.As(err, &all) || len(all.Unwrap()) != 4 {
			t.Fatalf("error %v", err)
		}
		for i, want := range []error{loader.ErrPermissionsTooOpen, loader.ErrInvalidFormat, loader.ErrCredentialNotFound, loader.ErrPath} {
			var e *loader.Error
			if got := all.Unwrap()[i]; !errors.Is(got, want) || !errors.As(got, &e) {
				t.Errorf("error %d: %v, want %v", i, got, want)
			}
		}
		w.leaksNothing(err)
	})
	t.Run("SVC-1004 mistakes of the program", func(t *testing.T) {
		before := len(w.audit.entries)
		var s *secret.Secret
		var k *secret.Key
		refs := []loader.Ref{token}
		for name, r := range map[string][]loader.Request{
			"nowhere to go":        {{Refs: refs}},
			"two places":           {{Secret: &s, Key: &k, Refs: refs}},
			"a secret's purpose":   {{Secret: &s, Purpose: "test-purpose-v1", Refs: refs}},
			"the same place":       {{Secret: &s, Refs: refs}, {Secret: &s, Refs: refs}},
			"the same for keys":    {{Key: &k, Refs: refs}, {Key: &k, Refs: refs}},
			"a negative length":    {{Secret: &s, Refs: refs, MinLength: -1}},
			"an impossible length": {{Secret: &s, Refs: refs, MinLength: 1<<20 + 1}},
		} {
			if err := w.l.LoadAll(ctx, r...); err == nil || s != nil || k != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if len(w.audit.entries) != before {
			t.Error("something was loaded")
		}
	})
	t.Run("SVC-1004 nothing is asked for", func(*testing.T) { must(w, w.l.LoadAll(ctx)) })
	t.Run("SVC-1003 cancelled", func(t *testing.T) {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		var s *secret.Secret
		if err := w.l.LoadAll(ended, loader.Request{Secret: &s, Refs: []loader.Ref{token}}); s != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("SVC-1004 a thousand", func(t *testing.T) {
		all := make([]*secret.Secret, 1000)
		requests := make([]loader.Request, len(all))
		for i := range all {
			requests[i] = loader.Request{Secret: &all[i], Refs: []loader.Ref{token}}
		}
		must(w, w.l.LoadAll(ctx, requests...))
		for _, s := range all {
			if !s.Verify(fake) {
				t.Fatal("other content")
			}
			s.Close()
		}
	})
}

// TestHealth: SVC-1005. What a readiness probe learns, without a secret or a record.
func TestHealth(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	f, err := loader.OpenAuditFile(w.dir + "/audit.jsonl")
	must(w, err)
	broken := errors.New("broken sink")
	closed, err := loader.OpenAuditFile(w.dir + "/closed.jsonl")
	must(w, err)
	must(w, closed.Close())
	for name, tt := range map[string]struct {
		policy loader.Policy
		audit  loader.AuditSink
		want   []error
	}{
		"well":                    {w.engine, f, nil},
		"a sink that cannot tell": {w.engine, w.audit, nil},
		"several sinks":           {w.engine, loader.NewAuditMulti(f, w.audit), nil},
		"the policy is closed":    {new(policy.Engine), f, []error{loader.ErrPolicyUnavailable, policy.ErrClosed}},
		"it cannot be asked":      {brokenPolicy{Engine: w.engine.(*policy.Engine), ask: policy.ErrLimit}, f, []error{loader.ErrPolicyUnavailable, policy.ErrLimit}},
		"it cannot decide":        {brokenPolicy{Engine: w.engine.(*policy.Engine), decide: policy.ErrEvaluation}, f, []error{loader.ErrPolicyUnavailable, policy.ErrEvaluation}},
		"the log is closed":       {w.engine, closed, []error{loader.ErrAudit}},
		"one sink of several":     {w.engine, loader.NewAuditMulti(f, checkedSink{w.audit, broken}), []error{loader.ErrAudit, broken}},
		"no sink of several":      {w.engine, loader.NewAuditMulti(), []error{loader.ErrAudit}},
		"the policy and the log":  {new(policy.Engine), closed, []error{loader.ErrPolicyUnavailable, loader.ErrAudit}},
	} {
		t.Run("SVC-1005 "+name, func(t *testing.T) {
			l, err := loader.New(loader.Config{Service: service, Policy: tt.policy, Audit: tt.audit})
			must(w, err)
			err = l.Health(ctx)
			if (err == nil) != (tt.want == nil) || slices.ContainsFunc(tt.want, func(want error) bool { return !errors.Is(err, want) }) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	if v := verified(t, w.dir+"/audit.jsonl"); v.Entries != 0 || len(w.audit.entries) != 0 {
		t.Error("a probe was recorded")
	}
	t.Run("SVC-1005 the log was replaced", func(t *testing.T) {
		l, err := loader.New(loader.Config{Service: service, Policy: w.engine, Audit: f})
		must(w, err)
		w.file("audit.jsonl", "", 0o644)
		if err := l.Health(ctx); !errors.Is(err, loader.ErrAudit) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("SVC-1005 cancelled", func(t *testing.T) {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if err := w.l.Health(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

// checkedSink is a sink with an opinion of itself.
type checkedSink struct {
	loader.AuditSink

	err error
}

func (c checkedSink) Check(context.Context) error { return c.err }

// TestZeroValues: POL-1001. What nobody made loads and records nothing.
func TestZeroValues(t *testing.T) {
	ctx := context.Background()
	var l loader.Loader
	var s *secret.Secret
	_, err := l.LoadSecret(ctx, loader.File("/etc/hostname"))
	_, err2 := l.Preflight(ctx, policy.LoadSecret, "", loader.File("/etc/hostname"))
	err3 := l.LoadAll(ctx, loader.Request{Secret: &s, Refs: []loader.Ref{loader.File("/etc/hostname")}})
	for _, err := range []error{err, err2, err3, l.Health(ctx)} {
		if !errors.Is(err, loader.ErrPolicyUnavailable) {
			t.Errorf("error %v", err)
		}
	}
	var a loader.AuditFile
	for _, err := range []error{a.Record(ctx, &loader.Entry{}), a.Check(ctx), a.Close()} {
		if err == nil {
			t.Error("an audit file that nobody opened takes entries")
		}
	}
}
