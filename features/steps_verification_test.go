//go:build linux

package features

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/cucumber/godog"

	"github.com/llorch/secrets-management/internal/timing"
	"github.com/llorch/secrets-management/secret"
)

func (w *world) verificationSteps(sc *godog.ScenarioContext) {
	sc.Given(`^the service has loaded a token$`, w.hasLoaded)
	sc.When(`^a caller presents (.*)$`, w.present)
	sc.Then(`^the caller is let in$`, func() error { return w.answered(true) })
	sc.Then(`^the caller is turned away$`, func() error { return w.answered(false) })
	sc.Then(`^the time that it takes is that of a guess with (.*)$`, w.sameTime)
	sc.Then(`^the time that it takes does not tell the length of the token$`, w.sameTimeForALongerOne)
}

func (w *world) hasLoaded() error {
	if err := w.tokenFile("api-token", "0600"); err != nil {
		return err
	}
	return errors.Join(w.load("the service", "token", "file", "api-token"), w.err)
}

// guess is what a caller presents, as the steps call it.
func (w *world) guess(what string) ([]byte, error) {
	b := bytes.Clone(w.holds)
	switch what {
	case "the token":
	case "another token":
		for i := range b {
			b[i] ^= 1
		}
	case "the token and one more character":
		b = append(b, 'x')
	case "the token without its last character":
		b = b[:len(b)-1]
	case "the token with its first character changed", "the first character wrong":
		b[0] ^= 1
	case "the token with its last character changed", "the last character wrong":
		b[len(b)-1] ^= 1
	default:
		return nil, fmt.Errorf("what is %q?", what)
	}
	return b, nil
}

func (w *world) present(what string) error {
	guess, err := w.guess(what)
	if err != nil {
		return err
	}
	w.presented, w.letIn = guess, w.token.Verify(string(guess))
	return nil
}

func (w *world) answered(want bool) error {
	w.asserted = true
	if w.presented == nil || w.letIn != want {
		return fmt.Errorf("let in: %v", w.letIn)
	}
	return nil
}

// sameTime measures a hundred thousand callers of each kind, beside a comparison that stops at the first difference.
func (w *world) sameTime(what string) error {
	w.asserted = true
	other, err := w.guess(what)
	if err != nil {
		return err
	}
	verify := []func([]byte) bool{w.token.VerifyBytes}
	return timing.Check(w.measured,
		timing.Class{Name: "what was presented", Input: w.presented, Verify: verify, Want: w.letIn},
		timing.Class{Name: what, Input: other, Verify: verify},
	)
}

// sameTimeForALongerOne presents the same to tokens of this length and of others. Several of each, so that their place in
// memory, which caches care for, is not what is measured.
func (w *world) sameTimeForALongerOne() error {
	w.asserted = true
	classes := make([]timing.Class, 2)
	for i, more := range []int{0, 40} {
		classes[i].Name = strconv.Itoa(more) + " bytes more"
		classes[i].Input = w.presented
		for range 8 {
			text := append(bytes.Clone(w.holds), make([]byte, more)...)
			s, err := secret.FromBytes(text)
			if err != nil {
				return err
			}
			w.restore = append(w.restore, s.Close)
			classes[i].Verify = append(classes[i].Verify, s.VerifyBytes)
		}
	}
	return timing.Check(w.measured, classes...)
}

// measured puts the figures where a failure shows them.
func (w *world) measured(format string, args ...any) { fmt.Printf("      "+format+"\n", args...) }
