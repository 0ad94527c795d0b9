package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llorch/secrets-management/policy"
)

// TestPace: POL-3512. Waits are random within bounds that double up to twice the interval, and start again after a success.
func TestPace(t *testing.T) {
	least := func(int64) int64 { return 0 }
	most := func(n int64) int64 { return n - 1 }
	failure := errors.New("no")
	p := pace{interval: 10 * time.Second}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 20, 20, 20} {
		lower, upper := p, p
		if got := lower.next(failure, least); got != leastWait {
			t.Errorf("failure %d: at least %v", i, got)
		}
		if got := upper.next(failure, most); got != leastWait+want*time.Second-1 {
			t.Errorf("failure %d: at most %v, want %v s", i, got, want)
		}
		p.next(failure, random)
	}
	p.failures = 1 << 40
	if got := p.next(failure, most); got != leastWait+20*time.Second-1 {
		t.Errorf("after a year: %v", got)
	}
	if got := p.next(&retryError{failure, time.Minute}, most); got != time.Minute+leastWait+20*time.Second-1 {
		t.Errorf("asked for a minute: %v", got)
	}
	if lo, hi := p.next(nil, least), p.next(nil, most); lo != 7500*time.Millisecond || hi != 12500*time.Millisecond-1 {
		t.Errorf("when all is well: %v to %v", lo, hi)
	}
	if got := p.next(failure, most); got != leastWait+time.Second-1 {
		t.Errorf("the first failure after a success: %v", got)
	}
	seen := map[time.Duration]bool{}
	for range 100 {
		p.failures = 10
		seen[p.next(failure, random)] = true
	}
	if len(seen) < 90 {
		t.Errorf("%d different waits of 100", len(seen))
	}
}

// TestRetryAfter: POL-3512. What a server asks for counts within an hour, whatever our clock says.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 24, 15, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		value, date string
		want        time.Duration
	}{
		{"120", "", 2 * time.Minute},
		{"0", "", 0},
		{"-5", "", 0},
		{"1e9", "", 0},
		{"soon", "", 0},
		{"", "", 0},
		{"99999999", "", time.Hour},
		{"99999999999999999999999", "", 0},
		{"Tue, 24 Nov 2026 15:00:30 GMT", "", 30 * time.Second},
		{"Tue, 24 Nov 2026 15:00:30 GMT", "Tue, 24 Nov 2026 15:00:10 GMT", 20 * time.Second},
		{"Thu, 01 Jan 1970 00:00:30 GMT", "Thu, 01 Jan 1970 00:00:10 GMT", 20 * time.Second},
		{"Tue, 24 Nov 2026 14:00:00 GMT", "", 0},
		{"Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", time.Hour},
	} {
		h := http.Header{}
		h.Set("Retry-After", c.value)
		h.Set("Date", c.date)
		if got := retryAfter(h, now); got != c.want {
			t.Errorf("%q at %q: %v, want %v", c.value, c.date, got, c.want)
		}
	}
}

// FuzzRetryAfter: POL-3512. No header makes us wait less than nothing or more than an hour.
func FuzzRetryAfter(f *testing.F) {
	f.Add("120", "", int64(0))
	f.Add("Tue, 24 Nov 2026 15:00:30 GMT", "Thu, 01 Jan 1970 00:00:30 GMT", int64(1_800_000_000))
	f.Fuzz(func(t *testing.T, value, date string, now int64) {
		h := http.Header{"Retry-After": {value}, "Date": {date}}
		if got := retryAfter(h, time.Unix(now, 0)); got < 0 || got > maxRetryAfter {
			t.Errorf("%q at %q: %v", value, date, got)
		}
	})
}

// simulated is a server without a network, so that a test can have a clock of its own.
type simulated struct {
	s    *site
	from time.Time

	mu    sync.Mutex
	code  int             // 0 for a good answer, -1 for none at all
	wait  string          // Retry-After
	at    []time.Duration // when the signature was asked for
	clock func() time.Time
}

// set changes how it answers, or the clock of the host, and forgets what was asked.
func (m *simulated) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	m.at = nil
}

func (m *simulated) asked() []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.at)
}

func (m *simulated) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clock()
}

func (m *simulated) RoundTrip(r *http.Request) (*http.Response, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, policy.SignatureSuffix) {
		m.at = append(m.at, time.Since(m.from))
	}
	h := http.Header{}
	if m.code < 0 {
		return nil, errors.New("no route to host")
	}
	if m.code != 0 {
		h.Set("Retry-After", m.wait)
		return &http.Response{StatusCode: m.code, Header: h, Body: http.NoBody}, nil
	}
	var content []byte
	m.s.do(func() { content = m.s.files[r.URL.Path].content })
	return &http.Response{StatusCode: http.StatusOK, Header: h, Body: io.NopCloser(bytes.NewReader(content))}, nil
}

