package bearer

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestLeaksNothing: SVC-7007. After many requests, let in and refused, there are no more goroutines, files, heap and locked
// memory than before. BEARER_SOAK=60s makes it longer (make soak).
func TestLeaksNothing(t *testing.T) {
	length := 2 * time.Second
	if text := os.Getenv("BEARER_SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	s := newSoak(t)
	s.run(t, length/4) // everything that is made once is there then
	before := footprintOf(t)
	requests := s.run(t, length)
	after := footprintOf(t)
	t.Logf("%d requests: %+v, then %+v", requests, before, after)
	if requests < 100 {
		t.Errorf("%d requests are too few to tell", requests)
	}
	if fault := before.grownTo(after); fault != nil {
		t.Error(fault)
	}

	// The control: one connection, one goroutine, one secret and a few bytes for each thousand requests would show.
	held := s.server.Listener.Addr().String()
	for range 3 {
		c, err := net.Dial("tcp", held)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if before.grownTo(footprintOf(t)) == nil {
		t.Error("three connections that are left open do not show")
	}
}

// soak is a guarded server, and who asks it.
type soak struct {
	server *httptest.Server
	right  http.RoundTripper
	wrong  http.RoundTripper
}

func newSoak(t *testing.T) *soak {
	d := newDoor(t, func(c *Config) { c.Logger, c.Failures = slog.New(slog.DiscardHandler), 1000 })
	s := &soak{server: httptest.NewServer(d.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, Caller(r.Context()))
	})))}
	t.Cleanup(s.server.Close)
	from := func(address, token string) http.RoundTripper {
		base := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext}
		t.Cleanup(base.CloseIdleConnections)
		transport, err := Client{Origin: s.server.URL, Token: tokenOf(t, token), Base: base}.Transport()
		if err != nil {
			t.Fatal(err)
		}
		return transport
	}
	s.right, s.wrong = from("127.0.0.1", queenToken), from("127.0.0.2", "fake-wrong-token")
	return s
}

// run asks at full speed, and makes a Guard now and then.
func (s *soak) run(t *testing.T, length time.Duration) (requests int) {
	end := time.Now().Add(length)
	var mu sync.Mutex
	var wg sync.WaitGroup
	ask := func(transport http.RoundTripper, good bool) {
		client, n := http.Client{Transport: transport}, 0
		for time.Now().Before(end) {
			res, err := client.Get(s.server.URL)
			if err != nil {
				t.Error(err)
				return
			}
			_, err = io.Copy(io.Discard, res.Body)
			if err = errors.Join(err, res.Body.Close()); err != nil || (res.StatusCode == http.StatusOK) != good {
				t.Errorf("status %d: %v", res.StatusCode, err)
				return
			}
			n++
		}
		mu.Lock()
		requests += n
		mu.Unlock()
	}
	wg.Go(func() { ask(s.right, true) })
	wg.Go(func() { ask(s.wrong, false) })
	wg.Go(func() {
		token := tokenOf(t, poolToken)
		for ; time.Now().Before(end); time.Sleep(time.Millisecond) {
			if _, err := New(Config{Realm: "soak", Tokens: []Token{{"a", token}}, Logger: slog.New(slog.DiscardHandler)}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	wg.Wait()
	return requests
}

// footprint is what a process has.
type footprint struct {
	goroutines, files int
	heap              uint64
	locked            string
}

func footprintOf(t *testing.T) footprint {
	t.Helper()
	for range 3 {
		runtime.GC() // clean-ups run after it
		time.Sleep(20 * time.Millisecond)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	f := footprint{goroutines: runtime.NumGoroutine(), files: len(files), heap: m.HeapAlloc}
	for line := range strings.Lines(string(status)) {
		if name, value, _ := strings.Cut(line, ":"); name == "VmLck" {
			f.locked = strings.TrimSpace(value)
		}
	}
	return f
}

// grownTo says what there is more of. A leak of one byte for each of some hundred thousand requests is below what the heap varies by.
func (f footprint) grownTo(g footprint) error {
	const slack = 256 << 10
	if g.goroutines > f.goroutines || g.files > f.files || g.heap > f.heap+slack || g.locked != f.locked {
		return fmt.Errorf("it grew: from %+v to %+v", f, g)
	}
	return nil
}
