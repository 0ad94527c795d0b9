//go:build linux

package features

import (
	"path/filepath"
	"testing"

	"github.com/cucumber/godog"

	"github.com/llorch/secrets-management/secret/secrettest"
)

func (w *world) credentialSteps(sc *godog.ScenarioContext) {
	sc.Given(`^systemd passes a token to the service as the credential "([^"]*)"$`, w.passCredential)
}

// passCredential does what systemd does for LoadCredential=: a file for the service alone, in a folder for it alone. What
// systemd itself does is in systemd.feature.
func (w *world) passCredential(name string) error {
	token, err := w.newToken()
	if err != nil {
		return err
	}
	w.holds = []byte(token)
	return w.helped(func(t testing.TB) {
		dir := secrettest.Credentials(t, map[string]string{name: token + "\n"})
		w.files, w.texts = append(w.files, filepath.Join(dir, name)), append(w.texts, []byte(token))
	})
}
