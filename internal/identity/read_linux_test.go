package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/internal/incgroup"
)

const (
	childVar = "SECRETS_MANAGEMENT_TEST_IDENTITY" // the child prints what it is
	unit     = "secrets-management-test.service"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVar) != "" {
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(asnobody.Main(m))
}

func child() error {
	// What a reader sees who believes its paths.
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(seen{Read(), string(text)})
}

type seen struct {
	Process
	Naive string
}

// inside runs a child in a cgroup of all hierarchies, or of the given ones.
func inside(t *testing.T, path string, attr *syscall.SysProcAttr, only []string) seen {
	t.Helper()
	incgroup.Make(t, path)
	if only == nil {
		only = incgroup.Hierarchies()
	}
	return run(t, attr, "sh", "-c", incgroup.Move(path, only...)+`exec "$0"`, os.Args[0])
}

func run(t *testing.T, attr *syscall.SysProcAttr, args ...string) seen {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childVar+"=1")
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var s seen
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return s
}

func (s seen) proves(t *testing.T, unit string) {
	t.Helper()
	if s.Unit != unit || (s.Attested.Unit != "") != (unit != "") {
		t.Errorf("unit %q by %q, want %q; doubts: %q; a naive reader sees %q", s.Unit, s.Attested.Unit, unit, s.Doubts, s.Naive)
	}
	if unit == "" && !strings.Contains(strings.Join(s.Doubts, "; "), "unit: ") {
		t.Errorf("no reason why the unit is not proven: %q", s.Doubts)
	}
}

// TestUnitIsProven: IDN-1002. The kernel's own answers, for a process where systemd puts a service, and for those that
// only look like one.
func TestUnitIsProven(t *testing.T) {
	if !incgroup.Available(t) {
		return
	}
	const path = "/system.slice/" + unit
	v2 := incgroup.Hierarchies()[0]
	t.Run("IDN-1002 a service in the system slice", func(t *testing.T) { inside(t, path, nil, nil).proves(t, unit) })
	t.Run("IDN-1002 in a slice of it", func(t *testing.T) {
		inside(t, "/system.slice/system-smtest.slice/smtest@a.service", nil, nil).proves(t, "smtest@a.service")
	})
	t.Run("IDN-1002 another uid in it", func(t *testing.T) {
		// The shell that moves is root; what it runs is not.
		incgroup.Make(t, path)
		script := incgroup.Move(path, incgroup.Hierarchies()...)
		exe := copyForOthers(t)
		run(t, nil, "sh", "-c", script+`exec setpriv --reuid=12345 --regid=12345 --clear-groups "$0"`, exe).proves(t, unit)
	})
	t.Run("IDN-1002 in the slice of a user", func(t *testing.T) {
		inside(t, "/user.slice/user-12345.slice/user@12345.service/app.slice/"+unit, nil, nil).proves(t, "")
	})
	t.Run("IDN-1002 below another service", func(t *testing.T) {
		inside(t, "/system.slice/secrets-management-evil.service/"+unit, nil, nil).proves(t, "")
	})
	t.Run("IDN-1002 not where systemd keeps track of it", func(t *testing.T) {
		if all := incgroup.Hierarchies(); len(all) > 1 {
			const other = "/user.slice/user-12345.slice"
			incgroup.Make(t, path)
			incgroup.Make(t, other)
			run(t, nil, "sh", "-c", incgroup.Move(path, all[0])+incgroup.Move(other, all[1:]...)+`exec "$0"`, os.Args[0]).proves(t, "")
			inside(t, path, nil, all[:1]).proves(t, unit)
		}
	})
	t.Run("IDN-1002 of a user, by its owner", func(t *testing.T) {
		incgroup.Make(t, path)
		must(t, os.Chown(v2+path, 12345, 12345))
		inside(t, path, nil, nil).proves(t, "")
	})
	t.Run("IDN-1002 of a user, by the list of its processes", func(t *testing.T) {
		incgroup.Make(t, path)
		must(t, os.Chown(v2+path+"/cgroup.procs", 12345, 12345))
		inside(t, path, nil, nil).proves(t, "")
	})
	t.Run("IDN-1002 in a slice that others may change", func(t *testing.T) {
		incgroup.Make(t, "/system.slice/system-smopen.slice/a.service")
		must(t, os.Chmod(v2+"/system.slice/system-smopen.slice", 0o777))
		inside(t, "/system.slice/system-smopen.slice/a.service", nil, nil).proves(t, "")
	})
	t.Run("IDN-1002 delegated", func(t *testing.T) {
		for _, mark := range []string{"user.delegate", "trusted.delegate"} {
			incgroup.Make(t, path)
			must(t, unix.Setxattr(v2+path, mark, []byte("1"), 0))
			inside(t, path, nil, nil).proves(t, "")
			must(t, unix.Removexattr(v2+path, mark))
		}
	})
	t.Run("IDN-1002 of a user, behind the look of another", func(t *testing.T) {
		const other = "/machine.slice/secrets-management-container.scope"
		incgroup.Make(t, path)
		incgroup.Make(t, other+path)
		must(t, os.Chown(v2+path, 12345, 12345))
		script := "mount --make-rprivate / && " + incgroup.Move(path, incgroup.Hierarchies()...)
		s := run(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS},
			"sh", "-c", script+"mount --bind "+v2+other+` /sys/fs/cgroup && exec "$0"`, os.Args[0])
		s.proves(t, "")
	})
	t.Run("IDN-1002 of a system manager in a container", func(t *testing.T) {
		const container = "/machine.slice/secrets-management-container.scope"
		incgroup.Make(t, container+path)
		script := "mount --make-rprivate / && " + incgroup.Move(container+path, incgroup.Hierarchies()...)
		s := runIn(t, container, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP | syscall.CLONE_NEWNS},
			"sh", "-c", script+`mount -t cgroup2 none /sys/fs/cgroup && exec "$0"`, os.Args[0])
		s.proves(t, unit)
	})
	t.Run("IDN-1001 none at all", func(t *testing.T) { run(t, nil, os.Args[0]).proves(t, "") })
}

