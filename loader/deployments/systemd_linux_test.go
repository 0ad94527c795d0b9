package deployments

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/internal/probe"
	"github.com/llorch/secrets-management/internal/realsystemd"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

const grants = `{"secrets":{"services":{"app":[
	{"id":"credentials","actions":["load_secret"],"source":"credential","names":["db","api","tree_a","tree_b","enc"]},
	{"id":"files","actions":["load_secret"],"source":"file","dirs":["/run/machine/files"]}]}}}`

// Where a credential comes from.
const (
	fromFile      = "LoadCredential=db:/run/machine/store/db\n"
	fromUnit      = "SetCredential=api:fake-api-0123456789\n"
	fromFolder    = "LoadCredential=tree:/run/machine/store/tree\n"
	fromEncrypted = "LoadCredentialEncrypted=enc:/run/machine/store/enc\n"
	fromNoGrant   = "LoadCredential=ungranted:/run/machine/store/db\n"
)

func contents() map[string]string {
	return map[string]string{
		"db": "fake-db-0123456789", "api": "fake-api-0123456789", "enc": "fake-db-0123456789",
		"tree_a": "fake-a-0123456789", "tree_b": "fake-b-0123456789",
	}
}

// hardened is what systemd-analyze security asks for, as far as it concerns what a load does.
const hardened = "MemoryDenyWriteExecute=yes\nSystemCallFilter=@system-service\nProtectSystem=strict\nPrivateUsers=yes\n" +
	"ProtectProc=invisible\nProcSubset=pid\nCapabilityBoundingSet=\nNoNewPrivileges=yes\nPrivateTmp=yes\nPrivateDevices=yes\n" +
	"ProtectKernelTunables=yes\nRestrictNamespaces=yes\nLockPersonality=yes\n"

// service is a unit that loads credentials.
type service struct {
	name, lines string
	loads       []string
	interpreted bool // no memory may be made executable
	filtered    bool // a seccomp filter is in force, on every version
	root        bool
}

func services() []service {
	both := []string{"db", "api"}
	return []service{
		{name: "root", lines: fromFile + fromUnit, loads: both, root: true},
		{name: "nobody", lines: fromFile + fromUnit + "User=nobody\n", loads: both},
		{name: "account", lines: fromFile + fromUnit + "User=backup\n", loads: both},
		{name: "dynamic", lines: fromFile + fromUnit + "DynamicUser=yes\n", loads: both, filtered: true},
		{name: "folder", lines: fromFolder, loads: []string{"tree_a", "tree_b"}, root: true},
		{name: "folder-account", lines: fromFolder + "User=backup\n", loads: []string{"tree_a", "tree_b"}},
		{name: "encrypted", lines: fromEncrypted, loads: []string{"enc"}, root: true},
		{name: "encrypted-account", lines: fromEncrypted + "User=backup\n", loads: []string{"enc"}},
		{name: "no-wx", lines: fromFile + "MemoryDenyWriteExecute=yes\n", loads: []string{"db"}, interpreted: true, root: true},
		{name: "filter", lines: fromFile + "SystemCallFilter=@system-service\n", loads: []string{"db"}, filtered: true, root: true},
		{name: "filter-more", lines: fromFile + "SystemCallFilter=@system-service memfd_secret\n", loads: []string{"db"}, filtered: true, root: true},
		{name: "filter-errno", lines: fromFile + "SystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM\n", loads: []string{"db"}, filtered: true, root: true},
		{name: "strict", lines: fromFile + "ProtectSystem=strict\n", loads: []string{"db"}, root: true},
		{name: "users", lines: fromFile + "PrivateUsers=yes\n", loads: []string{"db"}, root: true},
		{name: "users-nobody", lines: fromFile + "PrivateUsers=yes\nUser=nobody\n", loads: []string{"db"}},
		{name: "users-account", lines: fromFile + "PrivateUsers=yes\nUser=backup\n", loads: []string{"db"}},
		{name: "users-dynamic", lines: fromFile + "PrivateUsers=yes\nDynamicUser=yes\n", loads: []string{"db"}, filtered: true},
		{name: "hardened", lines: fromFile + fromUnit + hardened, loads: both, interpreted: true, filtered: true, root: true},
		{name: "hardened-nobody", lines: fromFile + fromUnit + hardened + "User=nobody\n", loads: both, interpreted: true, filtered: true},
		{name: "hardened-account", lines: fromFile + fromUnit + hardened + "User=backup\n", loads: both, interpreted: true, filtered: true},
		{name: "hardened-dynamic", lines: fromFile + fromUnit + hardened + "DynamicUser=yes\n", loads: both, interpreted: true, filtered: true},
	}
}

// refused are units that must not get what they ask for, and what the load says.
func refused() map[string]struct{ service, lines, load, says string } {
	return map[string]struct{ service, lines, load, says string }{
		"wrong-service": {"other", fromFile, "db", `service "other" has no grant for it`},
		"no-grant":      {"app", fromNoGrant, "ungranted", `service "app" has no grant for it`},
		"no-credential": {"app", "", "db", "credential not found: CREDENTIALS_DIRECTORY is not set; does the unit have LoadCredential=db:"},
		"another-one":   {"app", fromFile, "api", "credential not found: not in CREDENTIALS_DIRECTORY; does the unit have LoadCredential=api:"},
	}
}