// bubble runs a watcher whose time passes only while everybody waits.
func bubble(t *testing.T, run func(t *testing.T, m *simulated, w *Watcher)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newOffline(t)
		c := s.config()
		w, err := newWatcher(c)
		if err != nil {
			t.Fatal(err)
		}
		m := &simulated{s: s, from: time.Now(), clock: time.Now}
		w.server.transport, w.now, w.server.now = m, m.now, m.now
		w.random = func(n int64) int64 { return n - 1 } // the longest waits
		if err := w.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go w.run(ctx)
		synctest.Wait()
		run(t, m, w)
		cancel()
		<-w.Done() // the bubble fails where a goroutine is left
		c.Engine.Close()
	})
}

// TestBackOff: POL-3512. A server that fails is asked at growing distances, and no sooner than it wants.
func TestBackOff(t *testing.T) {
	bubble(t, func(t *testing.T, m *simulated, w *Watcher) {
		at(t, w.Status(), 1, nil)
		m.set(func() { m.code = http.StatusServiceUnavailable })
		time.Sleep(10 * time.Minute)
		at(t, w.Status(), 1, ErrServer)
		asked, want := m.asked(), []time.Duration{1, 2, 4, 8, 16, 32, 64, 120, 120, 120}
		if len(asked) != len(want)+1 {
			t.Fatalf("asked at %v", asked)
		}
		for i, d := range want {
			if got := asked[i+1] - asked[i]; got.Round(time.Second) != d*time.Second {
				t.Errorf("wait %d is %v, want %v s", i, got, d)
			}
		}
		m.set(func() { m.wait = "1200" })
		time.Sleep(time.Hour)
		if n := len(m.asked()); n < 2 || n > 4 {
			t.Errorf("asked %d times in an hour, with 20 minutes wanted in between", n)
		}
		m.s.put(m.s.signed(2, 2, time.Now().Add(time.Hour)))
		m.set(func() { m.code = 0 })
		time.Sleep(25 * time.Minute)
		at(t, w.Status(), 2, nil)
		if asked := m.asked(); (asked[2] - asked[1]).Round(time.Second) != 75*time.Second {
			t.Errorf("all is well, and it is asked at %v", asked)
		}
	})
}

// TestClockJumps: POL-3513. The host's clock says whether a policy has expired, and nothing else.
func TestClockJumps(t *testing.T) {
	bubble(t, func(t *testing.T, m *simulated, w *Watcher) {
		for _, year := range []int{1970, 2262, 1999} {
			m.set(func() { m.clock = func() time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) } })
			time.Sleep(10 * time.Minute)
			if n := len(m.asked()); n < 7 || n > 9 {
				t.Errorf("in %d it is asked %d times in ten minutes", year, n)
			}
			want := error(nil)
			if year == 2262 {
				want = policy.ErrExpired
			}
			at(t, w.Status(), 1, want)
		}
		m.set(func() { m.clock = time.Now })
		time.Sleep(time.Hour) // past the end of the policy
		at(t, w.Status(), 1, policy.ErrExpired)
		if d, err := w.config.Engine.Decide(t.Context(), new(policy.Request)); d.Allowed() || !errors.Is(err, policy.ErrExpired) {
			t.Errorf("allowed %v, %v", d.Allowed(), err)
		}
		m.s.publish(2)
		time.Sleep(5 * time.Minute)
		at(t, w.Status(), 2, nil)
	})
}

// TestExpiredWhileDown: POL-3515. What expired while the service was down does not start it.
func TestExpiredWhileDown(t *testing.T) {
	bubble(t, func(t *testing.T, m *simulated, w *Watcher) {
		m.set(func() { m.code = -1 })
		for _, sleep := range []time.Duration{0, 2 * time.Hour} {
			time.Sleep(sleep)
			again, err := newWatcher(restarted(t, w.config))
			must(t, err)
			again.server.transport = m
			err = again.start(t.Context())
			if sleep == 0 {
				must(t, err)
			} else if !errors.Is(err, policy.ErrExpired) || !errors.Is(err, ErrServer) {
				t.Errorf("after %v: %v", sleep, err)
			}
			again.config.Engine.Close()
		}
	})
}
