//go:build linux

package features

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cucumber/godog"

	"github.com/llorch/secrets-management/internal/probe"
	"github.com/llorch/secrets-management/internal/realsystemd"
)

// machine is one that systemd boots, and what became of the service that was started on it.
type machine struct {
	files  []realsystemd.File
	units  map[string]string
	booted bool
	report probe.Report
}

func (w *world) systemdSteps(sc *godog.ScenarioContext) {
	sc.Given(`^a machine with a token in "([^"]*)"$`, w.machineToken)
	sc.Given(`^the unit "([^"]*)", which starts "([^"]*)" to load "([^"]*)":$`, w.startsToLoad)
	sc.When(`^systemd starts "([^"]*)"$`, w.boot)
	sc.Then(`^it has the token$`, w.hasToken)
	sc.Then(`^it is refused because (service ".*" has no grant for it|the grant requires .*)$`, func(because string) error { return w.failed(true, because) })
	sc.Then(`^it is told that the unit lacks "([^"]*)"$`, func(line string) error { return w.failed(false, "does the unit have "+line) })
}

func (w *world) machineToken(path string) error {
	token, err := w.newToken()
	if err != nil {
		return err
	}
	w.holds, w.texts = []byte(token), append(w.texts, []byte(token))
	w.machine.files = append(w.machine.files, realsystemd.File{Path: path, Mode: 0o600, Content: []byte(token + "\n")})
	return nil
}

// startsToLoad writes a unit whose service is a program that loads one credential through the library.
func (w *world) startsToLoad(unit, service, credential string, lines *godog.DocString) error {
	text := fmt.Sprintf("[Service]\nType=oneshot\nExecStart=/run/machine/probe %s /run/machine/grants.json credential:%s\n%s\n",
		service, credential, lines.Content)
	w.machine.units = map[string]string{unit: text}
	return put(filepath.Join(w.units(), unit), text)
}

// boot starts one unit on a machine of its own, and reads what its service reports.
func (w *world) boot(unit string) error {
	exe, err := probePath()
	if err != nil {
		return err
	}
	grants, err := w.grantsJSON()
	if err != nil {
		return err
	}
	m := realsystemd.Machine{
		Units: w.machine.units, Start: []string{unit},
		Files: append(w.machine.files,
			realsystemd.File{Path: "/run/machine/probe", Mode: 0o755, From: exe},
			realsystemd.File{Path: "/run/machine/grants.json", Mode: 0o644, Content: grants}),
	}
	var ended realsystemd.Service
	var log string
	if err := w.helped(func(t testing.TB) {
		r := m.Run(t)
		ended, log = r.Services[unit], r.Log
	}); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(ended.Stdout), &w.machine.report); err != nil || ended.Result != "success" || len(w.machine.report.Loads) != 1 {
		return fmt.Errorf("the service ended with %s, status %d: %w\n%s%s\n%s", ended.Result, ended.Status, err, ended.Stdout, ended.Stderr, log)
	}
	w.machine.booted = true
	return nil
}

func (w *world) hasToken() error {
	w.asserted = true
	if !w.machine.booted {
		return errors.New("nothing was started")
	}
	if got := w.machine.report.Loads[0]; got.Value != string(w.holds) || got.Error != "" {
		return fmt.Errorf("it has no token, or another one: %s", got.Error)
	}
	return nil
}

func (w *world) failed(denied bool, because string) error {
	w.asserted = true
	if !w.machine.booted {
		return errors.New("nothing was started")
	}
	if got := w.machine.report.Loads[0]; got.Value != "" || got.Denied != denied || !strings.Contains(got.Error, because) {
		return fmt.Errorf("%q is expected; loaded %v, denied %v: %s", because, got.Value != "", got.Denied, got.Error)
	}
	return nil
}
