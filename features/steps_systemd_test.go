//go:build linux

package features

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cucumber/godog"

	"github.com/llorch/secrets-management/internal/probe"
	"github.com/llorch/secrets-management/internal/realsystemd"
)

// machine is one that systemd boots, and what became of the service that was started on it.
type machine struct {
	files []realsystemd.File
	units map[string]string
	loads []probe.Load // one for each unit, once they were started
}

func (w *world) systemdSteps(sc *godog.ScenarioContext) {
	sc.Given(`^a machine with a token in "([^"]*)"$`, w.machineToken)
	sc.Given(`^the unit "([^"]*)", which starts "([^"]*)" to load "([^"]*)":$`, w.startsToLoad)
	sc.Given(`^units that start "([^"]*)" to load "([^"]*)" from "([^"]*)", each with one more line$`, w.eachStartsToLoad)
	sc.When(`^systemd starts (?:it|them)$`, w.boot)
	sc.Then(`^(?:it|each) has the token$`, w.haveToken)
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
	if w.machine.units == nil {
		w.machine.units = map[string]string{}
	}
	w.machine.units[unit] = text
	return put(filepath.Join(w.units(), unit), text)
}

func (w *world) eachStartsToLoad(service, credential, path string, settings *godog.Table) error {
	for i, row := range settings.Rows {
		lines := godog.DocString{Content: "LoadCredential=" + credential + ":" + path + "\n" + row.Cells[0].Value}
		if err := w.startsToLoad(fmt.Sprintf("unit-%d.service", i), service, credential, &lines); err != nil {
			return err
		}
	}
	return nil
}

// boot starts the units on a machine of their own, and reads what their services report.
func (w *world) boot() error {
	exe, err := probePath()
	if err != nil {
		return err
	}
	grants, err := w.grantsJSON()
	if err != nil {
		return err
	}
	m := realsystemd.Machine{
		Units: w.machine.units, Start: slices.Sorted(maps.Keys(w.machine.units)),
		Files: append(w.machine.files,
			realsystemd.File{Path: "/run/machine/probe", Mode: 0o755, From: exe},
			realsystemd.File{Path: "/run/machine/grants.json", Mode: 0o644, Content: grants}),
	}
	var r *realsystemd.Result
	if err := w.helped(func(t testing.TB) { r = m.Run(t) }); err != nil {
		return err
	}
	for _, unit := range m.Start {
		var said probe.Report
		ended := r.Services[unit]
		if err := json.Unmarshal([]byte(ended.Stdout), &said); err != nil || ended.Result != "success" || len(said.Loads) != 1 {
			return fmt.Errorf("%s ended with %s, status %d: %w\n%s%s", unit, ended.Result, ended.Status, err, ended.Stdout, ended.Stderr)
		}
		w.machine.loads = append(w.machine.loads, said.Loads[0])
	}
	return nil
}

func (w *world) haveToken() error {
	w.asserted = true
	if len(w.machine.loads) == 0 {
		return errors.New("nothing was started")
	}
	for i, got := range w.machine.loads {
		if got.Value != string(w.holds) || got.Error != "" {
			return fmt.Errorf("unit %d has no token, or another one: %s", i, got.Error)
		}
	}
	return nil
}

func (w *world) failed(denied bool, because string) error {
	w.asserted = true
	if len(w.machine.loads) != 1 {
		return fmt.Errorf("%d services were started", len(w.machine.loads))
	}
	if got := w.machine.loads[0]; got.Value != "" || got.Denied != denied || !strings.Contains(got.Error, because) {
		return fmt.Errorf("%q is expected; loaded %v, denied %v: %s", because, got.Value != "", got.Denied, got.Error)
	}
	return nil
}
