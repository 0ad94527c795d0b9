package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/compose"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/host"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/quadlet"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
	"github.com/llorch/secrets-management/internal/kubelet"
	"github.com/llorch/secrets-management/internal/mountns"
	"github.com/llorch/secrets-management/internal/probe"
	"github.com/llorch/secrets-management/policy"
)

const content = "fake-token-0123456789"

// file is a secret: how it is made, by whom it is owned, and where the container finds it.
type file struct {
	kind     string // bind, copy, swarm, podman
	mode     uint32
	uid, gid int
}

func (f file) name() string { return fmt.Sprintf("%s-%04o-%d-%d", f.kind, f.mode, f.uid, f.gid) }

func (f file) path() string { return "/run/" + f.kind + "/" + f.name() }

func files() (all []file) {
	for _, kind := range []string{"bind", "copy", "swarm", "podman"} {
		for _, mode := range []uint32{0o444, 0o440, 0o400, 0o600, 0o640, 0o666, 0o604, 0o620, 0o000} {
			for _, owner := range [][2]int{{0, 0}, {10001, 10001}, {0, 10001}, {10001, 0}} {
				all = append(all, file{kind, mode, owner[0], owner[1]})
			}
		}
	}
	return all
}

// project declares them: those of a host's file, whose owner and mode are that file's, and those that an engine makes.
func project(uid int) (yaml, container string) {
	var entries, secrets, lines strings.Builder
	for _, f := range files() {
		switch f.kind {
		case "podman":
			fmt.Fprintf(&lines, "Secret=%s,target=%s,uid=%d,gid=%d,mode=%04o\n", f.name(), f.path(), f.uid, f.gid, f.mode)
			continue
		case "bind":
			fmt.Fprintf(&entries, "      - {source: %s, target: %s}\n", f.name(), f.path())
			fmt.Fprintf(&secrets, "  %s: {file: /run/host/%s}\n", f.name(), f.name())
			continue
		case "copy":
			fmt.Fprintf(&secrets, "  %s: {environment: VARIABLE}\n", f.name())
		case "swarm":
			fmt.Fprintf(&secrets, "  %s: {external: true}\n", f.name())
		}
		fmt.Fprintf(&entries, "      - {source: %s, target: %s, uid: '%d', gid: '%d', mode: '%04o'}\n", f.name(), f.path(), f.uid, f.gid, f.mode)
	}
	return fmt.Sprintf("services:\n  app:\n    image: app\n    user: '%d:%d'\n    secrets:\n%ssecrets:\n%s", uid, uid, entries.String(), secrets.String()),
		fmt.Sprintf("[Container]\nImage=app\nUser=%d\nGroup=%d\n%s", uid, uid, lines.String())
}

