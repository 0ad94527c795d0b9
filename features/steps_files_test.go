//go:build linux

package features

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/cucumber/godog"

	"github.com/llorch/secrets-management/secret/secrettest"
)

func (w *world) fileSteps(sc *godog.ScenarioContext) {
	sc.Given(`^a token in the file "([^"]*)" with mode (0[0-7]{3})$`, w.tokenFile)
	sc.Given(`^a token in the file "([^"]*)" with mode (0[0-7]{3}) of its group$`, w.groupsTokenFile)
	sc.Given(`^the token "([^"]*)" in the file "([^"]*)" with mode (0[0-7]{3})$`, w.thisTokenFile)
	sc.Given(`^a key in the file "([^"]*)" with mode (0[0-7]{3})$`, w.keyFile)
	sc.Given(`^an empty file "([^"]*)" with mode (0[0-7]{3})$`, w.emptyFile)
	sc.Given(`^the link "([^"]*)" to "([^"]*)"$`, w.link)
}

func (w *world) tokenFile(name, mode string) error {
	token, err := w.newToken()
	if err != nil {
		return err
	}
	return w.thisTokenFile(token, name, mode)
}

// newToken makes a token of which no part occurs anywhere by chance.
func (w *world) newToken() (token string, err error) {
	herr := w.helped(func(t testing.TB) { token, err = secrettest.Canary(t).Expose() })
	return token, errors.Join(herr, err)
}

func (w *world) thisTokenFile(token, name, mode string) error {
	w.holds = []byte(token)
	return w.write(w.path(name), token+"\n", mode)
}

// groupsTokenFile gives the file to the group of the service, which is that of who runs this.
func (w *world) groupsTokenFile(name, mode string) error {
	if err := w.tokenFile(name, mode); err != nil {
		return err
	}
	return os.Chown(w.path(name), -1, os.Getegid())
}

func (w *world) keyFile(name, mode string) error {
	w.holds = make([]byte, 32)
	if _, err := rand.Read(w.holds); err != nil {
		return err
	}
	return w.write(w.path(name), hex.EncodeToString(w.holds)+"\n", mode)
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
	w.files, w.texts = append(w.files, path), append(w.texts, []byte(content))
	return os.Chmod(path, os.FileMode(bits))
}

// link makes a symbolic link, and sees that it is one and leads to a file.
func (w *world) link(name, target string) error {
	if err := os.Symlink(target, w.path(name)); err != nil {
		return err
	}
	fi, err := os.Lstat(w.path(name))
	if err != nil || fi.Mode().Type() != os.ModeSymlink {
		return fmt.Errorf("it is no link: %w", err)
	}
	_, err = os.Stat(w.path(name))
	return err
}
