package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// files is where each service finds its tokens without credentials, and which they are.
var files = map[string]map[string]string{
	"queen-rbee": {"/etc/llorch/secrets/api-token": "api-token", "/etc/llorch/secrets/queen-rbee/pool-token": "pool-token"},
	"pool-managerd": {
		"/etc/llorch/secrets/pool-token": "pool-token", "/etc/llorch/secrets/pool-managerd/queen-token": "api-token",
		"/etc/llorch/secrets/pool-managerd/worker-token": "worker-token",
	},
	"worker-orcd":    {"/etc/llorch/secrets/worker-token": "worker-token"},
	"vram-residency": {"/etc/llorch/secrets/vram-token": "vram-token", "/etc/llorch/secrets/vram-residency/worker-token": "worker-token"},
}

// own is the one of them that a service lets clients in by.
var own = map[string]string{
	"queen-rbee": "/etc/llorch/secrets/api-token", "pool-managerd": "/etc/llorch/secrets/pool-token",
	"worker-orcd": "/etc/llorch/secrets/worker-token", "vram-residency": "/etc/llorch/secrets/vram-token",
}

// noCredentials takes LoadCredential= out of a unit.
const noCredentials = "LoadCredential=\nRestart=no\n"

// place puts the files of a service where it finds them, its own and closed.
func (p *play) place(name string) (failed error) {
	for path, token := range files[name] {
		failed = errors.Join(failed, os.MkdirAll(filepath.Dir(path), 0o755), os.RemoveAll(path),
			os.WriteFile(path, []byte(p.tokens[token]+"\n"), 0o600), os.Chmod(path, 0o600), os.Chown(path, services[name], services[name]))
	}
	return failed
}

func (p *play) fromFiles() {
	p.try("EXP-ACCEPT-10002 all start from files", func() error {
		var failed error
		for name := range services {
			failed = errors.Join(failed, p.place(name))
		}
		return errors.Join(failed, prepare(noCredentials), start())
	})
	p.accept("files")
}

// refused starts a unit that must not start, and looks for the reason in the log of just this start.
func refused(unit string, set []string, reasons ...string) error {
	started := startOne(unit, set...)
	if state := property(unit, "ActiveState"); started == nil || state != "failed" {
		return fmt.Errorf("%s is %s: %w", unit, state, started)
	}
	return says(unit, reasons...)
}

