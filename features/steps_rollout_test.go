//go:build linux

package features

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cucumber/godog"
)

// rollout is what the last run of secretcheck said, and how it ended.
type rollout struct {
	arguments []string
	out, err  string
	code      int
	reports   []report // for machines, in order
}

// report is what the steps need of one.
type report struct {
	Findings []struct {
		Rule, Fingerprint string
		Line              int
	}
}

func (w *world) rolloutSteps(sc *godog.ScenarioContext) {
	sc.Given(`^the unit "([^"]*)":$`, w.unit)
	sc.Given(`^there are no units$`, func() error { return errors.Join(os.RemoveAll(w.units()), os.Mkdir(w.units(), 0o755)) })
	sc.Given(`^the host has the secret "([^"]*)" with mode (0[0-7]{3})$`, w.hostSecret)
	sc.Given(`^the host has the link "([^"]*)" to "([^"]*)"$`, w.hostLink)
	sc.Given(`^the policy has a rule that cannot be compiled$`, w.brokenPolicy)
	sc.When(`^somebody adds a comment to "([^"]*)"$`, w.comment)

	sc.When(`^the release engineer checks the units and the host$`, func() error { return w.check("--root", w.host()) })
	sc.When(`^the release engineer checks the units and the host, and takes warnings for failures$`, func() error { return w.check("--root", w.host(), "--fail-on-warn") })
	sc.When(`^the release engineer checks the units and the host, with a report for machines$`, w.checkForMachines)
	sc.When(`^the release engineer checks the units without the host$`, func() error { return w.check() })
	sc.When(`^the release engineer checks the units without the host, and demands facts$`, func() error { return w.check("--require-facts") })
	sc.When(`^he does what it says, and checks again$`, w.mendAndCheck)
	sc.When(`^the release engineer asks what "([^"]*)" may load$`, w.ask)

	sc.Then(`^nothing has to be done$`, w.clean)
	sc.Then(`^the check ends with code (\d)$`, w.endedWith)
	sc.Then(`^line (\d+) of "([^"]*)" is (denied|undecided|warned about) with "([^"]*)"$`, w.told)
	sc.Then(`^what to do begins with "([^"]*)"$`, w.toldWhatToDo)
	sc.Then(`^"([^"]*)" is shown nowhere$`, w.notShown)
	sc.Then(`^he is told that nothing was found$`, func() error { return w.complained("no descriptor") })
	sc.Then(`^he is told what is wrong with the policy$`, func() error { return w.complained("site.rego:3") })
	sc.Then(`^both reports have the same one finding, a line further down$`, w.sameFinding)
	sc.Then(`^the answer names the credential "([^"]*)" and "([^"]*)"$`, w.answerNames)
}

func (w *world) units() string     { return filepath.Join(w.dir, "units") }
func (w *world) host() string      { return filepath.Join(w.dir, "host") }
func (w *world) policyDir() string { return filepath.Join(w.dir, "rules") }

// put writes a file that is no secret, in folders that anybody may enter.
func put(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

func (w *world) unit(name string, text *godog.DocString) error {
	return put(filepath.Join(w.units(), name), text.Content+"\n")
}

// hostSecret makes a secret on the host that is checked, which is a folder here. Whoever runs this stands for its root.
func (w *world) hostSecret(path, mode string) error {
	token, err := w.newToken()
	if err != nil {
		return err
	}
	name := filepath.Join(w.host(), path)
	if err := w.folders(name); err != nil {
		return err
	}
	return w.write(name, hex.EncodeToString([]byte(token)), mode)
}

func (w *world) hostLink(path, target string) error {
	name := filepath.Join(w.host(), path)
	return errors.Join(w.folders(name), os.Symlink(target, name))
}

// folders makes those of a file on the host, with mode 0755 whatever the umask.
func (w *world) folders(name string) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for ; dir != w.dir; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) brokenPolicy() error {
	return put(filepath.Join(w.policyDir(), "site.rego"), "package secrets.load\n\nnonsense\n")
}

func (w *world) comment(name string) error {
	name = filepath.Join(w.units(), name)
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return put(name, "# looked at\n"+string(text))
}

// check runs secretcheck check over the units, with a policy of the grants so far.
func (w *world) check(arguments ...string) error {
	grants, err := w.grantsJSON()
	if err != nil {
		return err
	}
	if err := errors.Join(put(filepath.Join(w.policyDir(), "data.json"), string(grants)), os.MkdirAll(w.host(), 0o755)); err != nil {
		return err
	}
	return w.secretcheck(append([]string{"check", "units", "--policy", "rules"}, arguments...)...)
}

// secretcheck runs the program, and finds that it shows no secret, whatever it says.
func (w *world) secretcheck(arguments ...string) error {
	exe, err := secretcheckPath()
	if err != nil {
		return err
	}
	var out, errs bytes.Buffer
	cmd := exec.Command(exe, arguments...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = w.dir, &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return err
	}
	r := &w.rollout
	r.arguments, r.out, r.err, r.code = arguments, out.String(), errs.String(), cmd.ProcessState.ExitCode()
	return w.notIn(r.out + r.err)
}

