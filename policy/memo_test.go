package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llorch/secrets-management/policy/internal/sandbox"
)

const memoGrants = `{"secrets":{"services":{"s":[{"id":"g","actions":["load_key"],"source":"file","paths":["/p"]}]}}}`

// allowedInput is what memoGrants allow.
func allowedInput() *Request {
	r := goodInput()
	r.Resource.Resolved, r.Context.Memory = "/p", MemoryLocked
	r.Resource.File = File{
		Type: "regular", Mode: 0o600, OwnerIsMe: true, Size: 9, NLink: 1, Filesystem: "ext4", Writers: Principals{UIDs: []int64{1}},
	}
	return r
}

func openMemo(t testing.TB, o Options) *Engine {
	t.Helper()
	b, err := DefaultBundle([]byte(memoGrants))
	if err != nil {
		t.Fatal(err)
	}
	o.Limits.Deadline = 10 * time.Second
	e, err := Open(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestVerdictsAreRemembered: while no guest is to be had, what was judged before is answered, and nothing else is.
func TestVerdictsAreRemembered(t *testing.T) { // POL-6001
	denied := allowedInput()
	denied.Resource.File.Mode = 0o644
	for name, o := range map[string]Options{"remembers": {}, "remembers nothing": {NoMemo: true}} {
		t.Run(name, func(t *testing.T) {
			o.Limits.Instances = 1
			e := openMemo(t, o)
			ctx := t.Context()
			ask := func() (allow, deny Decision, may bool, err error) {
				var errs [3]error
				allow, errs[0] = e.Decide(ctx, allowedInput())
				deny, errs[1] = e.Decide(ctx, denied)
				may, errs[2] = e.MayAsk(ctx, allowedInput())
				return allow, deny, may, errors.Join(errs[:]...)
			}
			allow, deny, may, err := ask()
			if err != nil || !allow.Allowed() || deny.Allowed() || !may || fmt.Sprint(deny.Codes()) != "[mode_too_open]" {
				t.Fatalf("%v %v %v, error %v", allow.Codes(), deny.Codes(), may, err)
			}
			program := e.active.Load().program
			guest, err := program.Acquire(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			defer program.Release(guest, true)
			ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			again, denyAgain, mayAgain, err := ask()
			if o.NoMemo {
				if !errors.Is(err, context.DeadlineExceeded) || again.Allowed() || mayAgain {
					t.Errorf("allowed %v, may ask %v, error %v", again.Allowed(), mayAgain, err)
				}
				return
			}
			if err != nil || again != allow || denyAgain != deny || mayAgain != may {
				t.Errorf("%+v %+v %v, error %v", again, denyAgain, mayAgain, err)
			}
			other := allowedInput()
			other.Resource.File.Size = 8
			if d, err := e.Decide(ctx, other); d.Allowed() || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("another request: allowed %v, error %v", d.Allowed(), err)
			}
			if d, err := e.Decide(ctx, allowedInput()); d.Allowed() || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a caller whose time is over: allowed %v, error %v", d.Allowed(), err)
			}
		})
	}
}

// TestNothingOutlivesItsPolicy: a verdict that is remembered ends with the policy, when its time is over and when another
// one comes into force.
func TestNothingOutlivesItsPolicy(t *testing.T) { // POL-6001
	e := openMemo(t, Options{})
	defer e.Close()
	if d, err := e.Decide(t.Context(), allowedInput()); err != nil || !d.Allowed() {
		t.Fatalf("%q, error %v", d.Codes(), err)
	}
	e.active.Load().info.Signed = Statement{Name: "p", NotAfter: time.Now().Add(-time.Second)}
	if d, err := e.Decide(t.Context(), allowedInput()); d.Allowed() || !errors.Is(err, ErrExpired) {
		t.Errorf("expired: allowed %v, error %v", d.Allowed(), err)
	}
	b, err := DefaultBundle([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Activate(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if d, err := e.Decide(t.Context(), allowedInput()); d.Allowed() || err != nil || d.Codes()[0] != "no_grant" {
		t.Errorf("another policy: allowed %v, error %v", d.Allowed(), err)
	}
	e.Close()
	if d, err := e.Decide(t.Context(), allowedInput()); d.Allowed() || !errors.Is(err, ErrClosed) {
		t.Errorf("closed: allowed %v, error %v", d.Allowed(), err)
	}
}

// TestErrorsAreNotRemembered: the same request may be answered the next time.
func TestErrorsAreNotRemembered(t *testing.T) { // POL-6001
	e := openMemo(t, Options{})
	defer e.Close()
	bad, long := allowedInput(), allowedInput()
	bad.Resource.Path = "\xff"
	long.Context.Host = strings.Repeat("h", 300_000)
	for range 2 {
		for _, r := range []*Request{bad, long} {
			if d, err := e.Decide(t.Context(), r); d.Allowed() || !errors.Is(err, ErrRequest) {
				t.Errorf("allowed %v, error %v", d.Allowed(), err)
			}
		}
	}
	if a := e.active.Load(); a.memo.bytes != 0 {
		t.Errorf("%d bytes are remembered", a.memo.bytes)
	}
}

// TestAnswersOfOneQuestionAreNotThoseOfTheOther: a guest that answers a decision with a boolean has not decided, even if
// that boolean was an answer before.
func TestAnswersOfOneQuestionAreNotThoseOfTheOther(t *testing.T) { // POL-6001
	a := &activation{read: newMemo(readBytes)}
	const yes = `[{"result":true}]`
	if d, err := a.parse(askReference, []byte(yes)); !d.Allowed() || err != nil {
		t.Errorf("allowed %v, error %v", d.Allowed(), err)
	}
	if d, err := a.parse(judgeFacts, []byte(yes)); d.Allowed() || !errors.Is(err, errMalformed) {
		t.Errorf("allowed %v, error %v", d.Allowed(), err)
	}
	for range 2 {
		if d, err := a.parse(judgeFacts, []byte(allowJSON)); !d.Allowed() || err != nil {
			t.Errorf("allowed %v, error %v", d.Allowed(), err)
		}
		if d, err := a.parse(askReference, []byte(allowJSON)); d.Allowed() || !errors.Is(err, errMalformed) {
			t.Errorf("may ask: allowed %v, error %v", d.Allowed(), err)
		}
	}
}

// TestNobodyChangesARememberedVerdict: what a caller does to its copies reaches no other.
func TestNobodyChangesARememberedVerdict(t *testing.T) { // POL-6001
	e := openMemo(t, Options{})
	defer e.Close()
	denied := allowedInput()
	denied.Resource.File.NLink = 2
	for range 3 {
		d, err := e.Decide(t.Context(), denied)
		if err != nil || d.Reasons()[0].Code != "hard_linked" || d.Grants()[0] != "g" || d.Codes()[0] != "hard_linked" {
			t.Fatalf("%+v, error %v", d, err)
		}
		d.Reasons()[0], d.Grants()[0], d.Codes()[0] = Reason{}, "", ""
		_ = append(d.Grants()[:0], "another")
	}
	given := []Reason{{Code: "a"}}
	made := Denial(given, "g")
	given[0].Code = "b"
	if made.Codes()[0] != "a" || made.Allowed() {
		t.Errorf("%+v", made)
	}
}

func TestMemoIsBounded(t *testing.T) { // POL-6001
	const limit = 100_000
	m := newMemo(limit)
	d := Denial([]Reason{{Code: "c", Message: strings.Repeat("m", 100)}}, "g")
	hot := []byte("hot")
	m.put(hot, Decision{allow: true})
	for n := range 10_000 {
		key := fmt.Appendf(nil, "key %d", n)
		m.put(key, d)
		e := m.fresh[string(key)] // not by get: that would make it wanted
		if e == nil {
			e = (*m.settled.Load())[string(key)]
		}
		if e == nil || e.decision != d {
			t.Fatalf("%s is not remembered", key)
		}
		if got, ok := m.get(hot); !ok || !got.Allowed() {
			t.Fatalf("what is asked for again and again was forgotten at %d", n)
		}
		if _, ok := m.get([]byte("key")); ok {
			t.Fatal("a beginning of a key was found")
		}
		sum := 0
		for _, entries := range []map[string]*remembered{*m.settled.Load(), m.fresh} {
			for key, e := range entries {
				sum += cost([]byte(key), e.decision)
			}
		}
		if sum != m.bytes || sum > limit {
			t.Fatalf("%d bytes are held, %d counted, at most %d allowed", sum, m.bytes, limit)
		}
	}
	if _, ok := m.get([]byte("key 0")); ok {
		t.Error("nothing was ever forgotten")
	}
	m.put([]byte("large"), Denial([]Reason{{Message: strings.Repeat("m", limit/4)}}))
	if _, ok := m.get([]byte("large")); ok {
		t.Error("one verdict takes a quarter of the memory")
	}
	for _, o := range []Options{{MemoBytes: -1}, {MemoBytes: maxMemoBytes + 1}} {
		if m, err := o.memo(); m != nil || err == nil || !strings.Contains(err.Error(), "allowed are 1 to") {
			t.Errorf("%d: %v", o.MemoBytes, err)
		}
	}
	if m, err := (Options{MemoBytes: 5000}).memo(); err != nil || m.limit != 5000 {
		t.Errorf("%+v, error %v", m, err)
	}
}

// TestMemoUnderLoad: whoever asks gets the verdict of their own request, while others make room and settle.
func TestMemoUnderLoad(t *testing.T) { // POL-6001
	m := newMemo(50_000)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 5_000 {
				id := fmt.Sprint((n*7 + g) % 300)
				if d, ok := m.get([]byte(id)); !ok {
					m.put([]byte(id), Denial(nil, id))
				} else if d.Grants()[0] != id {
					t.Errorf("%s has the verdict of %s", id, d.Grants()[0])
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestDecisionsDoNotAllocate(t *testing.T) { // POL-6002
	denied := allowedInput()
	denied.Resource.File.Mode = 0o644
	for name, o := range map[string]Options{"remembered": {}, "evaluated": {NoMemo: true}} {
		e := openMemo(t, o)
		defer e.Close()
		ctx, allowed := context.Background(), allowedInput()
		var failed error
		if n := testing.AllocsPerRun(200, func() {
			_, err := e.Decide(ctx, allowed)
			_, err2 := e.Decide(ctx, denied)
			_, err3 := e.MayAsk(ctx, allowed)
			if err != nil || err2 != nil || err3 != nil {
				failed = errors.Join(err, err2, err3)
			}
		}); n != 0 || failed != nil {
			t.Errorf("%s: %v allocations, error %v", name, n, failed)
		}
	}
}

// TestPartsDecideAsTheWhole: an instance that is given parts again and again, in every mixture and more of them than it
// keeps, answers as one that is given whole inputs.
func TestPartsDecideAsTheWhole(t *testing.T) { // POL-6003
	b, err := DefaultBundle([]byte(memoGrants))
	if err != nil {
		t.Fatal(err)
	}
	limits, err := sandbox.Limits{Deadline: 10 * time.Second}.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	instance := func(parts []string) *sandbox.Instance {
		p, err := sandbox.Open(t.Context(), b.Wasm, b.Data, sandbox.Config{
			Limits: limits, Parts: parts, Entrypoints: []string{EntrypointDecision, EntrypointMayAsk},
		})
		if err != nil {
			t.Fatal(err)
		}
		i, err := p.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Release(i, true); p.Close() })
		return i
	}
	whole, apart := instance(nil), instance(inputParts())
	for n := range 1_000 {
		r := allowedInput()
		r.Subject.Unit = fmt.Sprint("unit-", n/3) // a new one each third time
		r.Resource.File.Writers.UIDs = []int64{int64(n % 2)}
		r.Resource.File.Mode = []uint32{0o600, 0o640}[n%7/6]
		r.Resource.OriginFile.Size = int64(n % 11)
		r.Context.Host = strings.Repeat("h", n)
		if n%5 == 0 {
			r.Resource.Path = "/another"
		}
		for _, q := range []question{judgeFacts, askReference} {
			if whole.Input, err = appendWhole(whole.Input[:0], q, r); err != nil {
				t.Fatal(err)
			}
			if apart.Input, err = appendInput(apart.Input[:0], apart.Parts, q, r); err != nil {
				t.Fatal(err)
			}
			got, err := apart.Evaluate(t.Context(), q.entrypoint())
			if err != nil {
				t.Fatal(err)
			}
			want, err := whole.Evaluate(t.Context(), q.entrypoint())
			if err != nil || string(got) != string(want) {
				t.Fatalf("request %d:\n%s\n%s, error %v", n, got, want, err)
			}
		}
	}
}
