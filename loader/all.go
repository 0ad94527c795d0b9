package loader

import (
	"context"
	"errors"
	"fmt"

	"github.com/llorch/secrets-management/secret"
)

// Request is one secret or key that [Loader.LoadAll] loads.
type Request struct {
	Secret **secret.Secret // where the secret goes, as by LoadSecret
	Key    **secret.Key    // or where the key goes, as by LoadKey, or by DeriveKey if there is a Purpose

	Refs      []Ref  // tried in order
	Purpose   string // label of the derivation, with Key only
	MinLength int    // as in [Config], for this one; not for a key that is read as it is. The larger of the two counts
}

// LoadAll loads everything that a service needs, in order. It goes on after a failure, so that the error tells of every
// one: its Unwrap method gives a list, with one for each request that failed, as LoadSecret returns it. Only when all are
// loaded do they go where the requests say; otherwise those that were loaded are closed, and nothing is set. The caller
// closes what it gets.
func (l *Loader) LoadAll(ctx context.Context, requests ...Request) error {
	if err := validateAll(requests); err != nil {
		return err
	}
	done := make([]loaded, len(requests))
	var errs []error
	for i, r := range requests {
		var err error
		if done[i], err = l.loadOne(ctx, r); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		for _, d := range done {
			d.close()
		}
		return errors.Join(errs...)
	}
	for i, r := range requests {
		if r.Key != nil {
			*r.Key = done[i].key
		} else {
			*r.Secret = done[i].secret
		}
	}
	return nil
}

type loaded struct {
	secret *secret.Secret
	key    *secret.Key
}

func (d loaded) close() {
	if d.secret != nil {
		_ = d.secret.Close()
	}
	if d.key != nil {
		_ = d.key.Close()
	}
}

func (l *Loader) loadOne(ctx context.Context, r Request) (d loaded, err error) {
	least := max(l.config.MinLength, r.MinLength)
	switch {
	case r.Secret != nil:
		d.secret, err = l.loadSecret(ctx, least, r.Refs)
	case r.Purpose != "":
		d.key, err = l.deriveKey(ctx, r.Purpose, least, r.Refs)
	default:
		d.key, err = l.LoadKey(ctx, r.Refs...)
	}
	return d, err
}

// validateAll refuses requests that are mistakes of the program, before anything is loaded.
func validateAll(requests []Request) error {
	seen := map[any]bool{}
	for i, r := range requests {
		var wrong string
		switch {
		case (r.Secret == nil) == (r.Key == nil):
			wrong = "it needs either a Secret or a Key to go to"
		case r.Secret != nil && r.Purpose != "":
			wrong = "only a Key has a Purpose"
		case r.MinLength < 0 || r.MinLength > maxSecretBytes:
			wrong = fmt.Sprintf("MinLength is not between 0 and %d", maxSecretBytes)
		case r.Secret != nil && seen[r.Secret] || r.Key != nil && seen[r.Key]:
			wrong = "an earlier one goes to the same place"
		}
		if wrong != "" {
			return fmt.Errorf("loader: request %d: %s", i, wrong)
		}
		seen[r.Secret], seen[r.Key] = true, true
	}
	return nil
}
