//go:build linux

package features

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cucumber/godog"
)

func (w *world) fileSteps(sc *godog.ScenarioContext) {
	sc.Given(`^the service "([^"]*)" may load what lies in its secrets folder$`, w.serve)
	sc.Given(`^a token in the file "([^"]*)" with mode (0[0-7]{3})$`, w.tokenFile)
	sc.Given(`^a key in the file "([^"]*)" with mode (0[0-7]{3})$`, w.keyFile)
	sc.Given(`^an empty file "([^"]*)" with mode (0[0-7]{3})$`, w.emptyFile)
}

func (w *world) tokenFile(name, mode string) error {
	w.holds = []byte(token)
	return w.write(w.path(name), token+"\n", mode)
}

func (w *world) keyFile(name, mode string) (err error) {
	if w.holds, err = hex.DecodeString(key); err != nil {
		return err
	}
	return w.write(w.path(name), key+"\n", mode)
}

func (w *world) emptyFile(name, mode string) error {
	return w.write(w.path(name), "", mode)
}

// write makes a file with exactly this mode, whatever the umask.
func (w *world) write(path, content, mode string) error {
	bits, err := strconv.ParseUint(mode, 8, 12)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return err
	}
	w.files = append(w.files, path)
	return os.Chmod(path, os.FileMode(bits))
}
