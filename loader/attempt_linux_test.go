package loader

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLookFails: SVC-1007. The system's own reason why nothing can be looked at comes through, and nothing is left open.
func TestLookFails(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(dir+"/d", 0o700), os.WriteFile(dir+"/d/token", []byte("fake"), 0o600), os.Chmod(dir+"/d", 0)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir+"/d", 0o700) })
	for name, tt := range map[string]struct {
		under func(*testing.T, func())
		path  string
		want  error
	}{
		"no descriptor is left": {withoutDescriptors, "/dev/null", unix.EMFILE},
		"a directory of nobody": {withoutRoot, dir + "/d/token", fs.ErrPermission},
		"control: a descriptor": {func(_ *testing.T, f func()) { f() }, "/dev/null", nil},
		"control: without root": {withoutRoot, "/dev/null", nil},
	} {
		t.Run("SVC-1007 "+name, func(t *testing.T) {
			a := &attempt{}
			var err error
			tt.under(t, func() { err = a.walk(tt.path) })
			defer a.close()
			if !errors.Is(err, tt.want) || (a.target != nil) != (tt.want == nil) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// withoutDescriptors calls f while this process can open nothing.
func withoutDescriptors(t *testing.T, f func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &old, nil); err != nil {
			t.Error(err)
		}
	}()
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Max: old.Max}, nil); err != nil {
		t.Fatal(err)
	}
	f()
}

// withoutRoot calls f on a thread to which modes apply. Who is not root may set this uid to their own alone, which is as good.
func withoutRoot(t *testing.T, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if old, err := unix.SetfsuidRetUid(65534); err != nil {
		t.Fatal(err)
	} else {
		defer unix.SetfsuidRetUid(old)
	}
	f()
}

// TestCredentialOfAnotherUnit: IDN-1005. A process that is in a unit gets that unit's credentials and no others.
func TestCredentialOfAnotherUnit(t *testing.T) {
	for dir, want := range map[string]error{
		credentialsOfUnits + "/other.service":               ErrPath,
		credentialsOfUnits + "/of-no-such-unit.service":     ErrCredentialNotFound, // the control
		credentialsOfUnits + "/of-no-such-unit.service/sub": ErrPath,
		t.TempDir(): ErrPath,
	} {
		t.Setenv("CREDENTIALS_DIRECTORY", dir)
		a := &attempt{ref: Credential("api_token")}
		a.req.Subject.Unit = "of-no-such-unit.service"
		if err := a.credential(); !errors.Is(err, want) || a.target != nil {
			t.Errorf("IDN-1005 %s: error %v, want %v", dir, err, want)
		}
	}
}

// TestReferenceOfNoKind: SM-LOAD-4001. What none of the constructors made is refused.
func TestReferenceOfNoKind(t *testing.T) {
	if _, err := (Ref{source: "vault", value: "/etc/token"}).validate(); !errors.Is(err, ErrPath) {
		t.Errorf("error %v", err)
	}
}

// TestChangedSaysWhy: SM-LOAD-4009. A file that can no longer be opened after the decision is refused with the reason.
func TestChangedSaysWhy(t *testing.T) {
	a := &attempt{}
	a.req.Subject.UID = 4711
	err := a.changed(&fs.PathError{Op: "open", Path: "x", Err: unix.EACCES})
	if !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "uid 4711 may not read it") {
		t.Errorf("error %v", err)
	}
}

// TestFloorOfType: SM-LOAD-4004. Only a regular file is read, whatever a policy allowed, and a pipe is not even opened.
func TestFloorOfType(t *testing.T) {
	for _, kind := range []string{"", "fifo", "directory", "Regular"} {
		a := &attempt{l: &Loader{}, ref: File("/x")} // without a target: to open it is a panic
		a.req.Resource.File.Type, a.req.Resource.File.Size = kind, 1
		if s, err := a.read(context.Background()); s != nil || !errors.Is(err, ErrPath) {
			t.Errorf("SM-LOAD-4004 %q: error %v", kind, err)
		}
	}
}
