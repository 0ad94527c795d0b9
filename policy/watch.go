package policy

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"
)

// How a bundle file is watched. Polling sees every kind of replacement: a rename, a symbolic link that is led elsewhere
// (Kubernetes), a bind mount, a network file system.
const (
	watchInterval = 250 * time.Millisecond
	watchSettle   = 2 * time.Second  // after a change: clocks of file systems are coarse, and a writer may not be done
	watchRetry    = 10 * time.Second // of what failed without having changed
)

// WatchConfig says what [Watch] does.
type WatchConfig struct {
	Engine   *Engine  // required; new(Engine) denies everything until the first good bundle
	Verifier Verifier // of every bundle
	File     string   // the bundle; its signature is File + [SignatureSuffix]

	// Notify is called when the state of a Watcher changed: a bundle came into force, the files went bad for another
	// reason, or are good again. It is never called twice at once, and must return soon. It may be nil.
	Notify func(Status)
}

// Status is what a [Watcher] knows.
type Status struct {
	Info    Info      // the policy in force, and since when
	Checked time.Time // when the files were last looked at
	Err     error     // why what the files hold is not in force, or ErrExpired; nil when all is well
}

// Watcher keeps an engine at what a bundle file holds. It is safe for concurrent use.
type Watcher struct {
	config WatchConfig
	done   chan struct{}

	mu      sync.Mutex
	checked time.Time
	err     error

	// Of the watching goroutine alone.
	seen    glance    // what the last check was about
	noticed time.Time // when it last changed
	read    time.Time // when it was last read
	refused refusal
}

// refusal remembers a bundle whose signature is good and which yet could not be activated, lest it be compiled again and
// again while files settle.
type refusal struct {
	signature signature
	at        time.Time
	err       error
}

// Watch puts the bundle in a file into force, and every one that replaces it within a second. A bad one leaves the last
// good one in force: see [Watcher.Status]. The first check is done when Watch returns; it is an error only when it leaves
// the engine without a policy. Watching ends with ctx; the engine stays open.
func Watch(ctx context.Context, c WatchConfig) (*Watcher, error) {
	if c.Engine == nil {
		return nil, errors.New("policy: WatchConfig.Engine is nil")
	}
	w := &Watcher{config: c, done: make(chan struct{}), err: errors.New("not read yet")}
	w.look(ctx)
	if s := w.Status(); s.Info == (Info{}) {
		return nil, errors.Join(ctx.Err(), s.Err)
	}
	go w.run(ctx)
	return w, nil
}

// Status tells what is in force, and what is wrong with the files.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Status{w.config.Engine.Info(), w.checked, w.err}
	if s.Err == nil {
		s.Err = s.Info.Signed.checkExpired()
	}
	return s
}

// Done is closed when watching has ended.
func (w *Watcher) Done() <-chan struct{} { return w.done }

func (w *Watcher) run(ctx context.Context) {
	defer close(w.done)
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.look(ctx)
		}
	}
}

// look takes a glance at the files and checks them where there is something new to find.
func (w *Watcher) look(ctx context.Context) {
	now := time.Now()
	if g := glanceAt(w.config.File); !g.same(w.seen) {
		w.seen, w.noticed = g, now
	}
	wait := watchRetry
	if now.Sub(w.noticed) <= watchSettle {
		wait = 0
	}
	w.mu.Lock()
	good := w.err == nil
	w.checked = now
	w.mu.Unlock()
	if now.Sub(w.read) < wait || good && wait > 0 {
		return
	}
	w.read = now
	before := w.config.Engine.Info()
	err := w.check(ctx)
	if ctx.Err() != nil {
		return // the end of the watch is no fault of the files
	}
	w.report(err, before)
}

// check puts what the files hold into force, unless it is.
func (w *Watcher) check(ctx context.Context) error {
	b, err := w.config.Verifier.VerifyFile(w.config.File)
	if err != nil {
		return err
	}
	a := w.config.Engine.active.Load()
	if a != nil && a.proof != nil && a.proof.signature == b.proof.signature {
		return nil
	}
	now, r := time.Now(), &w.refused
	if r.err == nil || r.signature != b.proof.signature || now.Sub(r.at) >= watchRetry {
		*r = refusal{b.proof.signature, now, w.config.Engine.Activate(ctx, b)}
	}
	return r.err
}

func (w *Watcher) report(err error, before Info) {
	w.mu.Lock()
	old := w.err
	w.err = err
	w.mu.Unlock()
	changed := (err == nil) != (old == nil) || err != nil && err.Error() != old.Error()
	if w.config.Notify != nil && (changed || w.config.Engine.Info() != before) {
		w.config.Notify(w.Status())
	}
}

// glance is what can be seen without reading the bundle. Another bundle has another signature, so that the signature
// file alone tells all; the rest tells when a writer goes on.
type glance struct {
	signature []byte
	file      fs.FileInfo // nil when there is none
}

func glanceAt(file string) glance {
	var g glance
	g.signature, _ = readBounded(file+SignatureSuffix, maxSignature, ErrSignatureFormat) // nothing, where it cannot be read
	if fi, err := os.Stat(file); err == nil {
		g.file = fi
	}
	return g
}

func (g glance) same(h glance) bool {
	if !bytes.Equal(g.signature, h.signature) || (g.file == nil) != (h.file == nil) {
		return false
	}
	return g.file == nil || os.SameFile(g.file, h.file) && g.file.Size() == h.file.Size() && g.file.ModTime().Equal(h.file.ModTime())
}
