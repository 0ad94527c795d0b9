//go:build linux

package features

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cucumber/godog"

	"github.com/llorch/secrets-management/kdf"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/secret"
)

func (w *world) derivationSteps(sc *godog.ScenarioContext) {
	sc.When(`^(the service|"[^"]*") derives a key for the purpose "([^"]*)" from the file "([^"]*)"$`, w.derive)
	sc.When(`^(the service) derives a key without a purpose from the file "([^"]*)"$`, func(who, name string) error { return w.derive(who, "", name) })
	sc.When(`^the service restarts$`, w.stop)
	sc.Then(`^it gets the key "([0-9a-f]*)"$`, w.gotThisKey)
	sc.Then(`^both keys are the same$`, w.sameKeys)
	sc.Then(`^what was sealed with one key does not open with the other$`, w.otherKeys)
	sc.Then(`^the derivation fails because there is no purpose$`, w.noPurpose)
}

func (w *world) derive(who, purpose, name string) error {
	return w.act(who, func(ctx context.Context, l *loader.Loader) {
		w.key, w.err = l.DeriveKey(ctx, purpose, loader.File(w.path(name)))
	})
}

func (w *world) gotThisKey(digits string) (err error) {
	if w.holds, err = hex.DecodeString(digits); err != nil {
		return err
	}
	if len(w.holds) != secret.KeySize {
		return fmt.Errorf("a key of %d bytes is expected", len(w.holds))
	}
	return w.gotIt()
}

// keyBytes copies what the two keys of a scenario hold.
func (w *world) keyBytes() (first, second []byte, err error) {
	if len(w.keys) != 2 || w.err != nil {
		return nil, nil, fmt.Errorf("there are %d keys: %w", len(w.keys), w.err)
	}
	err = errors.Join(w.keys[0].Use(func(b []byte) error { first = bytes.Clone(b); return nil }),
		w.keys[1].Use(func(b []byte) error { second = bytes.Clone(b); return nil }))
	return first, second, err
}

func (w *world) sameKeys() error {
	w.asserted = true
	first, second, err := w.keyBytes()
	if err != nil {
		return err
	}
	if w.keys[0] == w.keys[1] || len(first) != secret.KeySize || !bytes.Equal(first, second) {
		return errors.New("they differ, or are one")
	}
	return w.leaksNothing()
}

func (w *world) otherKeys() error {
	w.asserted = true
	first, second, err := w.keyBytes()
	if err != nil {
		return err
	}
	message := []byte("shard|digest|1700000000|0")
	seal, err := w.keys[0].Sign(message)
	if err != nil {
		return err
	}
	switch {
	case bytes.Equal(first, second):
		return errors.New("they are the same")
	case !w.keys[0].VerifyMAC(message, seal):
		return errors.New("the seal does not open with its own key")
	case w.keys[1].VerifyMAC(message, seal):
		return errors.New("the seal opens with the other key")
	}
	return w.leaksNothing()
}

func (w *world) noPurpose() error {
	w.asserted = true
	if !errors.Is(w.err, kdf.ErrDerivation) {
		return fmt.Errorf("an error of key derivation is expected, it was: %v", w.err)
	}
	return errors.Join(w.hasNothing(), w.untouched(), w.leaksNothing())
}