// says waits until the log of the last process of a unit has all of the texts: journald reads what services write a little
// later, and knows then the number of a process that has ended, but not always its unit.
func says(unit string, texts ...string) (err error) {
	pid := property(unit, "ExecMainPID")
	for end := time.Now().Add(patience / 2); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		var out []byte
		if out, err = exec.Command("journalctl", "-o", "cat", "--no-pager", "-q", "_PID="+pid).Output(); err != nil {
			continue
		}
		for _, text := range texts {
			if !bytes.Contains(out, []byte(text)) {
				err = errors.Join(err, fmt.Errorf("the log does not say %q: %s", text, out))
			}
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// refusals: no service starts on a file that is too open, that is somebody else's, or as somebody else, and each says why.
func (p *play) refusals() {
	for _, name := range slices.Sorted(maps.Keys(services)) {
		unit, path := name+".service", own[name]
		p.try("EXP-ACCEPT-10002 "+name+" refuses mode 0644", func() error {
			return errors.Join(os.Chmod(path, 0o644), refused(unit, nil, "mode_too_open", path, "0644"))
		})
		p.try("EXP-ACCEPT-10002 "+name+" refuses a foreign owner", func() error {
			return errors.Join(p.place(name), os.Chown(path, 7777, 7777), refused(unit, nil, "foreign_owner", path, "7777"))
		})
		p.try("EXP-ACCEPT-10002 "+name+" refuses another identity", func() error {
			return errors.Join(p.place(name), refused(impostor(name), nil, "identity_not_proven"))
		})
		p.try("EXP-ACCEPT-10002 "+name+" starts when it is mended", func() error { return startOne(unit) })
	}
}

// migration: the variable, the file, neither.
func (p *play) migration() {
	const file, variable = "/etc/llorch/secrets/api-token", "LLORCH_API_TOKEN"
	value := variable + "=" + p.tokens["vram-token"] // another one than the file's
	p.try("EXP-ORCH-2004 the file before the variable", func() error {
		return errors.Join(startOne("queen-rbee.service", value),
			want(http.StatusOK, http.MethodGet, at["queen-rbee"]+"/v2/pools", "", p.bearer("api-token")))
	})
	p.try("EXP-ORCH-2004 the variable where there is no file, with a warning", func() error {
		return errors.Join(os.Remove(file), startOne("queen-rbee.service", value),
			want(http.StatusOK, http.MethodGet, at["queen-rbee"]+"/v2/pools", "", p.bearer("vram-token")), says("queen-rbee.service", "a secret is in the environment"))
	})
	p.try("EXP-ORCH-2004 neither, and the error names both", func() error {
		return refused("queen-rbee.service", nil, file, variable, "not found")
	})
	p.try("EXP-ORCH-2004 an open file is no reason for the variable", func() error {
		return errors.Join(p.place("queen-rbee"), os.Chmod(file, 0o644), refused("queen-rbee.service", []string{value}, "mode_too_open"))
	})
}

// listening: EXP-AUTH-4002.
func (p *play) listening() {
	const everywhere = "LLORCH_LISTEN=0.0.0.0:9100"
	p.try("EXP-AUTH-4002 a short token, everywhere", func() error {
		return errors.Join(p.place("queen-rbee"), os.WriteFile("/etc/llorch/secrets/api-token", []byte("fake-token-of-25-bytes-00\n"), 0o600),
			refused("queen-rbee.service", []string{everywhere}, "refused to listen", "25 bytes"))
	})
	p.try("EXP-AUTH-4002 a short token, this machine alone", func() error { return startOne("queen-rbee.service") })
	p.try("EXP-AUTH-4002 a token of enough length, everywhere", func() error {
		return errors.Join(p.place("queen-rbee"), startOne("queen-rbee.service", everywhere))
	})
}

// shows reports which token is in a text, by its file.
func (p *play) shows(text []byte) string {
	for name, token := range p.tokens {
		if bytes.Contains(text, []byte(token[:16])) || bytes.Contains(text, []byte(token[48:])) {
			return name
		}
	}
	return ""
}

// searchProc looks at the environment and the command line of every process, and would find the token if it were there.
func (p *play) searchProc() error {
	control := exec.Command("sleep", "60")
	control.Env = []string{"CONTROL=" + p.tokens["api-token"]}
	if err := control.Start(); err != nil {
		return err
	}
	defer control.Wait()
	defer control.Process.Kill()
	environ := fmt.Sprintf("/proc/%d/environ", control.Process.Pid)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // the kernel sets it a moment after the program was taken
		if text, err := os.ReadFile(environ); err == nil && p.shows(text) != "" {
			break
		} else if time.Now().After(end) {
			return fmt.Errorf("the control is not found: %w", err)
		}
	}
	searched := 0
	for _, file := range []string{"environ", "cmdline"} {
		names, err := filepath.Glob("/proc/[0-9]*/" + file)
		if err != nil {
			return err
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				continue // it has ended
			}
			searched++
			if shown := p.shows(text); shown != "" && name != environ {
				return fmt.Errorf("%s is in %s", shown, name)
			}
		}
	}
	if searched < 2*len(services) {
		return fmt.Errorf("%d files were searched", searched)
	}
	return nil
}

// searchLogs looks at the journal and at the audit logs. That of systemd about the units of the migration is no log of the services.
func (p *play) searchLogs() error {
	text, err := exec.Command("journalctl", "-o", "export", "--all", "--no-pager").Output()
	if err != nil {
		return err
	}
	for _, fact := range []string{"token accepted from now on", "the token is not accepted"} {
		if !bytes.Contains(text, []byte(fact)) {
			return fmt.Errorf("the journal does not say %q: it is not that of the services", fact)
		}
	}
	if shown := p.shows(text); shown != "" {
		return fmt.Errorf("%s is in the journal", shown)
	}
	logs, err := filepath.Glob("/var/log/llorch/*/audit.jsonl")
	if err != nil || len(logs) != len(services) {
		return fmt.Errorf("%d audit logs: %w", len(logs), err)
	}
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(text, []byte(`"outcome":"loaded"`)) {
			return fmt.Errorf("%s: %w", name, err)
		}
		if shown := p.shows(text); shown != "" {
			return fmt.Errorf("%s is in %s", shown, name)
		}
	}
	return nil
}
