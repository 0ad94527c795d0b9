package remote

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	firstRetry    = time.Second
	leastWait     = 100 * time.Millisecond
	maxRetryAfter = time.Hour
)

// pace says when the server is asked next.
type pace struct {
	interval time.Duration
	failures int // in a row
}

// next is the wait after a check that ended with err. It is random, so that services which were started or failed together do
// not come together: within a quarter of the interval when all is well; after a failure any part of a second that
// doubles with each up to twice the interval (AWS calls it full jitter), and behind what the server asked for.
func (p *pace) next(err error, random func(n int64) int64) time.Duration {
	if err == nil {
		p.failures = 0
		return p.interval*3/4 + time.Duration(random(int64(p.interval/2)))
	}
	ceiling := min(firstRetry<<min(p.failures, 20), 2*p.interval)
	p.failures++
	wait := leastWait + time.Duration(random(int64(ceiling)))
	var asked *retryError
	if errors.As(err, &asked) {
		wait += asked.after
	}
	return wait
}

// random needs no secrecy: it keeps services apart.
func random(n int64) int64 { return rand.Int64N(n) } //nolint:gosec // G404: see above

// retryError carries what a server says about when to come again.
type retryError struct {
	error
	after time.Duration
}

func (e *retryError) Unwrap() error { return e.error }

// retryAfter reads the header Retry-After (RFC 9110, section 10.2.3): seconds, or a date. A date is compared with the
// server's own Date, lest our clock decide; where it sends none, with now. What is no such header is 0, and an hour is the most.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if sent, err := http.ParseTime(h.Get("Date")); err == nil {
		now = sent
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
