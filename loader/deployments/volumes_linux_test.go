package deployments

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/internal/kubelet"
	"github.com/llorch/secrets-management/internal/mountns"
	"github.com/llorch/secrets-management/internal/probe"
)

// inNamespace runs the test a second time, in a mount namespace of its own, and reports whether this is that run.
func inNamespace(t *testing.T) bool {
	t.Helper()
	return mountns.Own(t, build)
}

// A container's user and groups, and a user of the host.
const (
	appUID, fsGroup, hostUID = 10001, 3000, 1000
	content                  = "fake-token-0123456789"
)

// layout is a file as a container platform makes it.
type layout struct {
	name   string
	build  func(t *testing.T) error
	path   string
	uid    uint32 // of the service
	covers string // what the grant covers
	relax  map[string]string
	codes  []string // of the refusal without relax, sorted
}

func layouts() []layout {
	volume := `"dirs":["/run/secrets/app","/var/run/secrets/app"]`
	return []layout{
		{
			"Kubernetes", secretVolume(0o644, 0), "/var/run/secrets/app/token", appUID, volume,
			map[string]string{"symlink": "true", "world_read": "true"},
			[]string{"mode_too_open", "symlink_not_granted"},
		},
		{
			"Kubernetes with a folder in it", secretVolume(0o644, 0), "/run/secrets/app/sub/key", appUID, volume,
			map[string]string{"world_read": "true"},
			[]string{"mode_too_open"},
		},
		{
			"Kubernetes, defaultMode 0400 and fsGroup", secretVolume(0o400, fsGroup), "/run/secrets/app/token", appUID, volume,
			map[string]string{"symlink": "true", "group_read": "3000"},
			[]string{"mode_too_open", "symlink_not_granted"},
		},
		{
			"Kubernetes, fsGroup", secretVolume(0o644, fsGroup), "/run/secrets/app/token", appUID, volume,
			map[string]string{"symlink": "true", "world_read": "true"},
			[]string{"mode_too_open", "symlink_not_granted"},
		},
		{
			"Kubernetes, defaultMode 0400, as root", secretVolume(0o400, 0), "/run/secrets/app/token", 0, volume,
			map[string]string{"symlink": "true"},
			[]string{"symlink_not_granted"},
		},
		{
			"Kubernetes, subPath", subPath, "/mnt/app/token", appUID, `"paths":["/mnt/app/token"]`,
			map[string]string{"world_read": "true"},
			[]string{"mode_too_open"},
		},
		{
			"Podman, Swarm", runSecrets(0o444, 0), "/run/secrets/token", appUID, `"paths":["/run/secrets/token"]`,
			map[string]string{"world_read": "true"},
			[]string{"mode_too_open"},
		},
		{
			"Podman, Swarm, uid and mode=0400", runSecrets(0o400, appUID), "/run/secrets/token", appUID, `"paths":["/run/secrets/token"]`,
			nil, nil,
		},
		{
			"Compose, a file of a user of the host", bindMount(0o644, hostUID), "/run/secrets/token", appUID, `"paths":["/run/secrets/token"]`,
			map[string]string{"world_read": "true", "owner": "1000"},
			[]string{"foreign_owner", "mode_too_open", "writable_by_others"},
		},
		{
			"Compose, the same for root", bindMount(0o600, hostUID), "/run/secrets/token", 0, `"paths":["/run/secrets/token"]`,
			map[string]string{"owner": "1000"},
			[]string{"foreign_owner", "writable_by_others"},
		},
		{
			"Compose, a file of root", bindMount(0o444, 0), "/run/secrets/token", appUID, `"paths":["/run/secrets/token"]`,
			map[string]string{"world_read": "true"},
			[]string{"mode_too_open"},
		},
		{
			"Compose, a file of the service", bindMount(0o600, appUID), "/run/secrets/token", appUID, `"paths":["/run/secrets/token"]`,
			nil, nil,
		},
	}
}

// TestVolumeLayouts: a layout is refused with a fix that names the grant, and accepted with that grant and no less.
func TestVolumeLayouts(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, l := range layouts() {
		t.Run("OPS-2006/"+l.name, func(t *testing.T) {
			clean(t)
			if err := l.build(t); err != nil {
				t.Fatal(err)
			}
			l.refused(t)
			got := l.load(t, l.relax)
			t.Logf("mode %04o, owner %d, writers %+v", got.File.Mode, got.File.UID, got.File.Writers)
			if got.Value != content || got.Error != "" {
				t.Errorf("with relax %v: %q, %s", l.relax, got.Value, got.Error)
			}
			for lacking := range l.relax {
				less := maps.Clone(l.relax)
				delete(less, lacking)
				if got := l.load(t, less); !got.Denied || got.Value != "" {
					t.Errorf("without %s: %q, %s", lacking, got.Value, got.Error)
				}
			}
		})
	}
}

