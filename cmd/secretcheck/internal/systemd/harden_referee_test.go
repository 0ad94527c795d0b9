package systemd

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/internal/probe"
	"github.com/llorch/secrets-management/internal/realsystemd"
	"github.com/llorch/secrets-management/secret"
)

// hardenings are settings, what is told about them, and what a service that loads its credential with them does.
func hardenings() map[string]struct{ lines, rule, does string } {
	const breaks, heap, interpreted = descriptor.RuleBreaks, descriptor.RuleHeap, descriptor.RuleInterpreted
	all := map[string]struct{ lines, rule, does string }{
		"plain": {"", "", "loads"},

		"no-exec":         {"MemoryDenyWriteExecute=yes\n", interpreted, "interpreted"},
		"no-exec-user":    {"MemoryDenyWriteExecute=yes\nUser=backup\n", interpreted, "interpreted"},
		"no-exec-off":     {"MemoryDenyWriteExecute=yes\nMemoryDenyWriteExecute=no\n", "", "loads"},
		"limit-user":      {"LimitMEMLOCK=0\nUser=backup\n", heap, "heap"},
		"limit-dynamic":   {"LimitMEMLOCK=0:64K\nDynamicUser=yes\n", heap, "heap"},
		"limit-root":      {"LimitMEMLOCK=0\n", "", "loads"},
		"limit-more":      {"LimitMEMLOCK=64K\nUser=backup\n", "", "loads"},
		"no-heap-left":    {"LimitMEMLOCK=infinity\nUser=backup\n", "", "loads"},
		"filter-service":  {"SystemCallFilter=@system-service\n", "", "loads"},
		"filter-families": {"RestrictAddressFamilies=none\n", "", "loads"},
		"filter-memlock":  {"SystemCallFilter=~@memlock\n", breaks, "killed"},
		"errno-memlock":   {"SystemCallFilter=~@memlock\nSystemCallErrorNumber=EPERM\n", heap, "heap"},
		"own-errno":       {"SystemCallFilter=~mlock:EPERM\n", heap, "heap"},
		"own-kill":        {"SystemCallFilter=~mlock:kill\nSystemCallErrorNumber=EPERM\n", breaks, "killed"},
		"listed-errno":    {"SystemCallFilter=@system-service\nSystemCallFilter=~mlock:EPERM\n", heap, "heap"},
		"taken-back":      {"SystemCallFilter=~@memlock\nSystemCallFilter=mlock\n", "", "loads"},
		"reset":           {"SystemCallFilter=~@memlock\nSystemCallFilter=\n", "", "loads"},
		"list-short":      {"SystemCallFilter=@basic-io @file-system\n", breaks, "killed"},

		"hide-credentials":  {"InaccessiblePaths=/run/credentials\n", breaks, "fails"},
		"hide-own":          {"InaccessiblePaths=/run/credentials/%n\n", breaks, "does not start"},
		"hide-run":          {"InaccessiblePaths=/run\n", breaks, "does not start"},
		"hide-proc":         {"InaccessiblePaths=/proc\n", breaks, "fails"},
		"hide-fds":          {"InaccessiblePaths=-/proc/self/fd\n", breaks, "fails or does not start"},
		"hide-sys":          {"InaccessiblePaths=/sys /home\n", "", "loads"},
		"cover-proc":        {"TemporaryFileSystem=/proc:ro\n", breaks, "fails"},
		"cover-run":         {"TemporaryFileSystem=/run\nBindReadOnlyPaths=/run/machine\n", "", "loads"},
		"cover-credentials": {"TemporaryFileSystem=/run/credentials\n", "", "loads"},

		"directory-set":   {"Environment=CREDENTIALS_DIRECTORY=/nowhere\n", breaks, "fails"},
		"directory-own":   {"Environment=CREDENTIALS_DIRECTORY=%d\n", "", "loads"},
		"directory-unset": {"UnsetEnvironment=CREDENTIALS_DIRECTORY\n", breaks, "fails"},

		"users":  {"PrivateUsers=yes\nUser=backup\n", "", "loads"},
		"proc":   {"ProtectProc=noaccess\nProcSubset=pid\nUser=backup\n", "", "loads"},
		"mounts": {"PrivateMounts=yes\n", "", "loads"},
		"root":   {"RootDirectory=/\n", "", "loads"},
	}
	for name := range neededCalls() {
		if name == shortcut {
			all["errno-"+name] = struct{ lines, rule, does string }{"SystemCallFilter=~" + name + ":EPERM\n", "", "loads"}
		} else if spared(name) {
			all["errno-"+name] = struct{ lines, rule, does string }{"SystemCallFilter=~" + name + "\nSystemCallErrorNumber=EPERM\n", heap, "heap"}
		} else if name != "openat" { // without it, the probe does not come to the load
			all["errno-"+name] = struct{ lines, rule, does string }{"SystemCallFilter=~" + name + ":EPERM\n", breaks, "fails"}
		}
		all["kill-"+name] = struct{ lines, rule, does string }{"SystemCallFilter=~" + name + "\n", breaks, "killed"}
	}
	return all
}

