package realsystemd

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

//go:embed box.sh
var script []byte

// Machine is what to boot.
type Machine struct {
	Root  string            // a root file system, such as that of Debian13; "" is this machine's own
	Units map[string]string // unit files and drop-ins, by their name below /etc/systemd/system
	Files []File

	// Start lists services to start. Each gets a drop-in that takes its output and its default dependencies. The machine
	// ends when they all have started, which for Type=oneshot means ended.
	Start []string

	Limit time.Duration // how long it may run; 0 stands for two minutes
}

// File is put into the machine before it boots.
type File struct {
	Path     string // absolute; folders are made
	Mode     os.FileMode
	UID, GID int
	Content  []byte
	From     string // or: a file of this machine to copy
	Link     string // or: where a symbolic link leads
}

// Out is the folder that services may leave files in for [Result.Files].
const Out = "/run/machine/out"

// Result is what was left when the machine had ended.
type Result struct {
	Version  int                // of systemd
	Services map[string]Service // those of Start
	Files    map[string][]byte  // what else was left in Out
	Log      string             // what systemd had to say
}

// Service is how a service ended, as systemctl show says it.
type Service struct {
	Result         string // "success", "exit-code", "signal", …
	Status         int    // exit code, or the number of the signal
	Stdout, Stderr string
}

const defaultLimit = 2 * time.Minute

// Run boots the machine and waits for its end. A machine that does not boot and end fails the test; a service that
// fails does not. Ask [Available] first.
func (m *Machine) Run(t testing.TB) *Result {
	t.Helper()
	stage, out := t.TempDir(), t.TempDir()
	if err := m.stage(stage, out); err != nil {
		t.Fatalf("realsystemd: %v", err)
	}
	root := m.Root
	if root == "" {
		root = "/"
	}
	// systemd writes its log to a terminal only, hence script(1).
	limit := int(cmp.Or(m.Limit, defaultLimit).Seconds())
	line := fmt.Sprintf("exec bash '%s/box.sh' '%s' '%s' '%s' %d", stage, root, stage, out, limit)
	log, err := exec.Command("script", "-q", "-e", "-c", line, "/dev/null").CombinedOutput()
	r, rerr := m.result(out)
	if err != nil || rerr != nil {
		t.Fatalf("realsystemd: the machine did not boot and end: %v, %v\n%s", err, rerr, log)
	}
	r.Log = string(log)
	return r
}

// stage writes what box.sh takes.
func (m *Machine) stage(stage, out string) error {
	write := func(name string, content []byte) error {
		name = filepath.Join(stage, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		return os.WriteFile(name, content, 0o644)
	}
	// Services of other users write there.
	if err := os.Chmod(out, 0o777|os.ModeSticky); err != nil {
		return err
	}
	files := map[string][]byte{"box.sh": script}
	for name, text := range m.units() {
		files["units/"+name] = []byte(text)
	}
	var manifest bytes.Buffer
	for i, f := range m.Files {
		content := f.Content
		if f.From != "" {
			var err error
			if content, err = os.ReadFile(f.From); err != nil {
				return err
			}
		}
		if !path.IsAbs(f.Path) || strings.ContainsAny(f.Path+f.Link, "\n\\") {
			return fmt.Errorf("file %q: not a path for it", f.Path)
		}
		if f.Link != "" {
			content = []byte(f.Link)
			fmt.Fprintf(&manifest, "link 0 0 %d %s\n", i, f.Path)
			files["files/"+strconv.Itoa(i)] = content
			continue
		}
		files["files/"+strconv.Itoa(i)] = content
		fmt.Fprintf(&manifest, "%o %d %d %d %s\n", f.Mode.Perm(), f.UID, f.GID, i, f.Path)
	}
	files["manifest"] = manifest.Bytes()
	for name, content := range files {
		if err := write(name, content); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(stage, "units"), 0o755)
}

// units are those that were given, their drop-ins, and the ones that end the machine.
func (m *Machine) units() map[string]string {
	all := map[string]string{
		"machine.target": "[Unit]\nDefaultDependencies=no\nRequires=machine-end.service\n",
		"machine-end.service": "[Unit]\nDefaultDependencies=no\nSuccessAction=exit-force\nFailureAction=exit-force\n" +
			"Wants=" + strings.Join(m.Start, " ") + "\nAfter=" + strings.Join(m.Start, " ") + "\n" +
			"[Service]\nType=oneshot\nStandardOutput=append:" + Out + "/machine-end\n" +
			"ExecStart=systemctl --version\n" +
			"ExecStart=systemctl show --no-pager -p Id,LoadState,Result,ExecMainStatus " + strings.Join(m.Start, " ") + "\n",
	}
	for name, text := range m.Units {
		all[name] = text
	}
	for _, name := range m.Start {
		all[name+".d/machine.conf"] = "[Unit]\nDefaultDependencies=no\n[Service]\n" +
			"StandardOutput=append:" + Out + "/" + name + ".stdout\nStandardError=append:" + Out + "/" + name + ".stderr\n"
	}
	return all
}

var versionLine = regexp.MustCompile(`^systemd (\d+)`)

// result reads what the machine left.
func (m *Machine) result(out string) (*Result, error) {
	entries, err := os.ReadDir(out)
	if err != nil {
		return nil, err
	}
	r := &Result{Services: map[string]Service{}, Files: map[string][]byte{}}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if r.Files[e.Name()], err = os.ReadFile(filepath.Join(out, e.Name())); err != nil {
			return nil, err
		}
	}
	end := string(r.Files["machine-end"])
	delete(r.Files, "machine-end")
	version := versionLine.FindStringSubmatch(end)
	if version == nil {
		return nil, io.ErrUnexpectedEOF
	}
	if r.Version, err = strconv.Atoi(version[1]); err != nil {
		return nil, err
	}
	for _, name := range m.Start {
		if r.Services[name], err = r.service(name, end); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// service takes the output of a service, and its part of what systemctl show printed: blocks of NAME=VALUE.
func (r *Result) service(name, shown string) (Service, error) {
	s := Service{Stdout: string(r.Files[name+".stdout"]), Stderr: string(r.Files[name+".stderr"])}
	delete(r.Files, name+".stdout")
	delete(r.Files, name+".stderr")
	for block := range strings.SplitSeq(shown, "\n\n") {
		values := map[string]string{}
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			values[key] = value
		}
		if values["Id"] != name {
			continue
		}
		if values["LoadState"] != "loaded" {
			return s, fmt.Errorf("unit %s is not loaded: %s", name, values["LoadState"])
		}
		s.Result = values["Result"]
		var err error
		s.Status, err = strconv.Atoi(values["ExecMainStatus"])
		return s, err
	}
	return s, fmt.Errorf("unit %s is not there", name)
}