// refused checks what the default rules say, and that they name each member of relax that would be needed.
func (l *layout) refused(t *testing.T) {
	t.Helper()
	if len(l.codes) == 0 {
		return
	}
	got := l.load(t, nil)
	slices.Sort(got.Codes)
	if !got.Denied || got.Value != "" || !slices.Equal(got.Codes, l.codes) {
		t.Errorf("%s: reasons %q, want %q", got.Error, got.Codes, l.codes)
	}
	fixes := strings.Join(got.Fixes, "\n")
	for member, value := range l.relax {
		if want := fmt.Sprintf(`add "%s": %s to relax of grant "volume"`, member, value); !strings.Contains(fixes, want) {
			t.Errorf("no fix says %s:\n%s", want, fixes)
		}
	}
}

// load lets the service load the file under a grant of its own.
func (l *layout) load(t *testing.T, relax map[string]string) probe.Load {
	t.Helper()
	var members []string
	for name, value := range relax {
		members = append(members, fmt.Sprintf("%q:%s", name, value))
	}
	grants := fmt.Sprintf(`{"secrets":{"services":{"app":[{"id":"volume","actions":["load_secret"],"source":"file",%s,"relax":{%s}}]}}}`,
		l.covers, strings.Join(members, ","))
	if err := os.WriteFile("/run/grants.json", []byte(grants), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := as(l.uid, "/run/probe", "app", "/run/grants.json", "file:"+l.path)
	var r probe.Report
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil || len(r.Loads) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	return r.Loads[0]
}

// as runs a command as a user of the container, which is in the group fsGroup too.
func as(uid uint32, command string, arguments ...string) ([]byte, error) {
	cmd := exec.Command(command, arguments...)
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "PROBE_INTERPRETER=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{fsGroup}}}
	return cmd.CombinedOutput()
}

// clean takes the mounts of the last layout away.
func clean(t *testing.T) {
	t.Helper()
	for _, place := range []string{"/run/secrets/app", "/run/secrets/token", "/run/secrets", "/run/kubelet/app", "/mnt/app/token"} {
		for unix.Unmount(place, unix.MNT_DETACH) == nil {
			continue // what lies beneath
		}
	}
	for _, dir := range []string{"/run/secrets", "/run/kubelet", "/run/host", "/mnt/app"} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// secretVolume is a Kubernetes secret as the container sees it.
func secretVolume(mode fs.FileMode, group int) func(*testing.T) error {
	return func(*testing.T) error {
		v := kubelet.Volume{Dir: "/run/kubelet/app"}
		if group != 0 {
			v.FSGroup = &group
		}
		return errors.Join(v.Mount(), v.Write(files(mode, content)...), kubelet.Bind(v.Dir, "/run/secrets/app", true))
	}
}

// files are those of the volume.
func files(mode fs.FileMode, text string) []kubelet.File {
	return []kubelet.File{{Name: "token", Text: text, Mode: mode}, {Name: "sub/key", Text: text, Mode: mode}}
}

// subPath is one file of a secret volume, mounted for itself.
func subPath(*testing.T) error {
	v := kubelet.Volume{Dir: "/run/kubelet/app"}
	if err := errors.Join(v.Mount(), v.Write(kubelet.File{Name: "token", Text: content, Mode: 0o644})); err != nil {
		return err
	}
	return v.SubPath("token", "/mnt/app/token")
}

// runSecrets is what Swarm and Podman make: a file of its own on a memory file system at /run/secrets.
func runSecrets(mode fs.FileMode, uid int) func(*testing.T) error {
	return func(*testing.T) error {
		if err := os.MkdirAll("/run/secrets", 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", "/run/secrets", "tmpfs", 0, "mode=0755"); err != nil {
			return err
		}
		return put("/run/secrets/token", mode, uid)
	}
}

// bindMount is what Compose makes of a file of the host.
func bindMount(mode fs.FileMode, uid int) func(*testing.T) error {
	return func(*testing.T) error {
		if err := os.MkdirAll("/run/host", 0o755); err != nil {
			return err
		}
		return errors.Join(put("/run/host/token", mode, uid), kubelet.Bind("/run/host/token", "/run/secrets/token", true))
	}
}

func put(name string, mode fs.FileMode, uid int) error {
	return errors.Join(os.WriteFile(name, []byte(content), 0o600), os.Chown(name, uid, uid), os.Chmod(name, mode))
}