// build makes the same files as the engines do: Compose binds the host's and copies the others into the container's overlay,
// Swarm binds files of a tmpfs read-only, podman files that lie beside the container.
func build(t *testing.T) {
	t.Helper()
	for _, err := range []error{
		os.MkdirAll("/run/host", 0o755), os.MkdirAll("/run/copy", 0o755), os.MkdirAll("/run/tasks", 0o755), os.MkdirAll("/run/userdata", 0o755),
		os.MkdirAll("/mnt/lower", 0o755), os.MkdirAll("/mnt/upper", 0o755), os.MkdirAll("/mnt/work", 0o755),
		unix.Mount("overlay", "/run/copy", "overlay", 0, "lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work"),
		unix.Mount("tmpfs", "/run/tasks", "tmpfs", unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files() {
		at := map[string]string{"bind": "/run/host/", "copy": "/run/copy/", "swarm": "/run/tasks/", "podman": "/run/userdata/"}[f.kind] + f.name()
		err := errors.Join(os.WriteFile(at, []byte(content), 0o600), os.Chown(at, f.uid, f.gid), os.Chmod(at, os.FileMode(f.mode)))
		if f.kind != "copy" {
			err = errors.Join(err, kubelet.Bind(at, f.path(), f.kind != "podman"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// relaxations are what grants allow besides.
var relaxations = []string{``, `"world_read":true`, `"group_read":10001`, `"owner":10001`, `"owner":10001,"group_read":0,"world_read":true`}

// outcome is what became of a load, or will.
type outcome struct {
	loaded  bool
	reasons []string
}

// TestVerdictsAreThoseOfTheEngines: CHK-1124, CHK-1129. For each secret and each grant, the check of the project says what the
// loader says of the files: the same verdict, for the same reasons, on the same facts.
func TestVerdictsAreThoseOfTheEngines(t *testing.T) {
	if !onHost(t) {
		return
	}
	build(t)
	compared, loaded := 0, 0
	for _, uid := range []int{0, 10001} {
		loads := declared(t, uid)
		if len(loads) != len(files()) {
			t.Fatalf("%d loads of %d", len(loads), len(files()))
		}
		for _, relax := range relaxations {
			grants := fmt.Sprintf(`{"secrets":{"services":{"app":[{"id":"secrets","actions":["load_secret"],"source":"file","dirs":["/run"],"relax":{%s}}]}}}`, relax)
			engine := open(t, grants)
			met := loadAll(t, grants, uid)
			for _, l := range loads {
				predicted, seen := judge(t, engine, l), met[l.Path]
				compared++
				if seen.Value == content {
					loaded++
				}
				slices.Sort(seen.Codes)
				if predicted.loaded != (seen.Value == content) || !slices.Equal(predicted.reasons, seen.Codes) {
					t.Errorf("uid %d, relax {%s}, %s: the check says %+v, the container %q %v", uid, relax, l.Path, predicted, seen.Value, seen.Codes)
				}
				if r := l.Runtime; r != nil && !strings.HasPrefix(l.Path, "/run/podman/") { // of podman's the file system is a guess
					if want := comparable(seen.File); !reflect.DeepEqual(comparable(r.File), want) {
						t.Errorf("%s is predicted as %+v, and is %+v", l.Path, comparable(r.File), want)
					}
				}
			}
		}
	}
	t.Logf("%d loads compared, %d loaded", compared, loaded)
	if compared < 1000 || loaded < compared/20 || loaded > compared/2 {
		t.Errorf("%d of %d loaded: too little is shown", loaded, compared)
	}
}

// declared reads the project and the file.
func declared(t *testing.T, uid int) []descriptor.Load {
	t.Helper()
	yaml, container := project(uid)
	r := compose.Read(compose.Project{
		Files: []compose.File{{Path: "/run/compose.yaml", Data: []byte(yaml)}}, Within: "/run", Root: "/", Read: os.ReadFile,
		Name: func(p string) string { return p },
	})
	loads, findings := quadlet.Read(quadlet.Unit{Name: "app.container", Files: []systemd.File{{Name: "app.container", Data: []byte(container)}}})
	for _, f := range append(findings, r.Findings...) {
		if f.Bad() {
			t.Fatalf("%+v", f)
		}
	}
	return append(r.Loads, loads...)
}

func open(t *testing.T, grants string) *policy.Engine {
	t.Helper()
	b, err := policy.DefaultBundle([]byte(grants))
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.Open(context.Background(), b, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	return engine
}

func judge(t *testing.T, engine *policy.Engine, l descriptor.Load) outcome {
	t.Helper()
	root, err := host.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	r := check.Run(context.Background(), check.Config{Policy: engine, Host: root}, check.Input{Descriptors: 1, Loads: []descriptor.Load{l}})
	judged := r.Loads[0]
	if judged.Facts != policy.FactsPredicted {
		t.Fatalf("%+v is not predicted", judged)
	}
	o := outcome{loaded: judged.Verdict == check.Allowed}
	for _, reason := range judged.Reasons {
		if reason.Code != check.RuleNotReadable { // which the kernel says, not the policy
			o.reasons = append(o.reasons, reason.Code)
		}
	}
	slices.Sort(o.reasons)
	return o
}

// comparable leaves out what differs between a file and what is known of it before.
func comparable(f policy.File) policy.File {
	f.Size, f.Mount = 0, policy.Mount{ReadOnly: f.Mount.ReadOnly}
	slices.Sort(f.Writers.UIDs)
	slices.Sort(f.Readers.UIDs)
	return f
}

// loadAll lets the loader load each file as the container's user.
func loadAll(t *testing.T, grants string, uid int) map[string]probe.Load {
	t.Helper()
	var paths []string
	for _, f := range files() {
		paths = append(paths, f.path())
	}
	return mountns.Load(t, &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}, grants, paths...)
}
