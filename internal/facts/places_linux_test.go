package facts

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/policy"
)

// place is where a probe mounts memory, and what it finds at a file there.
type place struct {
	Mount string
	Bind  bool // the directory itself, instead of memory
}

type found struct {
	File  policy.File
	Error string
}

func mounted(p place) (f found) {
	source, kind, flags := "tmpfs", "tmpfs", uintptr(0)
	if p.Bind {
		source, kind, flags = "/etc", "", unix.MS_BIND
	}
	if err := unix.Mount(source, p.Mount, kind, flags, "mode=755"); err != nil {
		return found{Error: err.Error()}
	}
	file := filepath.Join(p.Mount, "passwd")
	if !p.Bind {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			return found{Error: err.Error()}
		}
	}
	r, err := OpenRoot("/")
	if err != nil {
		return found{Error: err.Error()}
	}
	defer r.Close()
	target, err := r.Walk(file, 0)
	if err != nil {
		return found{Error: err.Error()}
	}
	defer target.Close()
	return found{File: target.File}
}

// TestMountOverAForeignEntry: SM-LOAD-4006. What is mounted in a sticky directory hides whose entry it covers, and that
// one can move it away from any namespace that does not have the mount.
func TestMountOverAForeignEntry(t *testing.T) {
	if !asnobody.Root(t) {
		return
	}
	all, _ := users(t)
	owner := all[0]
	for name, bind := range map[string]bool{"memory": false, "bind": true} {
		t.Run(name, func(t *testing.T) {
			dir := treeIn(t, os.TempDir(), "own/")
			t.Cleanup(func() { os.RemoveAll(dir) })
			own := filepath.Join(dir, "own")
			if err := errors.Join(os.Chmod(dir, 0o777|os.ModeSticky), os.Chown(own, ownerID, groupA)); err != nil {
				t.Fatal(err)
			}
			p, err := startProbe(t, "mount", &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS})
			if err != nil {
				asnobody.NotRun(t, "let root make mount namespaces: "+err.Error())
				return
			}
			var f found
			p.ask(t, place{own, bind}, &f)
			if f.Error != "" {
				t.Fatal(f.Error)
			}
			if got := owner.tries(t, attempt{File: "/none", Dir: dir, DirMode: 0o1777, Entry: own}); !got.Replace {
				t.Error("the kernel does not let the owner of the covered entry move it")
			}
			if !owner.listed(f.File.Writers) {
				t.Errorf("%+v does not have the owner of the covered entry", f.File.Writers)
			}
		})
	}
}

// opening is what a probe got of a file: what the facts said, and what opening it did.
type opening struct {
	IsMe, Plain, Foreign bool
	Error                string
}

func opened(path string) (o opening) {
	if f, err := os.Open(path); err == nil {
		o.Plain = true
		f.Close()
	}
	r, err := OpenRoot("/")
	if err != nil {
		return opening{Error: err.Error()}
	}
	defer r.Close()
	target, err := r.Walk(path, nobody)
	if err != nil {
		return opening{Error: err.Error()}
	}
	defer target.Close()
	o.IsMe = target.File.OwnerIsMe
	f, err := target.Open()
	switch {
	case errors.Is(err, ErrOwner):
		o.Foreign = true
	case err != nil:
		o.Error = err.Error()
	default:
		f.Close()
	}
	return o
}

// TestOwnerWithoutANumber: SM-LOAD-4007. In a user namespace the files of everyone who is not mapped look like nobody's,
// and nobody is also an account that services run as.
func TestOwnerWithoutANumber(t *testing.T) {
	if !asnobody.Root(t) {
		return
	}
	ids := []syscall.SysProcIDMap{{ContainerID: nobody, HostID: nobody, Size: 1}}
	p, err := startProbe(t, "owner", &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids,
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody},
	})
	if err != nil {
		asnobody.NotRun(t, "allow user namespaces: "+err.Error())
		return
	}
	dir := treeIn(t, os.TempDir(), "own", "foreign")
	t.Cleanup(func() { os.RemoveAll(dir) })
	for name, uid := range map[string]int{"own": nobody, "foreign": ownerID} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(path, uid, groupA), os.Chmod(path, 0o404)); err != nil {
			t.Fatal(err)
		}
		var o opening
		p.ask(t, path, &o)
		if !o.IsMe || !o.Plain || o.Error != "" { // the control: it looks like its own, and can be read
			t.Errorf("%s: %+v", name, o)
		}
		if o.Foreign != (name == "foreign") {
			t.Errorf("%s: proved to be foreign: %v", name, o.Foreign)
		}
	}
}

// Flags of FS_IOC_SETFLAGS (linux/fs.h).
const immutable, appendOnly = 0x10, 0x20

// TestAttributes: SM-LOAD-4008. The attributes that chattr(1) sets, on file systems that keep them.
func TestAttributes(t *testing.T) {
	if !asnobody.Root(t) {
		return
	}
	for name, dir := range places(t) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "file")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := OpenRoot("/")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for _, flag := range []int{0, immutable, appendOnly} {
				if !setFlags(t, path, flag) {
					return
				}
				file := seen(t, r, path)
				setFlags(t, path, 0) // or nobody can remove it
				if file.Immutable != (flag == immutable) || file.AppendOnly != (flag == appendOnly) {
					t.Errorf("flags %#x: immutable %v, append-only %v", flag, file.Immutable, file.AppendOnly)
				}
			}
		})
	}
}

// setFlags reports whether the process may set the flags of a file.
func setFlags(t *testing.T, path string, flags int) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
	if errors.Is(err, unix.EPERM) {
		asnobody.NotRun(t, "run the tests with CAP_LINUX_IMMUTABLE")
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}