// raw are units that make the system call memfd_secret themselves.
func raw() map[string]string {
	return map[string]string{
		"raw":              "",
		"raw-filter":       "SystemCallFilter=@system-service\n",
		"raw-filter-more":  "SystemCallFilter=@system-service memfd_secret\n",
		"raw-filter-errno": "SystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM\n",
	}
}

func machine(t *testing.T, root string) *realsystemd.Machine {
	t.Helper()
	file := func(name string) realsystemd.File {
		return realsystemd.File{Path: "/run/machine/store/" + name, Mode: 0o600, Content: []byte(contents()[strings.ReplaceAll(name, "/", "_")] + "\n")}
	}
	m := &realsystemd.Machine{
		Root: root,
		Files: []realsystemd.File{
			{Path: "/run/machine/probe", Mode: 0o755, From: probePath(t)},
			{Path: "/run/machine/grants.json", Mode: 0o644, Content: []byte(grants)},
			file("db"), file("tree/a"), file("tree/b"),
		},
		// The host key is made in the machine, and used there.
		Units: map[string]string{"prepare.service": "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\n" +
			"ExecStart=systemd-creds encrypt --with-key=host --name=enc /run/machine/store/db /run/machine/store/enc\n" +
			"ExecStart=/bin/sh -ec '" + strings.Join(strangers(), "; ") + "'\n"},
	}
	add := func(name, arguments, lines string) {
		m.Start = append(m.Start, name+".service")
		m.Units[name+".service"] = "[Unit]\nWants=prepare.service\nAfter=prepare.service\n" +
			"[Service]\nType=oneshot\nExecStart=/run/machine/probe " + arguments + "\n" + lines
	}
	for _, s := range services() {
		add(s.name, "app /run/machine/grants.json credential:"+strings.Join(s.loads, " credential:"), s.lines)
	}
	for _, name := range []string{"plain", "private"} {
		add("strangers-"+name, "app /run/machine/grants.json file:/run/machine/files/own/token file:/run/machine/files/foreign/token "+
			"file:/run/machine/files/link/token", "User=nobody\nPrivateUsers="+map[string]string{"plain": "no", "private": "yes"}[name]+"\n")
	}
	for name, r := range refused() {
		add(name, r.service+" /run/machine/grants.json credential:"+r.load, r.lines)
	}
	for name, lines := range raw() {
		add(name, "memfd_secret", lines)
	}
	return m
}

// strangers makes a file of nobody's own in a directory of its own, in one of somebody else, and behind somebody's link.
func strangers() []string {
	return []string{
		"cd /run/machine", "mkdir files", "cd files",
		"install -d -o nobody -m 0700 own", "install -o nobody -m 0600 ../store/db own/token",
		"install -d -o 1234 -m 0755 foreign", "install -o nobody -m 0600 ../store/db foreign/token",
		"ln -s own link", "chown -h 1234 link",
	}
}

// checkStrangers: with PrivateUsers= every stranger looks like nobody, and the service is nobody.
func checkStrangers(t *testing.T, s realsystemd.Service) {
	t.Helper()
	for _, got := range report(t, s).Loads {
		t.Logf("%s: writers %d, %q", got.Ref, got.File.Writers.UIDs, got.Codes)
		if strings.Contains(got.Ref, "/own/") {
			if got.Value != contents()["db"] {
				t.Errorf("%s: %s", got.Ref, got.Error)
			}
		} else if got.Value != "" || !slices.Equal(got.Codes, []string{"writable_by_others"}) {
			t.Errorf("%s: %q, %s", got.Ref, got.Value, got.Error)
		}
	}
}

// TestSystemd: every correct deployment loads, and no other, on this machine's own systemd and on version 257.
func TestSystemd(t *testing.T) {
	if !realsystemd.Available(t) {
		return
	}
	t.Run("own", func(t *testing.T) { testSystemd(t, "") })
	t.Run("257", func(t *testing.T) {
		root, ok := realsystemd.Debian13(t)
		if !ok {
			return
		}
		if version := testSystemd(t, root); version != 257 {
			t.Errorf("systemd %d, want 257", version)
		}
	})
}

func testSystemd(t *testing.T, root string) (version int) {
	t.Helper()
	r := machine(t, root).Run(t)
	t.Logf("systemd %d: %-18s %6s  %-12s %-12s %-6s %4s %6s  %s", r.Version, "unit", "uid", "engine", "memory", "fs", "mode", "owner", "readers")
	for _, s := range services() {
		t.Run("OPS-2002/"+s.name, func(t *testing.T) {
			s.check(t, r.Version, r.Services[s.name+".service"])
		})
	}
	for name, want := range refused() {
		t.Run("OPS-2003/"+name, func(t *testing.T) {
			got := report(t, r.Services[name+".service"]).Loads[0]
			if got.Value != "" || !strings.Contains(got.Error, want.says) || got.Denied != strings.Contains(want.says, "grant") {
				t.Errorf("loaded %+v, want an error with %q", got, want.says)
			}
		})
	}
	for _, name := range []string{"strangers-plain", "strangers-private"} {
		t.Run("OPS-2010/"+name, func(t *testing.T) { checkStrangers(t, r.Services[name+".service"]) })
	}
	t.Run("OPS-2005", func(t *testing.T) { checkRaw(t, r) })
	return r.Version
}

