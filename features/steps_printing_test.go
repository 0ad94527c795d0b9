//go:build linux

package features

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cucumber/godog"

	"github.com/llorch/secrets-management/secret"
	"github.com/llorch/secrets-management/secret/secrettest"
)

func (w *world) printingSteps(sc *godog.ScenarioContext) {
	sc.Then(`^no way to print, log or encode it shows a part of it$`, w.neverPrinted)
}

// neverPrinted tries fmt with every verb and flag, loggers, encoders and walkers: on the token by itself, and inside what a
// service would keep it in.
func (w *world) neverPrinted() error {
	w.asserted = true
	if w.err != nil {
		return w.err
	}
	if text := fmt.Sprint(w.token); text != secret.Redacted {
		return errors.New("it does not print as redacted")
	}
	type config struct {
		Name  string
		Token *secret.Secret
		inner struct{ token *secret.Secret }
	}
	c := config{Name: "queen-rbee", Token: w.token}
	c.inner.token = w.token
	return errors.Join(w.leaksNothing(), w.helped(func(t testing.TB) {
		secrettest.Check(t, w.token, w.token)
		secrettest.Check(t, &c, w.token)
		secrettest.Check(t, map[string]any{"config": c.inner, "list": []any{w.token}}, w.token)
	}))
}
