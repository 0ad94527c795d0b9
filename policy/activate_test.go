package policy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/llorch/secrets-management/policy"
)

// TestActivationsUnderLoad: of decisions that are made while bundles follow each other, every one is wholly from one
// bundle and none fails; and nothing is left of the bundles that went.
func TestActivationsUnderLoad(t *testing.T) {
	t.Run("POL-5009 interpreter", func(t *testing.T) { swapUnderLoad(t, true, 1200) })
	t.Run("POL-5009 compiler", func(t *testing.T) { swapUnderLoad(t, false, 100) })
}

func swapUnderLoad(t *testing.T, interpreter bool, activations int) {
	e, err := policy.Open(t.Context(), tinyPolicy("g-0"), policy.Options{Interpreter: interpreter, Limits: patient.Limits})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var newest, decided atomic.Int64
	swap := func(n int) {
		if err := e.Activate(t.Context(), tinyPolicy(fmt.Sprintf("g-%d", n))); err != nil {
			t.Fatal(err)
		}
		newest.Store(int64(n))
	}
	const warmUp = 50
	for n := range warmUp {
		swap(n)
	}
	before := footprint(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for worker := range 3 {
		wg.Go(func() {
			r := longRequest()
			for i := int64(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				r.Subject.UID = i*3 + int64(worker) // nothing that could be remembered
				least := newest.Load()
				d, err := e.Decide(context.Background(), r)
				if i%2 == 1 {
					d, err = e.Ask(context.Background(), r)
				}
				if err != nil || !d.Allowed() {
					t.Errorf("allowed %v, error %v", d.Allowed(), err)
					return
				}
				if problem := mixed(d, least); problem != "" {
					t.Errorf("%s in %+v by %+v", problem, d, d.Info())
					return
				}
				decided.Add(1)
				if i%16 == 0 {
					time.Sleep(50 * time.Microsecond) // room for the activations, on a machine with few processors
				}
			}
		})
	}
	digests := map[string]bool{}
	for n := warmUp; n < warmUp+activations; n++ {
		swap(n)
		digests[e.Info().Digest] = true
	}
	close(stop)
	wg.Wait()
	if len(digests) != activations {
		t.Errorf("%d digests of %d bundles", len(digests), activations)
	}
	if n := decided.Load(); n < int64(activations) {
		t.Errorf("only %d decisions were made meanwhile", n)
	}
	t.Logf("%d activations, %d decisions", activations, decided.Load())
	before.same(t)
}

// mixed says what in a decision is of another bundle than the rest, or of one that was gone.
func mixed(d policy.Decision, least int64) string {
	by := d.Info()
	n, err := strconv.ParseInt(strings.TrimPrefix(by.Revision, "g-"), 10, 64)
	switch {
	case err != nil || by.Digest == "" || by.Since.IsZero():
		return "no bundle"
	case n < least:
		return fmt.Sprintf("a bundle older than %d", least)
	case len(d.Grants()) > 0 && d.Grants()[0] != by.Revision:
		return "another's grant"
	}
	return ""
}

// use is what a process has taken.
type use struct {
	heap, resident int64
	goroutines     int
}

func footprint(t *testing.T) use {
	t.Helper()
	var m runtime.MemStats
	for range 3 { // finalizers free what others hold
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	runtime.ReadMemStats(&m)
	u := use{heap: int64(m.HeapAlloc), goroutines: runtime.NumGoroutine()}
	if raw, err := os.ReadFile("/proc/self/statm"); err == nil {
		var size int64
		if _, err := fmt.Sscan(string(raw), &size, &u.resident); err != nil {
			t.Fatal(err)
		}
		u.resident *= int64(os.Getpagesize())
	}
	return u
}

// same waits for retired policies to end, and fails when more is in use than before. What 1 KiB of each activation would
// be is below what is allowed on the heap; an instance has at least 64 KiB of memory.
func (u use) same(t *testing.T) {
	t.Helper()
	var now use
	for range 100 {
		if now = footprint(t); now.goroutines <= u.goroutines && now.heap < u.heap+(1<<20) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if now.goroutines > u.goroutines || now.heap >= u.heap+(1<<20) || now.resident > u.resident+(32<<20) {
		t.Errorf("in use before: %+v, after: %+v", u, now)
	}
}

// TestRealPoliciesUnderLoad does the same with the default rules, each time over other grants.
func TestRealPoliciesUnderLoad(t *testing.T) {
	s := newSigner(t)
	of := func(n uint64) *policy.Bundle {
		return s.bundle(n, strings.Replace(grants, "queen-token", fmt.Sprintf("queen-%d", n), 1))
	}
	e := openSigned(t, of(1))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			r := goodRequest()
			for {
				select {
				case <-stop:
					return
				default:
				}
				r.Resource.File.Size++
				d, err := e.Decide(context.Background(), r)
				if err != nil || !d.Allowed() || len(d.Grants()) != 1 || d.Grants()[0] != fmt.Sprintf("queen-%d", d.Info().Signed.Revision) {
					t.Errorf("POL-5009: %v, %+v by %+v", err, d, d.Info())
					return
				}
			}
		})
	}
	for n := uint64(2); n < 7; n++ {
		if err := e.Activate(t.Context(), of(n)); err != nil {
			t.Error(err)
		}
		if got := e.Info().Signed.Revision; got != n {
			t.Errorf("POL-5009: revision %d, want %d", got, n)
		}
	}
	close(stop)
	wg.Wait()
}

