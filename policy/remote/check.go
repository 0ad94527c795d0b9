package remote

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/llorch/secrets-management/policy"
)

// check puts what the server has into force, unless it is. The limit is for what the server does.
func (w *Watcher) check(ctx context.Context, limit time.Duration) error {
	if w.held.info != w.config.Engine.Info() {
		w.held = held{} // somebody else gave the engine a bundle
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	archive, signature, err := w.fetch(bounded)
	cancel()
	switch {
	case err != nil:
		return err
	case signature.notModified:
		w.confirm()
		return nil
	}
	return w.take(ctx, archive, signature)
}

// fetch asks for the signature and, where it is another one, for the bundle. A signature that is the same byte for byte
// counts as not modified.
func (w *Watcher) fetch(ctx context.Context) (archive, signature answer, err error) {
	authorization, err := w.server.authorization(ctx)
	if err != nil {
		return answer{}, answer{}, err
	}
	signature, err = w.server.get(ctx, w.server.signature, authorization, w.held.signatureIs, maxSignature)
	if err != nil || signature.notModified {
		return answer{}, signature, err
	}
	if w.held.kept != "" && bytes.Equal(signature.body, w.held.signature) {
		w.held.signatureIs = signature.is
		return answer{}, answer{notModified: true}, nil
	}
	archive, err = w.server.get(ctx, w.server.bundle, authorization, w.held.archiveIs, w.config.MaxBytes)
	if err == nil && archive.notModified { // signed anew, with a later end perhaps
		archive.is, w.held.archiveIs = w.held.archiveIs, validators{} // if this fails, the next question has no condition
		archive.body, err = w.cache.archive(w.held.kept, w.config.MaxBytes)
	}
	return archive, signature, err
}

// take puts a pair into force and keeps it.
func (w *Watcher) take(ctx context.Context, archive, signature answer) error {
	b, err := w.config.Verifier.Verify(archive.body, signature.body)
	if err != nil {
		return fmt.Errorf("%s: %w%s", shown(w.server.bundle), err, archive.hint(err))
	}
	next := held{signature: signature.body}
	var unkept error
	keep := func() error {
		next.kept, unkept = w.cache.keep(ctx, b.Statement().Revision, archive.body, signature.body)
		return nil // in force all the same: it may take access away
	}
	if w.held.signature != nil && bytes.Equal(signature.body, w.held.signature) {
		_ = keep() // never an error; it is in force
	} else if err := w.config.Engine.ActivateKept(ctx, b, keep); err != nil {
		return fmt.Errorf("%s: %w", shown(w.server.bundle), err)
	}
	w.hold(b, next, signature.is, archive.is)
	w.confirm()
	return unkept
}

// hold remembers what was put into force, and by which signs of the server it is known again. What is not kept has to be
// had again.
func (w *Watcher) hold(b *policy.Bundle, h held, signature, archive validators) {
	if h.info = w.config.Engine.Info(); h.info.Signed != b.Statement() {
		w.held = held{} // replaced by somebody else in between
		return
	}
	if h.kept != "" {
		h.signatureIs, h.archiveIs = signature, archive
	}
	w.held = h
}

// restore puts the last good bundle of the cache into force. The error says why there is none.
func (w *Watcher) restore(ctx context.Context) error {
	return w.cache.first(func(path string, archive, signature []byte) error {
		b, err := w.config.Verifier.Verify(archive, signature)
		if err != nil {
			return err
		}
		if err := w.config.Engine.Activate(ctx, b); err != nil {
			return err
		}
		w.hold(b, held{signature: signature, kept: path}, validators{}, validators{})
		return nil
	})
}