func (w *world) checkForMachines() error {
	if err := w.check("--root", w.host(), "--output", "json=report.json"); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "report.json"))
	if err != nil {
		return err
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	w.rollout.reports = append(w.rollout.reports, r)
	return errors.Join(os.Remove(filepath.Join(w.dir, "report.json")), w.notIn(string(text)))
}

// fix is the command that secretcheck names, and the place where it is to be run.
var fix = regexp.MustCompile(`(?m)^ +fix: chmod (0600) '(/[^']+)' \(inside (\S+)\)$`)

// mendAndCheck runs the command that secretcheck named, inside the host.
func (w *world) mendAndCheck() error {
	m := fix.FindStringSubmatch(w.rollout.out)
	if m == nil {
		return fmt.Errorf("it does not say what to do:\n%s", w.rollout.out)
	}
	if out, err := exec.Command("chmod", m[1], filepath.Join(w.host(), m[2])).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	again := w.rollout.arguments
	return w.secretcheck(again...)
}

func (w *world) ask(service string) error {
	grants, err := w.grantsJSON()
	if err != nil {
		return err
	}
	return errors.Join(put(filepath.Join(w.policyDir(), "data.json"), string(grants)),
		w.secretcheck("policy", "can", service, "--policy", "rules"))
}

// said is an error that shows what secretcheck said.
func (w *world) said(format string, args ...any) error {
	return fmt.Errorf("%s; it ended with code %d and said:\n%s%s", fmt.Sprintf(format, args...), w.rollout.code, w.rollout.out, w.rollout.err)
}

func (w *world) clean() error {
	w.asserted = true
	if !strings.Contains(w.rollout.out, " 1 allowed, 0 denied, 0 undecided; 0 warnings\n") ||
		!strings.Contains(w.rollout.out, "\nnext: nothing has to be done") {
		return w.said("one load, which is allowed, is expected")
	}
	return nil
}

// endedWith looks at the exit code only once another step has looked at what was said: a code alone has many reasons.
func (w *world) endedWith(code int) error {
	if w.rollout.arguments == nil || w.rollout.code != code {
		return w.said("code %d is expected", code)
	}
	return nil
}

// told expects a verdict and a reason for a line of a unit, and no other that is worse.
func (w *world) told(line int, unit, what, rule string) error {
	w.asserted = true
	place := fmt.Sprintf("units/%s:%d:", unit, line)
	severity := map[string]string{"denied": "error", "undecided": "warning", "warned about": "warning"}[what]
	lines := strings.Split(w.rollout.out, "\n")
	at := slices.IndexFunc(lines, func(l string) bool {
		return strings.Contains(l, "at "+place) || strings.HasPrefix(strings.TrimSpace(l), place)
	})
	if at < 0 {
		return w.said("%s is not named", place)
	}
	rest := strings.Join(lines[max(at-1, 0):], "\n")
	if what != "warned about" && !strings.Contains(lines[max(at-1, 0)], what) {
		return w.said("%s is not %s", place, what)
	}
	if !strings.Contains(rest, " "+severity+" "+rule+": ") {
		return w.said("%s %s is not told", severity, rule)
	}
	return nil
}

func (w *world) toldWhatToDo(fix string) error {
	if !strings.Contains(w.rollout.out, " fix: "+fix) {
		return w.said("to do %q is not told", fix)
	}
	return nil
}

func (w *world) notShown(value string) error {
	w.asserted = true
	w.texts = append(w.texts, []byte(value))
	return w.notIn(w.rollout.out + w.rollout.err)
}

func (w *world) complained(about string) error {
	w.asserted = true
	if !strings.Contains(w.rollout.err, about) || w.rollout.out != "" {
		return w.said("a complaint about %q, and nothing else, is expected", about)
	}
	return nil
}

func (w *world) sameFinding() error {
	w.asserted = true
	r := w.rollout.reports
	if len(r) != 2 || len(r[0].Findings) != 1 || len(r[1].Findings) != 1 {
		return fmt.Errorf("the reports are %+v", r)
	}
	first, second := r[0].Findings[0], r[1].Findings[0]
	if first.Fingerprint == "" || first.Fingerprint != second.Fingerprint || first.Rule != second.Rule || second.Line != first.Line+1 {
		return fmt.Errorf("the findings are %+v and %+v", first, second)
	}
	return nil
}

func (w *world) answerNames(credential, path string) error {
	w.asserted = true
	if !strings.Contains(w.rollout.out, " credential "+credential+"\n") || !strings.Contains(w.rollout.out, " copied from "+path+"\n") {
		return w.said("%s from %s is expected", credential, path)
	}
	return nil
}
