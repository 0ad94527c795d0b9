package policy

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Activate puts a bundle into force: it validates, compiles and instantiates it, asks what it must answer, records its
// revision, and only then lets it take the place of the one before, in one step. Every decision is wholly that of one
// bundle, and none fails because of the change. After an error the old bundle is still in force; the error says so, and
// matches what that of [Open] does, or ErrClosed.
//
// A bundle that a [Verifier] has seen is not replaced by one that none has (ErrUnsigned), that has another name
// (ErrWrongName) or a lower revision (ErrRolledBack). Activate returns without waiting for decisions that the old bundle
// still has to make. ctx bounds the activation only.
func (e *Engine) Activate(ctx context.Context, b *Bundle) error {
	return e.ActivateKept(ctx, b, func() error { return nil })
}

// ActivateKept is Activate for who keeps the last good bundle on disk. It calls keep once, after all that could be found
// against the bundle, and before its revision is recorded: what is kept can come into force, and a crash leaves no recorded
// revision whose bundle is not kept. When keep fails the old bundle stays in force, and its error is returned.
func (e *Engine) ActivateKept(ctx context.Context, b *Bundle, keep func() error) error {
	err := e.activate(ctx, b, keep)
	if a := e.active.Load(); err != nil && a != nil {
		revision := fmt.Sprintf("%.100q", a.info.Revision)
		if signed := a.info.Signed; signed != (Statement{}) {
			revision = strconv.FormatUint(signed.Revision, 10)
		}
		return fmt.Errorf("not activated, revision %s stays in force: %w", revision, err)
	}
	return err
}

func (e *Engine) activate(ctx context.Context, b *Bundle, keep func() error) error {
	if b == nil {
		return fmt.Errorf("%w: there is none", ErrBundle)
	}
	if err := b.proof.holds(b); err != nil {
		return err
	}
	a, err := open(ctx, b, e.opts)
	if err != nil {
		return err
	}
	if err := e.swap(ctx, a, keep); err != nil {
		a.program.Close()
		return err
	}
	return nil
}

// holds reports whether a bundle is what was verified, and may be in force now.
func (p *proof) holds(b *Bundle) error {
	switch {
	case p == nil:
		return nil
	case b.fingerprint() != p.content:
		return fmt.Errorf("%w any more: it was changed after it was verified", ErrUnsigned)
	}
	return p.admit()
}

// swap lets an activation take the place of the one before. What it records it records before, so that a crash in
// between leaves a revision that is too high rather than one that is too low.
func (e *Engine) swap(ctx context.Context, a *activation, keep func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	old := e.active.Load()
	if old != nil {
		if err := old.admits(a); err != nil {
			return err
		}
	}
	if err := keep(); err != nil {
		return err
	}
	if a.proof != nil {
		if err := a.proof.record(ctx); err != nil {
			return err
		}
	}
	a.info.Since = time.Now()
	e.active.Store(a)
	if old != nil {
		e.retiring.Go(old.program.Close)
	}
	return nil
}

// admits reports what keeps another activation from following this one.
func (a *activation) admits(next *activation) error {
	was, is := a.info.Signed, next.info.Signed
	switch {
	case a.proof == nil:
		return nil
	case next.proof == nil:
		return fmt.Errorf("%w, and the one in force is", ErrUnsigned)
	case was.Name != is.Name:
		return fmt.Errorf("%w: %q, and %q is in force", ErrWrongName, is.Name, was.Name)
	case is.Revision < was.Revision:
		return fmt.Errorf("%w: revision %d, and %d is in force", ErrRolledBack, is.Revision, was.Revision)
	}
	return nil
}

// Close waits for decisions that are under way and frees the guests. Decisions and activations after it fail with
// ErrClosed. Closing twice is allowed.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed = true
	old := e.active.Swap(nil)
	e.mu.Unlock()
	if old != nil {
		old.program.Close()
	}
	e.retiring.Wait()
}
