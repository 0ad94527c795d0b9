package bearer

import (
	"crypto/rand"
	"net/netip"
	"sync"
	"time"
)

// maxClients bounds the memory of a limiter, at about 100 bytes each.
const maxClients = 4096

// networkBits is what of an IPv6 address counts: whoever has one address has its /64.
const networkBits = 64

// limiter counts the failures of addresses. One is forgiven every interval.
type limiter struct {
	most     int
	interval time.Duration
	start    time.Time

	mu sync.Mutex
	at map[netip.Addr]time.Duration // when all failures of an address are forgiven, since start
}

func newLimiter(most int, interval time.Duration) *limiter {
	return &limiter{most: most, interval: interval, start: time.Now(), at: map[netip.Addr]time.Duration{}}
}

func client(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(networkBits); err == nil {
			return p.Addr()
		}
	}
	return a
}

// full is how long it takes until as many failures are forgiven as an address may have.
func (l *limiter) full() time.Duration { return time.Duration(l.most) * l.interval }

// wait is how long an address has to wait before it may try again.
func (l *limiter) wait(a netip.Addr) time.Duration {
	now := time.Since(l.start)
	l.mu.Lock()
	defer l.mu.Unlock()
	if over := l.at[client(a)] - now - l.full() + l.interval; over > 0 {
		return over
	}
	return 0
}

// failed counts a failure, and reports whether it was the last one that is answered as such.
func (l *limiter) failed(a netip.Addr) (last bool) {
	now, key := time.Since(l.start), client(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	at, known := l.at[key]
	if !known && len(l.at) >= maxClients {
		l.makeRoomLocked(now)
	}
	// Requests that came in while others of the same address failed do not push the end further away.
	l.at[key] = min(max(at, now)+l.interval, now+l.full())
	return l.at[key]-now > l.full()-l.interval
}

// sample is how many entries are looked at for one that can go. Go's maps give a random few.
const sample = 16

// makeRoomLocked forgets the address that is forgiven first among some. Whoever has so many addresses that this happens
// is not stopped by a limit for each; memory is what is bounded then, and nobody is shut out who did nothing.
func (l *limiter) makeRoomLocked(now time.Duration) {
	var victim netip.Addr
	n, first := 0, time.Duration(0)
	for a, at := range l.at {
		if at <= now {
			delete(l.at, a)
			return
		}
		if n == 0 || at < first {
			victim, first = a, at
		}
		if n++; n == sample {
			break
		}
	}
	delete(l.at, victim)
}

func randomize(buf []byte) {
	_, _ = rand.Read(buf) // never returns an error: crypto/rand
}