const hardenedLoad = "LoadCredential=db:/run/machine/store/db\n"

// TestCHK1076Harden: what is told of hardening is what a service with package loader meets, under this machine's own systemd
// and under 257; what is not told of does it no harm.
func TestCHK1076Harden(t *testing.T) {
	for name, h := range hardenings() {
		t.Run(name, func(t *testing.T) {
			var rules []string
			loads, findings := Read(unit(name+".service", "[Service]\nExecStart=/x\n"+hardenedLoad+h.lines))
			for _, f := range findings {
				rules = append(rules, f.Rule)
			}
			if strings.Join(rules, " ") != h.rule || len(loads) != 1 || len(loads[0].Breaks) > 0 != (h.rule == descriptor.RuleBreaks) {
				t.Errorf("findings %q, want %q; loads %+v", rules, h.rule, loads)
			}
		})
	}
	if !realsystemd.Available(t) {
		return
	}
	exe, err := realsystemd.Build(t.TempDir(), "./internal/probe/cmd/probe")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("own", func(t *testing.T) { hardenedServices(t, exe, "") })
	t.Run("257", func(t *testing.T) {
		if root, ok := realsystemd.Debian13(t); ok {
			hardenedServices(t, exe, root)
		}
	})
}

func hardenedServices(t *testing.T, exe, root string) {
	const grants = `{"secrets":{"services":{"app":[{"id":"c","actions":["load_secret"],"source":"credential","names":["db"]}]}}}`
	m := &realsystemd.Machine{Root: root, Units: map[string]string{}, Files: []realsystemd.File{
		{Path: "/run/machine/probe", Mode: 0o755, From: exe},
		{Path: "/run/machine/grants.json", Mode: 0o644, Content: []byte(grants)},
		{Path: "/run/machine/store/db", Mode: 0o600, Content: []byte("fake-db-0123456789\n")},
	}}
	for name, h := range hardenings() {
		m.Start = append(m.Start, name+".service")
		m.Units[name+".service"] = "[Service]\nType=oneshot\nExecStart=/run/machine/probe app /run/machine/grants.json credential:db\n" + hardenedLoad + h.lines
	}
	r := m.Run(t)
	best := secret.ProtectionLevel() != secret.LevelHeap
	for name, h := range hardenings() {
		if does := whatItDoes(t, r.Services[name+".service"]); !strings.Contains(h.does, does) && (best || does != "heap") {
			t.Errorf("systemd %d: %s: the service %s, want: %s\n%s\n%+v", r.Version, name, does, h.does, h.lines, r.Services[name+".service"])
		}
	}
}

func whatItDoes(t *testing.T, s realsystemd.Service) string {
	t.Helper()
	const sigsys = 31
	if s.Result != "success" {
		switch {
		case s.Result == "signal" && s.Status == sigsys, s.Result == "core-dump":
			return "killed"
		case slices.Contains([]int{203, 226}, s.Status): // EXIT_EXEC, EXIT_NAMESPACE
			return "does not start"
		}
		return fmt.Sprintf("ends with %s %d", s.Result, s.Status)
	}
	var r probe.Report
	if err := json.Unmarshal([]byte(s.Stdout), &r); err != nil || len(r.Loads) != 1 {
		t.Fatalf("%v: %s", err, s.Stdout)
	}
	switch l := r.Loads[0]; {
	case l.Error != "":
		return "fails"
	case l.Level == secret.LevelHeap:
		return "heap"
	case r.Engine == "interpreter":
		return "interpreted"
	}
	return "loads"
}