// TestABadBundleChangesNothing: whatever is wrong with the next bundle, the one before stays in force, and that is said.
func TestABadBundleChangesNothing(t *testing.T) {
	s := newSigner(t)
	e := openSigned(t, s.bundle(5, grants))
	sixth := s.bundle(6, grants)
	tampered := s.bundle(6, grants)
	tampered.Data = []byte(strings.ReplaceAll(grants, "queen", "other"))
	disarmed := s.bundle(6, grants)
	disarmed.Smoke = []byte(`{"cases":[{"name":"a","input":{},"allow":false}]}`)
	other := newSigner(t)
	other.v.Name = "staging"
	staging, err := other.v.Verify(marshal(t, bundleOf(t, grants)), other.sign(marshal(t, bundleOf(t, grants)),
		policy.Statement{Name: "staging", Revision: 6, NotAfter: time.Now().Add(time.Hour)}))
	if err != nil {
		t.Fatal(err)
	}
	stateless := *s
	stateless.v.StateFile, stateless.v.MinRevision = "", 1
	lost := newSigner(t)
	lost.v.StateFile = stateFile(t)
	lostBundle := lost.bundle(6, grants)
	if err := os.Chmod(strings.TrimSuffix(lost.v.StateFile, "/state"), 0o777); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := policy.Open(t.Context(), nil, patient); e != nil || !errors.Is(err, policy.ErrBundle) {
		t.Errorf("POL-5009 none: %v", err)
	}
	for name, c := range map[string]struct {
		ctx  context.Context
		b    *policy.Bundle
		want error
	}{
		"unsigned":                       {t.Context(), bundleOf(t, grants), policy.ErrUnsigned},
		"changed after it was verified":  {t.Context(), tampered, policy.ErrUnsigned},
		"disarmed":                       {t.Context(), disarmed, policy.ErrUnsigned},
		"another policy":                 {t.Context(), staging, policy.ErrWrongName},
		"older, without a state to tell": {t.Context(), stateless.bundle(4, grants), policy.ErrRolledBack},
		"a state that is not safe":       {t.Context(), lostBundle, policy.ErrState},
		"cancelled":                      {cancelled, sixth, context.Canceled},
	} {
		t.Run("POL-5009 "+name, func(t *testing.T) {
			err := e.Activate(c.ctx, c.b)
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if !strings.HasPrefix(err.Error(), "not activated, revision 5 stays in force: ") { // as it was signed
				t.Errorf("%v does not say what is in force", err)
			}
			d, err := e.Decide(t.Context(), goodRequest())
			if err != nil || !d.Allowed() || d.Info().Signed.Revision != 5 {
				t.Errorf("allowed %v by %+v, %v", d.Allowed(), d.Info(), err)
			}
		})
	}
	if err := e.Activate(t.Context(), sixth); err != nil {
		t.Errorf("POL-5009 control: %v", err)
	}
	t.Run("POL-5009 broken code", func(t *testing.T) {
		e := openTiny(t, "g-1")
		for name, b := range map[string]*policy.Bundle{
			"not Wasm":        {Wasm: []byte("w"), Manifest: policy.NewManifest("", "bad")},
			"allows everyone": {Wasm: []byte(strings.ReplaceAll(string(tinyPolicy("g-2").Wasm), `"allow":false`, `"allow":true `)), Manifest: policy.NewManifest("", "bad")},
		} {
			if err := e.Activate(t.Context(), b); !errors.Is(err, policy.ErrBundle) && !errors.Is(err, policy.ErrSmoke) {
				t.Errorf("%s: %v", name, err)
			}
			if d, err := e.Decide(t.Context(), longRequest()); err != nil || d.Info().Revision != "g-1" {
				t.Errorf("%s: %v by %+v", name, err, d.Info())
			}
		}
	})
}