// TestForgedUnit: IDN-1002. A user who was given a cgroup makes a namespace in which it looks like a service of the system.
// The kernel's own file then names that service: the control is that a reader of paths alone is taken in.
func TestForgedUnit(t *testing.T) {
	if !incgroup.Available(t) {
		return
	}
	const own = "/user.slice/user-12345.slice/secrets-management-own.service"
	incgroup.Make(t, own)
	exe := copyForOthers(t)
	for _, h := range incgroup.Hierarchies() {
		for _, f := range []string{"", "/cgroup.procs", "/cgroup.subtree_control", "/tasks"} {
			if err := os.Chown(h+own+f, 12345, 12345); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	forged := own + "/system.slice/" + unit
	script := "mount --make-rprivate / 2>/dev/null; "
	for _, h := range incgroup.Hierarchies() {
		script += fmt.Sprintf("mkdir -p '%[1]s' && echo $$ > '%[1]s/cgroup.procs' && ", h+forged)
		t.Cleanup(func() { os.Remove(h + forged); os.Remove(h + filepath.Dir(forged)) })
	}
	// Inside, a user can even have the file system that shows its forgery, if it takes the number of root.
	for id, script := range map[int]string{0: script + `mount -t cgroup2 none /sys/fs/cgroup && `, 990: script} {
		t.Run(fmt.Sprintf("IDN-1002 as uid %d", id), func(t *testing.T) {
			attr := &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWCGROUP | syscall.CLONE_NEWNS,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: id, HostID: 12345, Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: id, HostID: 12345, Size: 1}},
				Credential:  &syscall.Credential{Uid: uint32(id), Gid: uint32(id), NoSetGroups: true},
			}
			s := runIn(t, own, attr, "sh", "-c", script+`exec "$0"`, exe)
			if !strings.Contains(s.Naive, "0::/system.slice/"+unit) {
				t.Fatalf("the attack does not work, so this shows nothing: %q", s.Naive)
			}
			s.proves(t, "")
			if s.Attested.UID != "" || s.Attested.GID != "" || s.Attested.Exe != "" {
				t.Errorf("proven in a namespace of a user's own: %+v", s.Attested)
			}
		})
	}
}

