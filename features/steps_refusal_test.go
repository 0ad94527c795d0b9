//go:build linux

package features

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cucumber/godog"

	"github.com/llorch/secrets-management/loader"
)

func (w *world) refusalSteps(sc *godog.ScenarioContext) {
	sc.When(`^(the service|"[^"]*") loads the token from the file "([^"]*)", and from the file "([^"]*)", which is not there$`, w.probe)

	sc.Then(`^the load is refused because everyone can read the file$`, func() error { return w.tooOpen(0o004) })
	sc.Then(`^the load is refused because a group can read the file$`, func() error { return w.tooOpen(0o040) })
	for because, code := range map[string]string{
		"nothing is granted there":                   "no_grant",
		"the service does not prove who it is":       "identity_not_proven",
		"the path is a link":                         "symlink_not_granted",
		"the link leads to where nothing is granted": "outside_grant",
	} {
		sc.Then("^the load is refused because "+because+"$", func() error { return w.refused(code) })
	}
	sc.Then(`^both refusals are the same, and nothing was looked at$`, w.sameRefusals)
}

// tooOpen expects a refusal over a mode that has these bits.
func (w *world) tooOpen(bits uint32) error {
	err := w.refused("mode_too_open")
	var e *loader.Error
	if !errors.As(w.err, &e) || e.Mode&bits == 0 || !strings.Contains(e.Error(), fmt.Sprintf("mode %04o, expected 0600", e.Mode)) {
		err = errors.Join(err, fmt.Errorf("the error does not say what is wrong with the mode: %v", w.err))
	}
	return err
}

// kind is what the caller of a load can branch on, besides the denial.
func kind(code string) error {
	switch code {
	case "mode_too_open":
		return loader.ErrPermissionsTooOpen
	case "symlink_not_granted", "outside_grant":
		return loader.ErrPath
	}
	return loader.ErrDenied
}

// refused expects that the policy refused, and everything that goes with it: the service has nothing, the file was not
// even opened, and the audit log has the denial with its reason.
func (w *world) refused(code string) error {
	w.asserted = true
	var errs []error
	var e *loader.Error
	if !errors.Is(w.err, loader.ErrDenied) || !errors.Is(w.err, kind(code)) || !errors.As(w.err, &e) || !slices.Equal(e.Reasons, []string{code}) {
		errs = append(errs, fmt.Errorf("refused with %s is expected, the load gave: %v", code, w.err))
	}
	if n := len(w.audit.entries); n == 0 || w.audit.entries[n-1].Result == nil ||
		!slices.Equal(w.audit.entries[n-1].Result.Codes(), []string{code}) {
		errs = append(errs, fmt.Errorf("the audit log does not give the reason %s", code))
	}
	return errors.Join(append(errs, w.hasNothing(), w.untouched(), w.story("deny"), w.leaksNothing())...)
}

// probe tries to find out by the answer which of two files is there.
func (w *world) probe(who, there, absent string) error {
	for _, name := range []string{there, absent} {
		if err := w.act(who, func(ctx context.Context, l *loader.Loader) {
			w.token, w.err = l.LoadSecret(ctx, loader.File(w.path(name)))
		}); err != nil {
			return err
		}
		if err := w.refused("no_grant"); err != nil {
			return err
		}
		if w.audit.entries[0].Input.Resource.File.Type != "" {
			return errors.New("the file was looked at")
		}
		w.errs = append(w.errs, errors.New(strings.ReplaceAll(w.err.Error(), name, "FILE")))
	}
	w.asserted = false // this was the question, not the answer
	return nil
}

func (w *world) sameRefusals() error {
	w.asserted = true
	if len(w.errs) != 2 || w.errs[0].Error() != w.errs[1].Error() {
		return fmt.Errorf("they are %q", w.errs)
	}
	return nil
}
