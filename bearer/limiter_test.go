package bearer

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestTooManyFailures: SVC-7003. After so many failures an address is refused whatever it sends, no other address is, and
// time forgives.
func TestTooManyFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, func(c *Config) { c.Failures, c.Forgive = 5, 2*time.Second })
		try := func(from, token string) int {
			r := request("Bearer " + token)
			r.RemoteAddr = from
			return d.send(r).Code
		}
		for i := range 5 {
			if got := try("192.0.2.1:1", "wrong"); got != 401 {
				t.Fatalf("failure %d: status %d", i+1, got)
			}
		}
		logged := d.log.Len()
		r := request("Bearer " + queenToken)
		r.RemoteAddr = "192.0.2.1:2"
		if w := d.send(r); w.Code != 429 || w.Header().Get("Retry-After") != "2" || w.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("status %d, %v", w.Code, w.Header())
		}
		if try("192.0.2.1:2", "wrong") != 429 || d.log.Len() != logged {
			t.Error("who is refused fills the log")
		}
		if got := try("[::ffff:192.0.2.1]:1", queenToken); got != 429 {
			t.Errorf("the same address as one of IPv6: status %d", got)
		}
		if got := try("192.0.2.2:1", queenToken); got != 200 {
			t.Errorf("another address: status %d", got)
		}
		time.Sleep(1999 * time.Millisecond)
		if got := try("192.0.2.1:1", queenToken); got != 429 {
			t.Errorf("just before: status %d", got)
		}
		time.Sleep(time.Millisecond)
		for i, want := range []int{200, 200, 401, 429} { // one is forgiven, and what is right costs nothing
			if got := try("192.0.2.1:1", map[int]string{200: queenToken, 401: "wrong", 429: queenToken}[want]); got != want {
				t.Errorf("%d: status %d, want %d", i, got, want)
			}
		}
		time.Sleep(time.Minute)
		for i := range 6 {
			if got := try("192.0.2.1:1", "wrong"); (got == 401) != (i < 5) {
				t.Errorf("a minute later, failure %d: status %d", i+1, got)
			}
		}
	})
}

// TestWhatCounts: SVC-7003. A guess does, and a malformed header; a request without a token and a success do not.
func TestWhatCounts(t *testing.T) {
	for name, tt := range map[string]struct {
		headers []string
		counts  bool
	}{
		"no token":  {nil, false},
		"success":   {[]string{"Bearer " + queenToken}, false},
		"wrong":     {[]string{"Bearer wrong"}, true},
		"malformed": {[]string{"Bearer wrong wrong"}, true},
		"twice":     {[]string{"Bearer wrong", "Bearer wrong"}, true},
	} {
		d := newDoor(t, func(c *Config) { c.Failures = 3 })
		for range 5 {
			d.send(request(tt.headers...))
		}
		if limited := d.send(request("Bearer "+queenToken)).Code == 429; limited != tt.counts {
			t.Errorf("%s: counts %v", name, limited)
		}
		if said := d.log.String(); tt.counts != strings.Contains(said, `"limit_reached":true`) {
			t.Errorf("%s: the log says %s", name, said)
		}
	}
}

// TestAddresses: SVC-7003. Whose failures are counted together.
func TestAddresses(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:1":             "192.0.2.1",
		"[::ffff:192.0.2.1]:1":    "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:": "invalid IP",
		"[2001:db8:1:2:3::6]:9":   "2001:db8:1:2::",
		"[2001:db8:1:2:ffff::]:9": "2001:db8:1:2::",
		"[2001:db8:1:3::]:9":      "2001:db8:1:3::",
		"[fe80::1%eth0]:9":        "fe80::",
		"@":                       "invalid IP",
		"":                        "invalid IP",
	} {
		r := request()
		r.RemoteAddr = remote
		if got := client(clientOf(r)).String(); got != want {
			t.Errorf("%q: %s, want %s", remote, got, want)
		}
	}
}

// TestManyAddresses: SVC-7003. Memory is bounded, whoever connects; who is over the limit is not forgotten for a newcomer, as
// far as a look at a few can tell, and nobody pays for another.
func TestManyAddresses(t *testing.T) {
	l := newLimiter(3, time.Hour)
	address := func(i int) netip.Addr {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(i)+1<<24)
		return netip.AddrFrom4(b)
	}
	worst := netip.MustParseAddr("192.0.2.1")
	for range 3 {
		l.failed(worst)
	}
	for i := range 5 * maxClients {
		l.failed(address(i))
	}
	if n := len(l.at); n > maxClients {
		t.Errorf("%d addresses are kept", n)
	}
	if l.wait(worst) == 0 {
		t.Error("the one that is over the limit was forgotten before those with one failure")
	}
	if l.wait(address(10*maxClients)) != 0 {
		t.Error("one that never failed has to wait")
	}
}

// TestForgivenGoFirst: SVC-7003.
func TestForgivenGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(1, time.Second)
		for i := range maxClients {
			l.failed(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		}
		time.Sleep(2 * time.Second)
		fresh := netip.MustParseAddr("192.0.2.1")
		l.failed(fresh)
		for i := range 100 {
			l.failed(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}))
		}
		if l.wait(fresh) == 0 || len(l.at) > maxClients {
			t.Errorf("wait %v with %d addresses", l.wait(fresh), len(l.at))
		}
	})
}

// TestFailuresAtOnce: SVC-7003. Goroutines do not get around the count.
func TestFailuresAtOnce(t *testing.T) {
	l, a := newLimiter(100, time.Hour), netip.MustParseAddr("192.0.2.1")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				l.failed(a)
			}
		})
	}
	wg.Wait()
	if l.wait(a) == 0 {
		t.Error("a hundred failures were not counted")
	}
}
