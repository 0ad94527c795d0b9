package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// post counts what a service would have sent.
type post struct {
	at     []time.Duration
	start  time.Time
	answer func(n int) int
}

func (p *post) RoundTrip(r *http.Request) (*http.Response, error) {
	p.at = append(p.at, time.Since(p.start))
	status := p.answer(len(p.at))
	if status == 0 {
		return nil, fmt.Errorf("no route")
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

// TestKeep: SVC-7013. Pauses grow after failures up to the interval, and what registered registers again.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		s := &Service{Log: slog.New(slog.NewTextHandler(&log, nil))}
		p := &post{start: time.Now(), answer: func(n int) int {
			switch {
			case n <= 6:
				return 0
			case n == 9:
				return http.StatusUnauthorized
			}
			return http.StatusNoContent
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Keep(ctx, Registration{Client: &http.Client{Transport: p}, URL: "https://pool/register", Body: Node{ID: "a"}, Interval: time.Second})
		}()
		time.Sleep(10 * time.Second)
		cancel()
		<-done
		if len(p.at) < 12 || p.at[0] != 0 {
			t.Fatalf("sent at %v", p.at)
		}
		most := 100 * time.Millisecond
		for i := 1; i < 6; i++ {
			if pause := p.at[i] - p.at[i-1]; pause < most/2 || pause > most+time.Millisecond {
				t.Errorf("pause %d is %v, of at most %v", i, pause, most)
			}
			most = min(2*most, time.Second)
		}
		if pause := p.at[7] - p.at[6]; pause != time.Second {
			t.Errorf("registered, and again after %v", pause)
		}
		if failed, again := strings.Count(log.String(), "trying again"), strings.Count(log.String(), "msg=registered"); failed != 2 || again != 2 {
			t.Errorf("the log has %d failures and %d ends of them:\n%s", failed, again, log.String())
		}
	})
}

// TestRegistry: SVC-7012. It is bounded, forgets, and knows who comes again.
func TestRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Registry
		for name, n := range map[string]Node{"no id": {Address: "a"}, "no address": {ID: "a"}, "long": {ID: strings.Repeat("a", 256), Address: "a"}} {
			if g.Add(n) {
				t.Errorf("%s: taken", name)
			}
		}
		for i := range maxNodes {
			if !g.Add(Node{ID: fmt.Sprint(i), Address: "a"}) {
				t.Fatalf("node %d is refused", i)
			}
		}
		if g.Add(Node{ID: "one more", Address: "a"}) || !g.Add(Node{ID: "7", Address: "b"}) || len(g.List()) != maxNodes {
			t.Error("it is not bounded, or does not know who is there")
		}
		time.Sleep(stale + time.Second)
		if !g.Add(Node{ID: "one more", Address: "a"}) || len(g.List()) != 1 {
			t.Errorf("%d are remembered", len(g.List()))
		}
	})
}

// TestRead: SVC-7012. One object of the form, and nothing else.
func TestRead(t *testing.T) {
	for body, want := range map[string]bool{
		`{"id":"a","address":"b"}`: true, ` {"id":"a"} `: true,
		``: false, `{}{}`: false, `{"id":1}`: false, `{"more":1}`: false, `{"id":"a"`: false, `[]`: false, `{"id":"` + strings.Repeat("a", maxBody) + `"}`: false,
	} {
		var n Node
		w := httptest.NewRecorder()
		got := Read(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)), &n)
		if got != want || got == (w.Code == http.StatusBadRequest) {
			t.Errorf("%.40s: %v, status %d", body, got, w.Code)
		}
	}
}

// TestServeEnds: SVC-7011. A request that runs is answered after the end was asked for, and then the service ends.
func TestServeEnds(t *testing.T) {
	s := &Service{Log: slog.New(slog.DiscardHandler)}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	begun := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- s.Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(begun)
			<-ctx.Done()
			io.WriteString(w, "answered")
		}))
	}()
	answer := make(chan string, 1)
	go func() {
		res, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		answer <- string(b)
	}()
	<-begun
	cancel()
	if got := <-answer; got != "answered" {
		t.Error(got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestVariables: SVC-7011. What is misspelt is no default.
func TestVariables(t *testing.T) {
	for text, want := range map[string]time.Duration{"": time.Minute, "0.2": 200 * time.Millisecond, "30": 30 * time.Second, "0": 0, "-1": 0, "1h": 0, "NaN": 0, "1e9": 0} {
		t.Setenv("LLORCH_TEST", text)
		got, err := Seconds("LLORCH_TEST", time.Minute)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]bool{"": true, "no": true, "yes": true, "YES": true, "true": false, "y": false} {
		t.Setenv("LLORCH_CLEARTEXT", text)
		if got, err := cleartext(); (err == nil) != want || got != strings.EqualFold(text, "yes") {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}
