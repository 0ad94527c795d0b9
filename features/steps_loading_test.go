//go:build linux

package features

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cucumber/godog"

	"github.com/llorch/secrets-management/loader"
)

func (w *world) loadingSteps(sc *godog.ScenarioContext) {
	sc.When(`^the service loads the token from the file "([^"]*)"$`, func(name string) error { return w.loadToken(loader.File(w.path(name))) })
	sc.When(`^the service loads the token from the credential "([^"]*)"$`, func(name string) error { return w.loadToken(loader.Credential(name)) })
	sc.When(`^the service loads the key from the file "([^"]*)"$`, w.loadKey)

	sc.Then(`^it gets the token$`, w.gotToken)
	sc.Then(`^the load is refused because everyone can read the file$`, func() error { return w.tooOpen(0o004) })
	sc.Then(`^the load is refused because a group can read the file$`, func() error { return w.tooOpen(0o040) })
	sc.Then(`^the load is refused because nothing is granted there$`, w.notGranted)
	sc.Then(`^the load fails because there is no secret in the file$`, w.noSecret)
}

func (w *world) loadToken(ref loader.Ref) error {
	return w.watch(func() { w.token, w.err = w.loader.LoadSecret(context.Background(), ref) })
}

func (w *world) loadKey(name string) error {
	return w.watch(func() { w.key, w.err = w.loader.LoadKey(context.Background(), loader.File(w.path(name))) })
}

// watch does something once, and notes what happened to the files meanwhile.
func (w *world) watch(act func()) error {
	stop, err := watchFiles(w.files)
	if err != nil {
		return err
	}
	act()
	w.seen, err = stop()
	return err
}

func (w *world) gotToken() error {
	w.asserted = true
	if w.err != nil {
		return w.err
	}
	err := w.token.Use(func(b []byte) error {
		if !bytes.Equal(b, w.holds) {
			return errors.New("it got something else")
		}
		return nil
	})
	// The reads show that the watch sees them, which makes its silence in the other scenarios mean something.
	if w.seen.opened == 0 || w.seen.read == 0 {
		err = errors.Join(err, fmt.Errorf("the file was opened %d times and read %d times", w.seen.opened, w.seen.read))
	}
	return errors.Join(err, w.story("allow, loaded"), w.leaksNothing())
}

// tooOpen expects a refusal over a mode that has these bits.
func (w *world) tooOpen(bits uint32) error {
	err := w.refused("mode_too_open", loader.ErrPermissionsTooOpen)
	var e *loader.Error
	if !errors.As(w.err, &e) || e.Mode&bits == 0 || !strings.Contains(e.Error(), fmt.Sprintf("mode %04o, expected 0600", e.Mode)) {
		err = errors.Join(err, fmt.Errorf("the error does not say what is wrong with the mode: %v", w.err))
	}
	return err
}

func (w *world) notGranted() error { return w.refused("no_grant", loader.ErrDenied) }

// refused expects that the policy refused, and everything that goes with it: the service has nothing, the file was not
// even opened, and the audit log has the denial with its reason.
func (w *world) refused(code string, kind error) error {
	w.asserted = true
	var errs []error
	var e *loader.Error
	if !errors.Is(w.err, loader.ErrDenied) || !errors.Is(w.err, kind) || !errors.As(w.err, &e) || !slices.Equal(e.Reasons, []string{code}) {
		errs = append(errs, fmt.Errorf("refused with %s is expected, the load gave: %v", code, w.err))
	}
	if w.token != nil || w.key != nil {
		errs = append(errs, errors.New("the service has a secret"))
	}
	if n := len(w.audit.entries); n == 0 || w.audit.entries[n-1].Result == nil ||
		!slices.Equal(w.audit.entries[n-1].Result.Codes(), []string{code}) {
		errs = append(errs, fmt.Errorf("the audit log does not give the reason %s", code))
	}
	return errors.Join(append(errs, w.untouched(), w.story("deny"), w.leaksNothing())...)
}

// noSecret expects that the policy had nothing against the file, and the file nothing in it.
func (w *world) noSecret() error {
	w.asserted = true
	var errs []error
	if !errors.Is(w.err, loader.ErrInvalidFormat) || errors.Is(w.err, loader.ErrDenied) || errors.Is(w.err, loader.ErrNotFound) {
		errs = append(errs, fmt.Errorf("invalid format is expected, the load gave: %v", w.err))
	}
	if w.token != nil {
		errs = append(errs, errors.New("the service has a secret"))
	}
	return errors.Join(append(errs, w.untouched(), w.story("allow, failed"), w.leaksNothing())...)
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
