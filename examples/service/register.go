package service

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/llorch/secrets-management/bearer"
	"github.com/llorch/secrets-management/secret"
)

// Client makes a client for one origin, which sends it the token.
func Client(origin string, token *secret.Secret) (*http.Client, error) {
	allowed, err := cleartext()
	if err != nil {
		return nil, err
	}
	transport, err := bearer.Client{Origin: origin, Token: token, Cleartext: allowed}.Transport()
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: transport}, nil
}

// Registration keeps a service registered with another one, which may not be there yet, and forgets everything when it is
// restarted: it registers again every Interval.
type Registration struct {
	Client   *http.Client // adds the token
	URL      string
	Body     any
	Interval time.Duration
}

const (
	everyHalfMinute = 30 * time.Second // where LLORCH_INTERVAL does not say how often

	firstPause = 100 * time.Millisecond
	onePost    = 5 * time.Second
)

// NewRegistration registers a node by a POST to a path of an origin, which gets the token.
func NewRegistration(origin, path string, token *secret.Secret, n Node) (Registration, error) {
	client, err := Client(origin, token)
	if err != nil {
		return Registration{}, err
	}
	interval, err := Seconds("LLORCH_INTERVAL", everyHalfMinute)
	return Registration{Client: client, URL: origin + path, Body: n, Interval: interval}, err
}

// ServeRegistered is Serve, and keeps the service registered meanwhile. When it returns, nothing uses the registration's token
// any more.
func (s *Service) ServeRegistered(ctx context.Context, listener net.Listener, handler http.Handler, r Registration) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Keep(ctx, r)
	}()
	err := s.Serve(ctx, listener, handler)
	cancel()
	<-done
	return err
}

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
