package realsystemd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// places are where a systemd that is not contained would write, and where this test lets one try.
func places() []string {
	return []string{"/", "/dev", "/etc", "/root", "/run", "/tmp", "/var/log", "/var/tmp", "/var/lib/systemd"}
}

// TestContained: OPS-2001: a service that runs as root with no restriction writes to every place, empties /tmp, and none
// of it happens to the machine.
func TestContained(t *testing.T) {
	if !Available(t) {
		return
	}
	const left = ".realsystemd-test"
	canary := filepath.Join(t.TempDir(), "canary") // below the /tmp that the service empties
	if err := os.WriteFile(canary, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := Machine{
		Units: map[string]string{
			"vandal.service":  "[Service]\nType=oneshot\nExecStart=/run/vandal\n",
			"failing.service": "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo to stdout; echo to stderr >&2; exit 7'\n",
			"killed.service":  "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'kill -9 $$$$'\n",
		},
		Files: []File{
			{Path: "/run/vandal", Mode: 0o755, Content: []byte("#!/bin/sh\nset -e\nfor d in " + strings.Join(places(), " ") +
				"; do echo x >$d/" + left + "; done\nrm -rf /tmp/*\ncp /etc/in-etc " + Out + "/copy\nstat -c '%a %u %g' /etc/in-etc\n")},
			{Path: "/etc/in-etc", Mode: 0o640, UID: 5, GID: 6, Content: []byte("from the test")},
		},
		Start: []string{"vandal.service", "failing.service", "killed.service"},
	}
	r := m.Run(t)
	if s := r.Services["vandal.service"]; s.Result != "success" || s.Stdout != "640 5 6\n" {
		t.Errorf("the service could not do its worst: %+v", s)
	}
	if _, err := os.Stat(canary); err != nil {
		t.Error(err)
	}
	for _, dir := range places() {
		if _, err := os.Lstat(filepath.Join(dir, left)); !os.IsNotExist(err) {
			t.Errorf("%s was written to: %v", dir, err)
		}
	}
	if got := string(r.Files["copy"]); got != "from the test" {
		t.Errorf("left in Out: %q", got)
	}
	if want := (Service{Result: "exit-code", Status: 7, Stdout: "to stdout\n", Stderr: "to stderr\n"}); r.Services["failing.service"] != want {
		t.Errorf("failing: %+v, want %+v", r.Services["failing.service"], want)
	}
	if want := (Service{Result: "signal", Status: 9}); r.Services["killed.service"] != want {
		t.Errorf("killed: %+v, want %+v", r.Services["killed.service"], want)
	}
	if r.Version < 200 {
		t.Errorf("systemd %d", r.Version)
	}
}
