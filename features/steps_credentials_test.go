//go:build linux

package features

import (
	"os"
	"path/filepath"

	"github.com/cucumber/godog"
)

const directoryVariable = "CREDENTIALS_DIRECTORY"

func (w *world) credentialSteps(sc *godog.ScenarioContext) {
	sc.Given(`^systemd passes a token to the service as the credential "([^"]*)"$`, w.passCredential)
}

// passCredential does what systemd does for LoadCredential=: a file for the service alone, in a folder for it alone.
func (w *world) passCredential(name string) error {
	old, was := os.LookupEnv(directoryVariable)
	w.restore = append(w.restore, func() error {
		if was {
			return os.Setenv(directoryVariable, old)
		}
		return os.Unsetenv(directoryVariable)
	})
	if err := os.Setenv(directoryVariable, w.credentials()); err != nil {
		return err
	}
	w.holds = []byte(token)
	return w.write(filepath.Join(w.credentials(), name), token+"\n", "0400")
}