// runIn starts a program that is in a cgroup before it has a namespace of its own: this test itself goes there meanwhile.
func runIn(t *testing.T, path string, attr *syscall.SysProcAttr, args ...string) seen {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	must(t, err)
	home, err := cgroupOf(string(text))
	must(t, err)
	move := func(to string) {
		for _, h := range incgroup.Hierarchies() {
			must(t, os.WriteFile(h+to+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0))
		}
	}
	move(path)
	defer move(home)
	return run(t, attr, args...)
}

// TestForgedProc: IDN-1001. Something is mounted over the kernel's files. A user needs a user namespace for it.
func TestForgedProc(t *testing.T) {
	if !asnobody.Root(t) {
		return
	}
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/cgroup", []byte("0::/system.slice/"+unit+"\n"), 0o644))
	for name, tt := range map[string]struct{ script, doubt string }{
		"over its file":    {"mount --bind " + dir + "/cgroup /proc/$$/cgroup; ", "unit: /proc/self/cgroup: something is mounted over it"},
		"over all of proc": {"mkdir -p " + dir + "/p/self && cp " + dir + "/cgroup " + dir + "/p/self && mount --rbind " + dir + "/p /proc; ", "unit: /proc is not the root of a proc file system"},
	} {
		t.Run("IDN-1001 "+name, func(t *testing.T) {
			s := run(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}, "sh", "-c",
				"mount --make-rprivate / && "+tt.script+`exec "$0"`, os.Args[0])
			if s.Naive != "0::/system.slice/"+unit+"\n" {
				t.Fatalf("the attack does not work, so this shows nothing: %q", s.Naive)
			}
			s.proves(t, "")
			if !strings.Contains(strings.Join(s.Doubts, "; "), tt.doubt) {
				t.Errorf("doubts %q, want %q: something else refused it", s.Doubts, tt.doubt)
			}
		})
	}
}

// TestProcess: IDN-1001. What a process without anything special can prove.
func TestProcess(t *testing.T) {
	p := Read()
	exe, err := filepath.EvalSymlinks(os.Args[0])
	must(t, err)
	if p.Exe != exe || p.Attested.Exe == "" || p.Attested.UID == "" || p.Attested.GID == "" {
		t.Errorf("%+v", p)
	}
	gone := filepath.Join(t.TempDir(), "gone")
	b, err := os.ReadFile(exe)
	must(t, err)
	must(t, os.WriteFile(gone, b, 0o700))
	s := run(t, nil, "sh", "-c", `exec 3<"$0"; mv "$0" "$0.old"; echo x > "$0"; chmod 700 "$0"; exec "$0.old"`, gone)
	if s.Exe != gone+".old" || s.Attested.Exe == "" {
		t.Errorf("renamed: %+v", s.Process)
	}
	s = run(t, nil, "sh", "-c", `exec 3<"$0"; rm "$0"; echo x >"$0 (deleted)"; exec /proc/self/fd/3`, gone+".old")
	if s.Attested.Exe != "" {
		t.Errorf("a program that is gone has a proven path: %+v", s.Process)
	}
}

func copyForOthers(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "identity")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	b, err := os.ReadFile(os.Args[0])
	must(t, err)
	must(t, errors.Join(os.Chmod(dir, 0o755), os.WriteFile(dir+"/tests", b, 0o755), os.Chmod(dir+"/tests", 0o755)))
	return dir + "/tests"
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
