package e2e

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/internal/realsystemd"
)

// inside says that this program runs in the machine, and what it does there.
const (
	inside     = "SECRETS_MANAGEMENT_TEST_SCENARIO"
	everything = "everything"
	acceptance = "acceptance"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv(inside) != "" {
		if err := scenario(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	var err error
	if programs, err = os.MkdirTemp("", "e2e"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(programs)
	return m.Run()
}

var programs string // where the services are built

// services are those of the example, with the accounts that they get.
var services = map[string]int{"queen-rbee": 7101, "pool-managerd": 7102, "worker-orcd": 7103, "vram-residency": 7104}

// build compiles all services with one command, without cgo, so that they run on any root.
var build = sync.OnceValue(func() error {
	args := []string{"build", "-o", programs + "/"}
	for name := range services {
		args = append(args, "../"+name)
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
})

// tokens are the files of /etc/llorch/secrets from which systemd makes credentials.
var tokens = []string{"api-token", "pool-token", "worker-token", "vram-token"}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// grants are those of the example, and each demands the proof of the unit.
func grants(t *testing.T) []byte {
	t.Helper()
	var data struct {
		Secrets struct {
			Services map[string][]map[string]any `json:"services"`
		} `json:"secrets"`
	}
	if err := json.Unmarshal(read(t, "../policy/data.json"), &data); err != nil {
		t.Fatal(err)
	}
	for name, uid := range services {
		if len(data.Secrets.Services[name]) == 0 {
			t.Fatalf("no grants for %s", name)
		}
		for _, grant := range data.Secrets.Services[name] {
			grant["require"] = map[string]any{"unit": name + ".service", "uid": uid}
		}
	}
	b, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// machine is a host with the four services, their accounts, tokens, grants and units. None of them is started.
func machine(t *testing.T, root, what string) *realsystemd.Machine {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	passwd, group := string(read(t, root+"/etc/passwd")), string(read(t, root+"/etc/group"))
	m := &realsystemd.Machine{Root: root, Start: []string{"scenario.service"}, Limit: 5 * time.Minute, Units: map[string]string{
		"scenario.service": "[Unit]\nWants=systemd-journald.service\nAfter=systemd-journald.service systemd-journald.socket\n" +
			"[Service]\nType=oneshot\nEnvironment=" + inside + "=" + what + "\nExecStart=/run/machine/scenario\n",
	}}
	for name, uid := range services {
		passwd += fmt.Sprintf("%s:x:%d:%d::/nonexistent:/usr/sbin/nologin\n", name, uid, uid)
		group += fmt.Sprintf("%s:x:%d:\n", name, uid)
		m.Files = append(m.Files, realsystemd.File{Path: "/usr/lib/llorch/" + name, Mode: 0o755, From: filepath.Join(programs, name)})
		unit := string(read(t, "../deploy/systemd/"+name+".service"))
		m.Units[name+".service"] = unit
		m.Units[impostor(name)] = unit
	}
	if !strings.Contains(group, "\nrender:") {
		group += "render:x:7199:\n"
	}
	for _, name := range tokens {
		b := make([]byte, 32)
		rand.Read(b)
		m.Files = append(m.Files, realsystemd.File{Path: "/etc/llorch/secrets/" + name, Mode: 0o600, Content: []byte(hex.EncodeToString(b) + "\n")})
	}
	m.Files = append(m.Files,
		realsystemd.File{Path: "/etc/passwd", Mode: 0o644, Content: []byte(passwd)},
		realsystemd.File{Path: "/etc/group", Mode: 0o644, Content: []byte(group)},
		realsystemd.File{Path: "/etc/llorch/grants.json", Mode: 0o644, Content: grants(t)},
		realsystemd.File{Path: "/run/machine/scenario", Mode: 0o755, From: self})
	return m
}

// TestEndToEnd: EXP-ACCEPT-10002, SVC-7011, SVC-7012, SVC-7013, SVC-7014, SVC-7016, SM-INTEG-6001, SM-INTEG-6002, SM-INTEG-6003, EXP-VRAM-5001, EXP-WORKER-6001. On this machine's own systemd, and on
// version 257. What each check is evidence for is in its name.
func TestEndToEnd(t *testing.T) {
	if !realsystemd.Available(t) {
		return
	}
	t.Run("own", func(t *testing.T) { endToEnd(t, "", everything) })
	t.Run("257", func(t *testing.T) {
		if root, ok := realsystemd.Debian13(t); ok {
			endToEnd(t, root, acceptance)
		}
	})
}

func endToEnd(t *testing.T, root, what string) {
	r := machine(t, root, what).Run(t)
	var done []check
	if err := json.Unmarshal(r.Files[report], &done); err != nil {
		t.Fatalf("%v\n%s\n%s", err, r.Services["scenario.service"].Stderr, r.Log)
	}
	for _, c := range done {
		t.Run(c.Name, func(t *testing.T) {
			t.Log(c.Took)
			if c.Error != "" {
				t.Error(c.Error)
			}
		})
	}
	if s := r.Services["scenario.service"]; s.Result != "success" || len(done) != steps[what] {
		t.Errorf("%d checks were made, %d are to be: %s\n%s", len(done), steps[what], s.Result, s.Stderr)
	}
	if t.Failed() {
		t.Logf("the journal:\n%s", r.Files[journal])
	}
	t.Logf("systemd %d: %d checks", r.Version, len(done))
}

// TestExposure: SVC-7015. systemd's own judgement of the units.
func TestExposure(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		asnobody.NotRun(t, "install systemd")
		return
	}
	for name := range services {
		analyze := func(unit string) error {
			file := filepath.Join(t.TempDir(), name+".service")
			if err := os.WriteFile(file, []byte(unit), 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=19", file).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			return nil
		}
		unit := string(read(t, "../deploy/systemd/"+name+".service"))
		if err := analyze(unit); err != nil {
			t.Errorf("%s: an exposure of 2.0 or more: %v", name, err)
		}
		if analyze(strings.ReplaceAll(unit, "CapabilityBoundingSet=", "#")) == nil {
			t.Errorf("%s: the judgement does not tell a unit from one with every capability", name)
		}
	}
}
