//go:build linux

package features

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cucumber/godog"

	"github.com/llorch/secrets-management/loader"
)

func (w *world) loadingSteps(sc *godog.ScenarioContext) {
	sc.When(`^(the service|"[^"]*") loads the (token|key) from the (file|credential) "([^"]*)"$`, w.load)
	sc.When(`^the service loads a token from$`, w.loadEach)

	sc.Then(`^it gets the (?:token|key)$`, w.gotIt)
	sc.Then(`^the load fails because there is no secret in the file$`, w.noSecret)
	sc.Then(`^the load fails because there is no key in the file$`, w.noSecret)
	sc.Then(`^each load is refused because the path is not valid, and no file was opened$`, w.invalidPaths)
	sc.Then(`^what is told about the failure holds nothing of what is in the file$`, w.toldNothing)
}

// load makes a named service, or the one of the scenario, load something.
func (w *world) load(who, what, source, name string) error {
	ref := loader.Credential(name)
	if source == "file" {
		ref = loader.File(w.path(name))
	}
	return w.act(who, func(ctx context.Context, l *loader.Loader) {
		if what == "token" {
			w.token, w.err = l.LoadSecret(ctx, ref)
			return
		}
		w.key, w.err = l.LoadKey(ctx, ref)
	})
}

// act lets a service do something once, and notes what happened to the files meanwhile.
func (w *world) act(who string, do func(context.Context, *loader.Loader)) error {
	service := strings.Trim(who, `"`)
	if who == "the service" {
		service = w.service
	}
	l, err := w.start(service)
	if err != nil {
		return err
	}
	w.token, w.key, w.err, w.audit.entries = nil, nil, nil, nil
	stop, err := watchFiles(w.files)
	if err != nil {
		return err
	}
	do(context.Background(), l)
	w.seen, err = stop()
	w.restore = append(w.restore, w.token.Close, w.key.Close)
	if w.key != nil {
		w.keys = append(w.keys, w.key)
	}
	return err
}

// loadEach takes paths in Go's notation, so that they can be written down.
func (w *world) loadEach(table *godog.Table) error {
	paths, err := quotedColumn(table, "the path")
	if err != nil {
		return err
	}
	var all events
	for _, path := range paths {
		path = strings.ReplaceAll(path, "SECRETS", w.secrets())
		err := w.act("the service", func(ctx context.Context, l *loader.Loader) {
			w.token, w.err = l.LoadSecret(ctx, loader.File(path))
		})
		if err != nil {
			return err
		}
		if w.token != nil {
			w.err = fmt.Errorf("%q was loaded", path)
		}
		w.errs = append(w.errs, w.err)
		all.opened, all.read = all.opened+w.seen.opened, all.read+w.seen.read
	}
	w.seen = all
	return nil
}

// gotIt expects the very content of the file.
func (w *world) gotIt() error {
	w.asserted = true
	if w.err != nil {
		return w.err
	}
	same := func(b []byte) error {
		if !bytes.Equal(b, w.holds) {
			return errors.New("it got something else")
		}
		return nil
	}
	var err error
	if w.key != nil {
		err = w.key.Use(same)
	} else {
		err = w.token.Use(same)
	}
	return errors.Join(err, w.wasRead(), w.story("allow, loaded"), w.leaksNothing())
}

// wasRead shows that the watch sees reads, which makes its silence in the other scenarios mean something.
func (w *world) wasRead() error {
	if w.seen.opened == 0 || w.seen.read == 0 {
		return fmt.Errorf("the file was opened %d times and read %d times", w.seen.opened, w.seen.read)
	}
	return nil
}

// noSecret expects that the policy had nothing against the file, and the file not what is asked for in it.
func (w *world) noSecret() error {
	w.asserted = true
	var errs []error
	if !errors.Is(w.err, loader.ErrInvalidFormat) || errors.Is(w.err, loader.ErrDenied) || errors.Is(w.err, loader.ErrNotFound) {
		errs = append(errs, fmt.Errorf("invalid format is expected, the load gave: %v", w.err))
	}
	return errors.Join(append(errs, w.hasNothing(), w.story("allow, failed"), w.leaksNothing())...)
}

// toldNothing expects a failure that somebody was told about, after the file was read.
func (w *world) toldNothing() error {
	w.asserted = true
	var errs []error
	if w.err == nil || w.log.Len() == 0 || len(w.audit.lines) == 0 {
		errs = append(errs, errors.New("no error, log and audit log to look at"))
	}
	return errors.Join(append(errs, w.wasRead(), w.leaksNothing())...)
}

func (w *world) invalidPaths() error {
	w.asserted = true
	var errs []error
	if len(w.errs) == 0 {
		errs = append(errs, errors.New("nothing was loaded"))
	}
	for _, err := range w.errs {
		var e *loader.Error
		if !errors.Is(err, loader.ErrPath) || !errors.As(err, &e) || e.Stage != loader.StageReference {
			errs = append(errs, fmt.Errorf("an invalid path is expected, the load gave: %v", err))
		}
	}
	return errors.Join(append(errs, w.untouched(), w.leaksNothing())...)
}

func (w *world) hasNothing() error {
	if w.token != nil || w.key != nil {
		return errors.New("the service has a secret")
	}
	return nil
}

// untouched expects that no file was opened: to look at one takes no rights to its content, and leaves no trace.
func (w *world) untouched() error {
	if w.seen != (events{}) {
		return fmt.Errorf("the file was opened %d times and read %d times", w.seen.opened, w.seen.read)
	}
	return nil
}

func (w *world) story(want string) error {
	if got := w.audit.story(); got != want {
		return fmt.Errorf("the audit log says %q, want %q", got, want)
	}
	return nil
}
