package remote

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/policy"
)

// raw answers with bytes of its own. It is given the connection, which is closed after.
func raw(answer func(c net.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		answer(c)
	}
}

func says(text string) http.HandlerFunc {
	return raw(func(c net.Conn) { io.WriteString(c, text) })
}

// endless writes a start and then something over and over, until the other side has enough.
func endless(start, over string, pause time.Duration) http.HandlerFunc {
	return raw(func(c net.Conn) {
		io.WriteString(c, start)
		chunk := strings.Repeat(over, 1)
		if pause == 0 {
			chunk = strings.Repeat(over, 1000)
		}
		for {
			if _, err := io.WriteString(c, chunk); err != nil {
				return
			}
			time.Sleep(pause)
		}
	})
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func header(name, value string, code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(name, value)
		w.WriteHeader(code)
	}
}

// bomb is some kilobytes that are a thousand times as many unpacked.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 12 {
		z.Write(zeros)
	}
	z.Close()
	return b.Bytes()
}

// errOfTheVerifier stands for those of its errors that say that this is no signature, or not that of the bundle.
var errOfTheVerifier = errors.New("of the verifier")

type fault struct {
	name   string
	answer http.HandlerFunc
	want   error  // ErrServer where it is nil
	says   string // of the error
}

func faults(t *testing.T) []fault {
	squeezed := bomb(t)
	const ok = "HTTP/1.1 200 OK\r\n"
	return []fault{
		{"a byte a second", endless(ok+"Content-Length: 1000\r\n\r\n", "x", time.Second), context.DeadlineExceeded, ""},
		{"headers a byte a second", endless(ok, "x", time.Second), context.DeadlineExceeded, ""},
		{"no answer at all", endless("", "", time.Second), context.DeadlineExceeded, ""},
		{"cut after the headers", says(ok + "Content-Length: 1000\r\n\r\n"), io.ErrUnexpectedEOF, ""},
		{"cut in the middle", says(ok + "Content-Length: 1000\r\n\r\nsecret"), io.ErrUnexpectedEOF, ""},
		{"cut in the headers", says(ok + "Content-Le"), nil, ""},
		{"cut in a chunk", says(ok + "Transfer-Encoding: chunked\r\n\r\nff\r\nabc"), io.ErrUnexpectedEOF, ""},
		{"chunks without an end", says(ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), io.ErrUnexpectedEOF, ""},
		{"more than is allowed", says(ok + "Content-Length: 1000000000000\r\n\r\n"), policy.ErrOversized, "1000000000000 bytes"},
		{"a length below zero", says(ok + "Content-Length: -1\r\n\r\n"), nil, ""},
		{"two lengths", says(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nabc"), nil, ""},
		{"a body without an end", endless(ok+"\r\n", "x", 0), policy.ErrOversized, "more than"},
		{"chunks that never end", endless(ok+"Transfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\n", 0), policy.ErrOversized, "more than"},
		{"headers that never end", endless(ok, "A: b\r\n", 0), nil, ""},
		{"one header that never ends", endless(ok+"A: ", "b", 0), nil, ""},
		{"a first line that never ends", endless("HTTP/1.1 200 ", "x", 0), nil, ""},
		{"early hints that never end", endless("", "HTTP/1.1 103 Early Hints\r\n\r\n", 0), nil, ""},
		{"an encoding of the transfer", says(ok + "Transfer-Encoding: gzip\r\n\r\nabc"), nil, ""},
		{"not HTTP", says("SSH-2.0-OpenSSH_9.2\r\n"), nil, ""},
		{"control characters", says("HTTP/1.1 \x1b[31m\x07 OK\r\n\r\n"), nil, ""},
		{"part of it", header("Content-Range", "bytes 0-9/10", http.StatusPartialContent), nil, "status 206"},
		{"nothing", status(http.StatusNoContent), nil, "status 204"},
		{"an error page that never ends", endless("HTTP/1.1 500 Oops\r\n\r\n", "x", 0), nil, "status 500"},
		{"not found", status(http.StatusNotFound), nil, "see WatchConfig.URL"},
		{"not allowed", status(http.StatusForbidden), nil, "see WatchConfig.Token"},
		{"overloaded", status(http.StatusServiceUnavailable), nil, "status 503"},
		{"a status of its own", status(799), nil, "status 799"},
		{"a redirect to itself", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, nil, "more than 5 redirects"},
		{"a redirect further and further", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"?"+r.URL.RawQuery+"x", http.StatusFound)
		}, nil, "more than 5 redirects"},
		{"a redirect to nowhere", status(http.StatusFound), nil, "to nowhere"},
		{"a redirect to a file", header("Location", "file:///etc/shadow", http.StatusFound), nil, "to nowhere"},
		{"a redirect out of the host", header("Location", "http://192.0.2.1/", http.StatusFound), nil, "over http to another host"},
		{"a redirect to another scheme", header("Location", "https://127.0.0.1/", http.StatusFound), nil, "from http to"},
		{"a redirect with a user", header("Location", "http://a:hunter2@127.0.0.1/", http.StatusFound), nil, "with a user"},
		{"a compressed page", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(squeezed)
		}, errOfTheVerifier, ""},
		{"a strange kind", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-sh; charset=\"")
			io.WriteString(w, "#!/bin/sh\n")
		}, errOfTheVerifier, ""},
	}
}