// report is what a service printed.
func report(t *testing.T, s realsystemd.Service) probe.Report {
	t.Helper()
	var r probe.Report
	if err := json.Unmarshal([]byte(s.Stdout), &r); err != nil || s.Result != "success" || len(r.Loads) == 0 {
		t.Fatalf("the service ended with %s, status %d: %v\n%s%s", s.Result, s.Status, err, s.Stdout, s.Stderr)
	}
	return r
}

func (s service) check(t *testing.T, version int, ended realsystemd.Service) {
	r := report(t, ended)
	for i, name := range s.loads {
		got := r.Loads[i]
		t.Logf("systemd %d: %-18s %6d  %-12s %-12s %-6s %04o %6d  %d", version, s.name+" "+name, r.UID, r.Engine, got.Level,
			got.File.Filesystem, got.File.Mode, got.File.UID, got.File.Readers.UIDs)
		if got.Value != contents()[name] || got.Error != "" {
			t.Errorf("%s: %q, %s", name, got.Value, got.Error)
			continue
		}
		s.checkMemory(t, got.Level)
		s.checkFile(t, version, r.UID, got.File)
	}
	if s.root != (r.UID == 0) {
		t.Errorf("uid %d", r.UID)
	}
	if s.interpreted != (r.Engine == "interpreter") {
		t.Errorf("the policy ran in the %s", r.Engine)
	}
}

// checkMemory: OPS-2005: a filter costs one level, and never the process. Without write and execute systemd filters too,
// where it does not let the kernel see to it (PR_SET_MDWE).
func (s service) checkMemory(t *testing.T, got secret.Level) {
	t.Helper()
	best, filtered := secret.ProtectionLevel(), secret.LevelLocked
	if best == secret.LevelHeap {
		filtered = best
	}
	want := []secret.Level{best}
	switch {
	case s.filtered:
		want = []secret.Level{filtered}
	case s.interpreted:
		want = append(want, filtered)
	}
	if !slices.Contains(want, got) {
		t.Errorf("memory %q, want %q", got, want)
	}
}

// checkFile: OPS-2004: what systemd makes of a credential, and why its mode alone does not tell who can read it.
func (s service) checkFile(t *testing.T, version, uid int, f policy.File) {
	t.Helper()
	if !f.Mount.ReadOnly || !f.Mount.NoSUID || !f.Mount.NoDev || !f.Mount.NoExec {
		t.Errorf("mounted %+v", f.Mount)
	}
	if f.Readers.Everyone || len(f.Readers.GIDs) > 0 || slices.ContainsFunc(f.Readers.UIDs, func(id int64) bool { return id != 0 && id != int64(uid) }) {
		t.Errorf("readers %+v", f.Readers)
	}
	// The control: the check of the mode that this library does not make, because it refuses a correct credential.
	const forOthers = 0o077
	switch plain := f.Mode&forOthers != 0; {
	case version <= 252 && f.Filesystem != "ramfs":
		t.Errorf("file system %s", f.Filesystem)
	case s.root && (f.Mode != 0o400 || f.UID != 0 || f.ACL || plain):
		t.Errorf("root's: mode %04o, owner %d, ACL %v", f.Mode, f.UID, f.ACL)
	case !s.root && f.Filesystem == "ramfs" && (f.Mode != 0o400 || f.UID != int64(uid) || f.ACL || plain):
		t.Errorf("on ramfs: mode %04o, owner %d, ACL %v", f.Mode, f.UID, f.ACL)
	case !s.root && f.Filesystem == "tmpfs" && (f.Mode != 0o440 || f.UID != 0 || !f.ACL || !plain):
		t.Errorf("on tmpfs: mode %04o, owner %d, ACL %v", f.Mode, f.UID, f.ACL)
	}
}

// checkRaw: the attack that package secret does not walk into is there.
func checkRaw(t *testing.T, r *realsystemd.Result) {
	best := secret.ProtectionLevel() == secret.LevelMemfdSecret
	for name := range raw() {
		s := r.Services[name+".service"]
		got := fmt.Sprintf("%s %d %s", s.Result, s.Status, strings.TrimSpace(s.Stdout))
		t.Logf("systemd %d: %s: %s", r.Version, name, got)
		switch {
		case name == "raw-filter" && r.Version <= 257 && (s.Result == "success" || s.Status != int(unix.SIGSYS)),
			name == "raw-filter-errno" && r.Version <= 257 && got != "success 0 operation not permitted",
			name == "raw" && best && got != "success 0 <nil>",
			name == "raw-filter-more" && best && got != "success 0 <nil>":
			t.Errorf("%s: %s", name, got)
		}
	}
}
