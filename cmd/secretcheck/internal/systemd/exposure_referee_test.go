package systemd

import (
	"strings"
	"testing"

	"github.com/llorch/secrets-management/internal/realsystemd"
)

// What stands in a unit, every user of the host can ask systemd for, though the file is root's and of mode 0600: this is
// why the mode of a unit file changes nothing about the findings.
// Evidence for CHK-1071, CHK-1073.
func TestCHK1071EveryUserCanAsk(t *testing.T) {
	if !realsystemd.Available(t) {
		return
	}
	root, ok := realsystemd.Debian13(t) // it has a bus
	if !ok {
		return
	}
	const object = " org.freedesktop.systemd1 /org/freedesktop/systemd1/unit/app_2eservice org.freedesktop.systemd1.Service "
	properties := []string{"Environment", "ExecStart", "SetCredential"}
	asks := ""
	for _, p := range properties {
		asks += "ExecStart=busctl --json=short get-property" + object + p + "\n"
	}
	m := &realsystemd.Machine{
		Root: root,
		Files: []realsystemd.File{{Path: "/run/systemd/system/app.service", Mode: 0o600, Content: []byte(
			"[Service]\nEnvironment=API_TOKEN=fake-1\nExecStart=/bin/true --token=fake-2\nSetCredential=api_token:fake-3\n")}},
		Units: map[string]string{
			"dbus.socket":    "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/dbus/system_bus_socket\nService=dbus.service\n",
			"dbus.service":   "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\nAfter=dbus.socket\n[Service]\nType=notify\nExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation\n",
			"nobody.service": "[Unit]\nWants=dbus.service\nAfter=dbus.service\n[Service]\nType=oneshot\nUser=nobody\nExecStart=-/usr/bin/cat /run/systemd/system/app.service\n" + asks,
		},
		Start: []string{"nobody.service"},
	}
	r := m.Run(t)
	s := r.Services["nobody.service"]
	for _, want := range []string{"fake-1", "fake-2", "102,97,107,101,45,51"} { // the last is an array of bytes
		if !strings.Contains(s.Stdout, want) {
			t.Errorf("%s is not told: %+v", want, s)
		}
	}
	if !strings.Contains(s.Stderr, "Permission denied") {
		t.Errorf("the file itself can be read: %+v", s)
	}
}