// TestHostileServers: POL-3508, POL-3509. Whatever a server does with either file ends in time, takes a bounded amount of
// memory, is an error that says what, and leaves the policy in force. Then a good answer counts again.
func TestHostileServers(t *testing.T) {
	s := newSite(t)
	c := s.config()
	c.MaxBytes = 256 << 10
	w := begin(t, c)
	next := uint64(2)
	s.publish(next)
	for _, f := range faults(t) {
		for _, path := range []string{signaturePath, bundlePath} {
			t.Run(f.name+" for "+path, func(t *testing.T) {
				s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != path {
						return false
					}
					f.answer(w, r)
					return true
				})
				w.config.Timeout = 20 * time.Second
				if errors.Is(f.want, context.DeadlineExceeded) {
					w.config.Timeout = 300 * time.Millisecond
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				start := time.Now()
				now := again(t, w)
				took := time.Since(start)
				runtime.ReadMemStats(&after)
				refusedFor(t, now.Err, f)
				at(t, now, 1, now.Err)
				if errors.Is(f.want, context.DeadlineExceeded) && took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
					t.Errorf("it took %d bytes", used)
				}
			})
		}
	}
	s.misbehave(nil)
	w.config.Timeout = 20 * time.Second
	at(t, again(t, w), next, nil)
}

func refusedFor(t *testing.T, err error, f fault) {
	t.Helper()
	switch {
	case errors.Is(f.want, errOfTheVerifier):
		if !errors.Is(err, policy.ErrSignature) && !errors.Is(err, policy.ErrSignatureFormat) {
			t.Errorf("error %v, want one of the signature", err)
		}
		return
	case !errors.Is(err, ErrServer) || f.want != nil && !errors.Is(err, f.want):
		t.Fatalf("error %v, want %v", err, f.want)
	case !strings.Contains(err.Error(), f.says):
		t.Errorf("error %v, want one that says %q", err, f.says)
	}
	for _, r := range err.Error() {
		if r < ' ' || r == 0x7f {
			t.Errorf("a control character in %q", err)
		}
	}
	if len(err.Error()) > 600 || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%d bytes of error: %v", len(err.Error()), err)
	}
}

