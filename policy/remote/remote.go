package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/llorch/secrets-management/policy"
)

// Errors of this package, for errors.Is. What is wrong with a bundle has the errors of [policy.Verifier] and
// [policy.Engine.Activate].
var (
	// ErrServer is matched when the server gave no bundle: it is not reached, too slow, or answers something else. A
	// context's error is in it where time ran out, and [policy.ErrOversized] where the answer is too large.
	ErrServer = errors.New("the server gives no bundle")

	// ErrToken is matched when there is no token to ask the server with.
	ErrToken = errors.New("bearer token is of no use")

	// ErrCache is matched when the last good bundle cannot be kept, or there is none.
	ErrCache = errors.New("cache of the last good bundle")
)

// Status is what a [Watcher] knows.
type Status struct {
	Info      policy.Info // the policy in force, and since when
	Checked   time.Time   // when the server was last asked
	Confirmed time.Time   // when the server last gave or confirmed what is in force; zero if it did not since the start
	Err       error       // why what the server has is not in force or not kept, or policy.ErrExpired; nil when all is well
}

// Watcher keeps an engine at what a server has. It is safe for concurrent use.
type Watcher struct {
	config WatchConfig
	server *server
	cache  cache
	now    func() time.Time
	random func(n int64) int64 // in [0, n)
	done   chan struct{}

	mu                 sync.Mutex
	checked, confirmed time.Time
	err                error

	// Of the watching goroutine alone.
	held held
	pace pace
}

// held is what the engine has from here.
type held struct {
	info      policy.Info // of the engine after it was activated; another one is somebody else's
	signature []byte
	kept      string // the archive's path in the cache; empty where it could not be kept

	signatureIs, archiveIs validators
}

// Watch puts the bundle that a server has into force, and every one that replaces it, about [WatchConfig.Interval] later. A bad
// one, and a server that is down, leave the last good one in force: see [Watcher.Status].
//
// When Watch returns, the last good bundle from the cache is in force, or a newer one from the server, which was asked once.
// It is an error only when the engine is left without a policy: then everything was tried for Timeout. Watching ends with
// ctx; the engine stays open. An engine has one watcher at a time: two would undo each other's work.
func Watch(ctx context.Context, c WatchConfig) (*Watcher, error) {
	w, err := newWatcher(c)
	if err != nil {
		return nil, err
	}
	if err := w.start(ctx); err != nil {
		w.server.close()
		return nil, err
	}
	go w.run(ctx)
	return w, nil
}

func newWatcher(c WatchConfig) (*Watcher, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s, err := newServer(&c)
	if err != nil {
		return nil, err
	}
	return &Watcher{
		config: c, server: s, cache: cache{c.Cache, do}, now: time.Now, random: random, done: make(chan struct{}),
		err: errors.New("not asked yet"), pace: pace{interval: c.Interval},
	}, nil
}

// start puts the last good bundle into force and asks the server once, or more often where that was all there is.
func (w *Watcher) start(ctx context.Context) error {
	kept := w.restore(ctx)
	end := time.Now().Add(w.config.Timeout)
	for {
		w.look(ctx, time.Until(end))
		if w.config.Engine.Info() != (policy.Info{}) {
			return nil
		}
		wait := w.pace.next(w.lastError(), w.random)
		if time.Until(end) < wait || !sleep(ctx, wait) {
			return fmt.Errorf("remote: there is no policy to start with: %w; %w", w.lastError(), kept)
		}
	}
}

// sleep reports whether that time has passed and ctx has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Status tells what is in force, and what is wrong with the server or what it has.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Status{w.config.Engine.Info(), w.checked, w.confirmed, w.err}
	if end := s.Info.Signed.NotAfter; s.Err == nil && !end.IsZero() && w.now().After(end) {
		s.Err = fmt.Errorf("%w: %s", policy.ErrExpired, end.UTC().Format(time.RFC3339))
	}
	return s
}

// Done is closed when watching has ended, and with it every connection.
func (w *Watcher) Done() <-chan struct{} { return w.done }

func (w *Watcher) run(ctx context.Context) {
	defer close(w.done)
	defer w.server.close()
	for sleep(ctx, w.pace.next(w.lastError(), w.random)) {
		w.look(ctx, w.config.Timeout)
	}
}

func (w *Watcher) lastError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// look checks once and reports.
func (w *Watcher) look(ctx context.Context, limit time.Duration) {
	before := w.config.Engine.Info()
	err := w.check(ctx, limit)
	if ctx.Err() != nil && before != (policy.Info{}) {
		return // the end of the watch is no fault of the server
	}
	w.report(err, before)
}

func (w *Watcher) report(err error, before policy.Info) {
	w.mu.Lock()
	old := w.err
	w.err, w.checked = err, w.now()
	w.mu.Unlock()
	changed := (err == nil) != (old == nil) || err != nil && err.Error() != old.Error()
	if w.config.Notify != nil && (changed || w.config.Engine.Info() != before) {
		w.config.Notify(w.Status())
	}
}

func (w *Watcher) confirm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.confirmed = w.now()
}
