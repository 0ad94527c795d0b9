package service

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// Registration keeps a service registered with another one, which may not be there yet, and forgets everything when it is
// restarted: it registers again every Interval.
type Registration struct {
	Client   *http.Client // adds the token
	URL      string
	Body     any
	Interval time.Duration
}

const (
	firstPause = 100 * time.Millisecond
	onePost    = 5 * time.Second
)

// Keep registers until ctx ends. After a failure it tries again, after pauses that double up to Interval, and of random length
// so that services that failed together do not come back together. The log has the first failure of a row and its end.
func (s *Service) Keep(ctx context.Context, r Registration) {
	registered, failing := false, false
	for pause := firstPause; ; {
		err := r.post(ctx)
		wait := r.Interval
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !failing {
				s.Log.Warn("not registered, trying again", "url", r.URL, "error", err)
			}
			failing = true
			wait, pause = pause/2+rand.N(pause/2+1), min(2*pause, r.Interval) //nolint:gosec // G404: who guesses it gains nothing
		default:
			if failing || !registered {
				s.Log.Info("registered", "url", r.URL)
			}
			registered, failing, pause = true, false, firstPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (r Registration) post(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, onePost)
	defer cancel()
	body, err := json.Marshal(r.Body)
	if err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/json")
	res, err := r.Client.Do(q)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxBody)) // so that the connection is used again
	if res.StatusCode != http.StatusNoContent {
		return fmt.Errorf("the answer is %s", res.Status)
	}
	return nil
}