// TestEncodedBundles: POL-3508. What a server says about an encoding changes nothing: the bytes that were signed are the
// ones that count, and the error says what may be wrong.
func TestEncodedBundles(t *testing.T) {
	s := newSite(t)
	s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == bundlePath {
			w.Header().Set("Content-Encoding", "x-gzip") // as Apache may say of any .gz
		}
		return false
	})
	w := begin(t, s.config())
	at(t, w.Status(), 1, nil)
	archive, signature := s.pair(2)
	s.put(bytes.ToUpper(archive), signature)
	now := again(t, w)
	at(t, now, 1, policy.ErrSignature)
	if now.Err == nil || !strings.Contains(now.Err.Error(), "Content-Encoding") {
		t.Error(now.Err)
	}
}

// TestRedirects: POL-3510. A redirect within the scheme is followed, by its own rules on each step.
func TestRedirects(t *testing.T) {
	s, elsewhere := newSite(t), newSite(t)
	elsewhere.put(s.pair(2))
	for _, code := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, elsewhere.web.URL+r.URL.Path, code)
				return true
			})
			c := s.config()
			at(t, begin(t, c).Status(), 2, nil)
		})
	}
}

// TestNext: POL-3510. Where a redirect may lead.
func TestNext(t *testing.T) {
	const https, local = "https://a.example/x/y?q=1", "http://127.0.0.1:80/x/y"
	for _, c := range []struct{ from, location, want string }{
		{https, "http://a.example/", ""},
		{https, "http://127.0.0.1/", ""},
		{https, "HTTP://a.example/", ""},
		{https, "//b.example/z", "https://b.example/z"},
		{https, "z", "https://a.example/x/z"},
		{https, "https://b.example:444/", "https://b.example:444/"},
		{https, "https://b.example@c.example/", ""},
		{https, "javascript:alert(1)", ""},
		{https, "https:///x", ""},
		{https, "https:x", ""},
		{https, "http\x00s://a/", ""},
		{https, "", ""},
		{local, "http://localhost:8080/z", "http://localhost:8080/z"},
		{local, "http://localhost.example/", ""},
		{local, "http://10.0.0.1/", ""},
		{local, "https://a.example/", ""},
	} {
		got, err := next(parsed(t, c.from), c.location, new(WatchConfig).mayUse)
		if err != nil && c.want == "" {
			continue
		}
		if err != nil || got.String() != c.want {
			t.Errorf("%s to %q: %v, %v, want %q", c.from, c.location, got, err, c.want)
		}
	}
}

// FuzzNext: POL-3510. No redirect leaves the scheme, brings a user, or leads over http to another host.
func FuzzNext(f *testing.F) {
	for _, location := range []string{"z", "//b/z", "http://b/", "https://u@b/", "\\\\b", "http://[::1]:1/", "?q", "https:x"} {
		f.Add("https://a.example/x", location)
		f.Add("http://127.0.0.1/x", location)
	}
	f.Fuzz(func(t *testing.T, from, location string) {
		c := WatchConfig{}
		u, err := c.parse("URL", from)
		if err != nil {
			return
		}
		to, err := next(u, location, c.mayUse)
		if err != nil {
			return
		}
		if to.Scheme != u.Scheme || to.User != nil || to.Host == "" || to.Scheme == "http" && !loopback(to) {
			t.Errorf("%q leads from %q to %q", location, from, to)
		}
	})
}

// TestErrorsAreBounded: POL-3509. What an error quotes of a server is short and printable, and its cause can still be asked for.
func TestErrorsAreBounded(t *testing.T) {
	long := cut{fmt.Errorf("\x1b[31m\r\n\u009b \u00e9 %w %s", io.ErrUnexpectedEOF, strings.Repeat("x", 1000))}
	if want := "?[31m??? \u00e9 unexpected EOF "; !strings.HasPrefix(long.Error(), want) || len([]rune(long.Error())) != 300 {
		t.Errorf("%q", long.Error())
	}
	if !errors.Is(long, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	s := newSite(t)
	w := begin(t, s.config())
	s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		says("HTTP/1.1 "+strings.Repeat("x", 10000)+"\r\n\r\n")(w, r)
		return true
	})
	if now := again(t, w); now.Err == nil || len(now.Err.Error()) > 500 {
		t.Errorf("%v", now.Err)
	}
}
