package policy_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llorch/secrets-management/policy"
)

const grants = `{"secrets":{"services":{"queen-rbee":[
  {"id":"queen-token","actions":["load_secret"],"source":"file","paths":["/etc/llorch/secrets/api-token"]}]}}}`

func goodRequest() *policy.Request {
	return &policy.Request{
		Subject: policy.Subject{Service: "queen-rbee", UID: 1000, GID: 1000},
		Action:  policy.LoadSecret,
		Resource: policy.Resource{
			Source: policy.SourceFile, Path: "/etc/llorch/secrets/api-token", Resolved: "/etc/llorch/secrets/api-token",
			Above: []string{"/etc/llorch/secrets", "/etc/llorch", "/etc", "/"}, Facts: policy.FactsObserved,
			File: policy.File{
				Type: "regular", Mode: 0o600, UID: 1000, GID: 1000, OwnerIsMe: true, Size: 65, NLink: 1, Filesystem: "ext4",
				Readers: policy.Principals{UIDs: []int64{1000}}, Writers: policy.Principals{UIDs: []int64{0, 1000}},
			},
		},
		Context: policy.Context{Phase: policy.PhaseRuntime, Memory: policy.MemoryLocked},
	}
}

// open runs the default rules with a deadline that a busy machine does not reach.
func open(t testing.TB, data string) *policy.Engine {
	t.Helper()
	b, err := policy.DefaultBundle([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	e, err := policy.Open(t.Context(), b, policy.Options{Limits: policy.Limits{Deadline: 10 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func TestDenyIsTheDefault(t *testing.T) {
	var zero policy.Decision
	if zero.Allowed() {
		t.Error("POL-1001: the zero Decision allows")
	}
	for name, e := range map[string]*policy.Engine{"POL-1001 zero engine": new(policy.Engine), "POL-1001 no grants": open(t, "{}")} {
		t.Run(name, func(t *testing.T) {
			d, derr := e.Decide(t.Context(), goodRequest())
			may, merr := e.MayAsk(t.Context(), goodRequest())
			if d.Allowed() || may {
				t.Error("it allows")
			}
			if closed := strings.Contains(name, "zero"); closed != errors.Is(derr, policy.ErrClosed) || closed != errors.Is(merr, policy.ErrClosed) {
				t.Errorf("errors %v, %v", derr, merr)
			}
		})
	}
}

func TestDefaultRules(t *testing.T) {
	e := open(t, grants)
	tests := map[string]struct {
		change func(*policy.Request)
		codes  []string // none: allowed
	}{
		"SM-SEC-5004 the strict base":  {func(*policy.Request) {}, nil},
		"SM-SEC-5004 mode 0644":        {func(r *policy.Request) { r.Resource.File.Mode = 0o644 }, []string{"mode_too_open"}},
		"SM-SEC-5004 mode 0640":        {func(r *policy.Request) { r.Resource.File.Mode = 0o640 }, []string{"mode_too_open"}},
		"another service":              {func(r *policy.Request) { r.Subject.Service = "pool-managerd" }, []string{"no_grant"}},
		"another action":               {func(r *policy.Request) { r.Action = policy.LoadKey }, []string{"no_grant"}},
		"SM-SEC-5005 another path":     {func(r *policy.Request) { r.Resource.Path = "/etc/passwd" }, []string{"no_grant"}},
		"SM-SEC-5005 leads elsewhere":  {func(r *policy.Request) { r.Resource.Resolved = "/etc/passwd" }, []string{"outside_grant"}},
		"a FIFO":                       {func(r *policy.Request) { r.Resource.File.Type = "fifo" }, []string{"not_regular"}},
		"nothing known about the file": {func(r *policy.Request) { r.Resource.File.Filesystem = "" }, []string{"filesystem_not_trusted"}},
		"two faults are both named": {func(r *policy.Request) {
			r.Resource.File.NLink, r.Resource.File.OwnerIsMe = 2, false
		}, []string{"foreign_owner", "hard_linked"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := goodRequest()
			tt.change(r)
			d, err := e.Decide(t.Context(), r)
			if err != nil || d.Allowed() != (tt.codes == nil) || !slices.Equal(d.Codes(), append([]string{}, tt.codes...)) {
				t.Errorf("allowed %v, codes %q, error %v", d.Allowed(), d.Codes(), err)
			}
		})
	}
}

func TestMayAsk(t *testing.T) { // SEC-SECRET-024
	e := open(t, grants)
	r := goodRequest()
	r.Resource.File = policy.File{} // it is not looked at
	if may, err := e.MayAsk(t.Context(), r); !may || err != nil {
		t.Errorf("%v %v", may, err)
	}
	r.Resource.Path = "/etc/llorch/secrets/api-token/"
	if may, err := e.MayAsk(t.Context(), r); may || err != nil {
		t.Errorf("%v %v", may, err)
	}
}

func TestBadGrants(t *testing.T) {
	for _, data := range []string{"", "[]", "\x1f\x8b\x08", "{", `{"secrets":{"services":{"a":[{"id":"x","surprise":1}]}}}`} {
		if e, err := policy.Default([]byte(data)); e != nil || !errors.Is(err, policy.ErrGrants) {
			t.Errorf("%q: %v", data, err)
		}
	}
}

func TestLimitsAreRanges(t *testing.T) {
	for _, l := range []policy.Limits{{Deadline: -1}, {Deadline: time.Minute}, {Instances: 2000}, {DataBytes: 1 << 40}, {ModuleBytes: 1 << 30}} {
		if e, err := policy.Open(t.Context(), &policy.Bundle{}, policy.Options{Limits: l}); e != nil || err == nil ||
			!strings.Contains(err.Error(), "allowed are 1 to") {
			t.Errorf("POL-2006 %+v: %v", l, err)
		}
	}
	for _, n := range []int{-1, 64<<20 + 1} {
		if e, err := policy.Open(t.Context(), &policy.Bundle{}, policy.Options{MemoBytes: n}); e != nil || err == nil ||
			!strings.Contains(err.Error(), "MemoBytes is") {
			t.Errorf("POL-2006 MemoBytes %d: %v", n, err)
		}
	}
}

func TestConcurrentDecisions(t *testing.T) { // EXP-RELIABLE-8002
	e := open(t, grants)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			r := goodRequest()
			if i%2 == 1 {
				r.Resource.File.Mode = 0o644
			}
			for range 200 {
				if d, err := e.Decide(context.Background(), r); err != nil || d.Allowed() != (i%2 == 0) {
					t.Errorf("allowed %v, error %v", d.Allowed(), err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestCloseUnderLoad(t *testing.T) {
	e := open(t, grants)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				d, err := e.Decide(context.Background(), goodRequest())
				if err != nil {
					if d.Allowed() || !errors.Is(err, policy.ErrClosed) {
						t.Errorf("allowed %v, error %v", d.Allowed(), err)
					}
					return
				}
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	e.Close()
	e.Close()
	wg.Wait()
	if e.Info() != (policy.Info{}) {
		t.Error("a closed engine describes a policy")
	}
}

func BenchmarkDecide(b *testing.B) {
	e := open(b, grants)
	r := goodRequest()
	b.ReportAllocs()
	for b.Loop() {
		if d, err := e.Decide(context.Background(), r); err != nil || !d.Allowed() {
			b.Fatal(err)
		}
	}
}

func BenchmarkDefault(b *testing.B) {
	for b.Loop() {
		e, err := policy.Default([]byte(grants))
		if err != nil {
			b.Fatal(err)
		}
		e.Close()
	}
}

func BenchmarkEvaluate(b *testing.B) {
	bundle, err := policy.DefaultBundle([]byte(grants))
	if err != nil {
		b.Fatal(err)
	}
	e, err := policy.Open(b.Context(), bundle, policy.Options{NoMemo: true})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	r := goodRequest()
	b.ReportAllocs()
	b.Run("decide", func(b *testing.B) {
		for b.Loop() {
			if d, err := e.Decide(context.Background(), r); err != nil || !d.Allowed() {
				b.Fatal(err)
			}
		}
	})
	b.Run("may ask", func(b *testing.B) {
		for b.Loop() {
			if may, err := e.MayAsk(context.Background(), r); err != nil || !may {
				b.Fatal(err)
			}
		}
	})
}