func openTiny(t *testing.T, grant string) *policy.Engine {
	t.Helper()
	e, err := policy.Open(t.Context(), tinyPolicy(grant), patient)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func TestAClosedEngineStaysClosed(t *testing.T) {
	e := openTiny(t, "g-1")
	e.Close()
	if err := e.Activate(t.Context(), tinyPolicy("g-2")); !errors.Is(err, policy.ErrClosed) {
		t.Errorf("POL-5009: %v", err)
	}
	if d, err := e.Decide(t.Context(), longRequest()); d.Allowed() || !errors.Is(err, policy.ErrClosed) || d.Info() != (policy.Info{}) {
		t.Errorf("POL-5009: allowed %v, %v", d.Allowed(), err)
	}
	var zero policy.Engine // gets its policy later
	defer zero.Close()
	if err := zero.Activate(t.Context(), tinyPolicy("g-1")); err != nil {
		t.Fatal(err)
	}
	if d, err := zero.Decide(t.Context(), longRequest()); err != nil || !d.Allowed() {
		t.Errorf("POL-5009: %v", err)
	}
}

// TestWhatCannotBeRecordedIsNotInForce: POL-5006. The state can be read, so the bundle is verified, but not written.
func TestWhatCannotBeRecordedIsNotInForce(t *testing.T) {
	s := newSigner(t)
	e := openSigned(t, s.bundle(1, grants))
	next := s.bundle(2, grants)
	lock := s.v.StateFile + ".lock"
	if err := errors.Join(os.Remove(lock), os.Mkdir(lock, 0o700)); err != nil {
		t.Fatal(err)
	}
	refusedAs(t, e.Activate(t.Context(), next), policy.ErrState)
	if d, err := e.Decide(t.Context(), goodRequest()); err != nil || d.Info().Signed.Revision != 1 {
		t.Errorf("decided by %+v, %v", d.Info(), err)
	}
}

// TestEnginesThatShareAState: of two processes that activate at once, the later revision is what is recorded.
func TestEnginesThatShareAState(t *testing.T) {
	s := newSigner(t)
	newest, older := s.bundle(8, grants), s.bundle(7, grants)
	a, b := openSigned(t, s.bundle(1, grants)), openSigned(t, s.bundle(1, grants))
	var wg sync.WaitGroup
	var errOlder error
	wg.Go(func() {
		if err := a.Activate(context.Background(), newest); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() { errOlder = b.Activate(context.Background(), older) })
	wg.Wait()
	if errOlder != nil {
		refusedAs(t, errOlder, policy.ErrRolledBack)
	}
	if err := b.Activate(t.Context(), older); err == nil {
		t.Error("POL-5006: an older revision than another process has recorded")
	} else {
		refusedAs(t, err, policy.ErrRolledBack)
	}
}

// TestKeptBeforeInForce: POL-3521. A bundle is kept when all that can be found against it was looked for, before its revision
// is recorded and it is in force; one that cannot be kept is neither.
func TestKeptBeforeInForce(t *testing.T) {
	s := newSigner(t)
	e := new(policy.Engine)
	defer e.Close()
	calls := 0
	activate := func(revision uint64, b *policy.Bundle, result error) error {
		archive := marshal(t, b)
		verified, err := s.v.Verify(archive, s.sign(archive, statement(revision)))
		if err != nil {
			t.Fatal(err)
		}
		before := e.Info()
		return e.ActivateKept(t.Context(), verified, func() error {
			calls++
			if state, err := os.ReadFile(s.v.StateFile); strings.Contains(string(state), fmt.Sprintf("revision=%d ", revision)) {
				t.Errorf("revision %d is recorded already: %q, %v", revision, state, err)
			}
			if e.Info() != before {
				t.Errorf("revision %d is in force already", revision)
			}
			return result
		})
	}
	if err := activate(1, tinyPolicy("g-1"), nil); err != nil || calls != 1 || e.Info().Signed.Revision != 1 {
		t.Errorf("%v, kept %d times, %+v", err, calls, e.Info())
	}
	full := errors.New("no space left")
	if err := activate(2, tinyPolicy("g-2"), full); !errors.Is(err, full) || calls != 2 || e.Info().Signed.Revision != 1 {
		t.Errorf("%v, kept %d times, %+v", err, calls, e.Info())
	}
	bad := tinyPolicy("g-2")
	bad.Wasm = bad.Wasm[:len(bad.Wasm)-1]
	if err := activate(2, bad, nil); !errors.Is(err, policy.ErrBundle) || calls != 2 {
		t.Errorf("%v, kept %d times", err, calls)
	}
	if err := activate(2, tinyPolicy("g-2"), nil); err != nil || calls != 3 || e.Info().Signed.Revision != 2 {
		t.Errorf("%v, kept %d times, %+v", err, calls, e.Info())
	}
	e.Close()
	if err := activate(3, tinyPolicy("g-3"), nil); !errors.Is(err, policy.ErrClosed) || calls != 3 {
		t.Errorf("%v, kept %d times", err, calls)
	}
}
