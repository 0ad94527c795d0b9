//go:build linux

package loader_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/secret"
)

// hostileRef is a reference that must be refused: how to make it, the error, and the policy's reason where it is one.
type hostileRef struct {
	name string
	make func(w *world) loader.Ref
	want error
	code string
	load as    // how it is asked for; nil is as a secret
	how  depth // how far it gets
}

// depth is how far a load gets before it is refused.
type depth int

const (
	refused depth = iota // by what can be seen from outside: no content is read
	allowed              // and then refused for its size alone
	read                 // and then refused for its content
)

// trail is what the audit log holds of it.
func (d depth) trail() string {
	if d == refused {
		return "deny"
	}
	return "allow failed"
}

func hostileRefs() []hostileRef {
	raw := func(path string) func(*world) loader.Ref { return func(*world) loader.Ref { return loader.File(path) } }
	mode := func(m os.FileMode) func(*world) loader.Ref {
		return func(w *world) loader.Ref { return w.file("token", fake, m) }
	}
	content := func(c string) func(*world) loader.Ref {
		return func(w *world) loader.Ref { return w.file("token", c, 0o600) }
	}
	return []hostileRef{
		{"EXP-CROSS-7001 missing", func(w *world) loader.Ref { return loader.File(w.dir + "/missing") }, loader.ErrNotFound, "", nil, refused},
		{"SM-LOAD-4004 empty", content(""), loader.ErrInvalidFormat, "", nil, allowed},
		{"SM-LOAD-4004 white space only", content(" \t\r\n"), loader.ErrInvalidFormat, "", nil, read},
		{"SM-LOAD-4004 over 1 MiB", content(strings.Repeat("x", 1<<20+1)), loader.ErrInvalidFormat, "too_large", nil, refused},
		{"SM-SEC-5004 mode 0644", mode(0o644), loader.ErrPermissionsTooOpen, "mode_too_open", nil, refused},
		{"SM-SEC-5004 mode 0640", mode(0o640), loader.ErrPermissionsTooOpen, "mode_too_open", nil, refused},
		{"SM-SEC-5004 mode 0604", mode(0o604), loader.ErrPermissionsTooOpen, "mode_too_open", nil, refused},
		{"SM-SEC-5004 mode 0601", mode(0o601), loader.ErrPermissionsTooOpen, "mode_too_open", nil, refused},
		{"SM-SEC-5004 mode 0620", mode(0o620), loader.ErrPermissionsTooOpen, "mode_too_open", nil, refused},
		{"zero reference", func(*world) loader.Ref { return loader.Ref{} }, loader.ErrPath, "", nil, refused},
		{"SM-SEC-5005 empty path", raw(""), loader.ErrPath, "", nil, refused},
		{"SM-SEC-5005 relative path", raw("etc/passwd"), loader.ErrPath, "", nil, refused},
		{"SM-SEC-5005 relative traversal", raw("../../../etc/passwd"), loader.ErrPath, "", nil, refused},
		{"SM-SEC-5005 NUL", raw("/etc/pass\x00wd"), loader.ErrPath, "", nil, refused},
		{"SM-SEC-5005 not UTF-8", raw("/etc/\xff"), loader.ErrPath, "", nil, refused},
		{"SM-SEC-5005 outside of the grants", raw("/etc/passwd"), loader.ErrDenied, "no_grant", nil, refused},
		{"SM-SEC-5005 traversal out of the grant", func(w *world) loader.Ref { return loader.File(w.dir + "/../../../../etc/passwd") }, loader.ErrDenied, "no_grant", nil, refused},
		{"a path that is too long", func(w *world) loader.Ref { return loader.File(w.dir + strings.Repeat("/x", 2100)) }, loader.ErrPath, "", nil, refused},
		{"SM-SEC-5005 symlink loop", func(w *world) loader.Ref {
			must(w, os.Symlink("b", w.dir+"/a"))
			must(w, os.Symlink("a", w.dir+"/b"))
			return loader.File(w.dir + "/a")
		}, loader.ErrPath, "", nil, refused},
		{"SM-SEC-5005 symlink inside the grant", func(w *world) loader.Ref {
			w.file("token", fake, 0o600)
			must(w, os.Symlink("token", w.dir+"/link"))
			return loader.File(w.dir + "/link")
		}, loader.ErrPath, "symlink_not_granted", nil, refused},
		{"SM-SEC-5005 symlink out of the grant", func(w *world) loader.Ref {
			must(w, os.Symlink("/etc/passwd", w.dir+"/link"))
			return loader.File(w.dir + "/link")
		}, loader.ErrPath, "outside_grant", nil, refused},
		{"SM-SEC-5005 symlinked directory out of the grant", func(w *world) loader.Ref {
			must(w, os.Symlink("/etc", w.dir+"/dir"))
			return loader.File(w.dir + "/dir/passwd")
		}, loader.ErrPath, "outside_grant", nil, refused},
		{"dangling symlink", func(w *world) loader.Ref {
			must(w, os.Symlink("nowhere", w.dir+"/link"))
			return loader.File(w.dir + "/link")
		}, loader.ErrPath, "", nil, refused},
		{"a link to a name that is not UTF-8", func(w *world) loader.Ref {
			must(w, os.WriteFile(w.dir+"/\xff", []byte(fake), 0o600))
			must(w, os.Symlink("\xff", w.dir+"/link"))
			return loader.File(w.dir + "/link")
		}, loader.ErrPath, "", nil, refused},
		{"file as a directory", func(w *world) loader.Ref {
			w.file("token", fake, 0o600)
			return loader.File(w.dir + "/token/x")
		}, loader.ErrPath, "", nil, refused},
		{"directory", func(w *world) loader.Ref {
			must(w, os.Mkdir(w.dir+"/d", 0o700))
			return loader.File(w.dir + "/d")
		}, loader.ErrPath, "not_regular", nil, refused},
		{"FIFO", func(w *world) loader.Ref {
			must(w, unix.Mkfifo(w.dir+"/fifo", 0o600))
			return loader.File(w.dir + "/fifo")
		}, loader.ErrPath, "not_regular", nil, refused},
		{"socket", func(w *world) loader.Ref {
			l, err := net.Listen("unix", w.dir+"/sock")
			must(w, err)
			w.t.Cleanup(func() { l.Close() })
			must(w, os.Chmod(w.dir+"/sock", 0o600))
			return loader.File(w.dir + "/sock")
		}, loader.ErrPath, "not_regular", nil, refused},
		{"device", raw("/dev/null"), loader.ErrPath, "not_regular", nil, refused},
		{"second hard link", func(w *world) loader.Ref {
			ref := w.file("token", fake, 0o600)
			must(w, os.Link(w.dir+"/token", w.dir+"/second"))
			return ref
		}, loader.ErrDenied, "hard_linked", nil, refused},
		{"world-writable parent", func(w *world) loader.Ref {
			ref := w.file("d/token", fake, 0o600)
			must(w, os.Chmod(w.dir+"/d", 0o777))
			return ref
		}, loader.ErrPermissionsTooOpen, "writable_by_others", nil, refused},
		{"group-writable grandparent", func(w *world) loader.Ref {
			ref := w.file("d/e/token", fake, 0o600)
			must(w, os.Chmod(w.dir+"/d", 0o770))
			return ref
		}, loader.ErrPermissionsTooOpen, "writable_by_others", nil, refused},
		{"extended ACL", func(w *world) loader.Ref {
			ref := w.file("token", fake, 0o600)
			must(w, unix.Setxattr(w.dir+"/token", "system.posix_acl_access", aclFor(12345, 4), 0))
			return ref
		}, loader.ErrPermissionsTooOpen, "extended_acl", nil, refused},
		{"foreign owner", foreignOwner, loader.ErrDenied, "foreign_owner", nil, refused},
		{"foreign directory", foreignDirectory, loader.ErrPermissionsTooOpen, "writable_by_others", nil, refused},
	}
}

// aclFor is the binary form of user::rw-,user:UID:perm,group::---,mask::perm,other::--- (acl(5), linux/posix_acl_xattr.h).
func aclFor(uid uint32, perm uint16) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 6, ^uint32(0)}, {2, perm, uid}, {4, 0, ^uint32(0)}, {0x10, perm, ^uint32(0)}, {0x20, 0, ^uint32(0)}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

func foreignOwner(w *world) loader.Ref {
	ref := w.file("token", fake, 0o600)
	if !asnobody.Root(w.t) {
		return loader.Ref{}
	}
	must(w, os.Chown(w.dir+"/token", 12345, 12345))
	return ref
}

func foreignDirectory(w *world) loader.Ref {
	ref := w.file("d/token", fake, 0o600)
	if !asnobody.Root(w.t) {
		return loader.Ref{}
	}
	must(w, os.Chown(w.dir+"/d", 12345, 12345))
	return ref
}

func TestHostileReferences(t *testing.T) {
	all := slices.Concat(hostileRefs(), hostileFiles(), hostileLinks(), hostileNames(), hostileEnvironments(), hostileCredentials(), hostileKeys())
	for _, h := range all {
		t.Run(h.name, func(t *testing.T) {
			w := newWorld(t)
			ref := h.make(w)
			if ref == (loader.Ref{}) && h.name != "zero reference" {
				return // needs root, and has said so
			}
			load := h.load
			if load == nil {
				load = asSecret
			}
			reads := watchReads(t, w.dir)
			start := time.Now()
			s, err := load(w, ref)
			w.refused(s, err, h.want, h.code)
			if got := w.audit.outcomes(); got != h.how.trail() {
				t.Errorf("audit: %s, want %s", got, h.how.trail())
			}
			if n := reads(); (n > 0) != (h.how == read && !strings.HasPrefix(ref.String(), "env ")) { // a variable is in memory already
				t.Errorf("%d reads", n)
			}
			if time.Since(start) > 2*time.Second {
				t.Error("it hung")
			}
		})
	}
	if len(all) < 80 {
		t.Errorf("the table lost cases: %d", len(all))
	}
}

// TestNoOracle: SEC-SECRET-024. What a service may not ask for gives the same error whether it exists or not.
func TestNoOracle(t *testing.T) {
	w := newWorld(t)
	var texts []string
	for _, path := range []string{"/etc/passwd", "/etc/does-not-exist", "/root/unreadable", "/dev/null/x"} {
		_, err := w.l.LoadSecret(context.Background(), loader.File(path))
		var e *loader.Error
		if !errors.As(err, &e) || e.Stage != loader.StageAsk {
			t.Fatalf("%s: %v", path, err)
		}
		texts = append(texts, strings.ReplaceAll(err.Error(), path, "PATH"))
	}
	for _, text := range texts[1:] {
		if text != texts[0] {
			t.Errorf("%q differs from %q", text, texts[0])
		}
	}
}

func TestRelaxedGrants(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("symlink", func(t *testing.T) {
		w := newWorldIn(t, dir, grantsFor(dir, `"symlink":true`))
		w.file("real/token", fake, 0o600)
		must(w, os.Symlink("real/../real/token", dir+"/link"))
		w.loads(loader.File(dir+"/link"), fake)
	})
	t.Run("world_read", func(t *testing.T) {
		w := newWorldIn(t, dir, grantsFor(dir, `"world_read":true`))
		w.loads(w.file("public", fake, 0o444), fake)
	})
}

func TestCredential(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(w.dir, "credentials")
	w.file("credentials/api_token", fake+"\n", 0o400)
	w.file("credentials/seal_key", fakeHex, 0o400)
	w.file("credentials/a.b c", fake, 0o400)
	w.file("credentials/open", fake, 0o444)
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	ctx := context.Background()

	t.Run("SM-LOAD-4002 loads", func(*testing.T) { w.loads(loader.Credential("api_token"), fake) })
	t.Run("SEC-SECRET-050 a legal name with a dot and a space", func(*testing.T) { w.loads(loader.Credential("a.b c"), fake) })
	t.Run("SM-LOAD-4002 loads a key", func(t *testing.T) {
		k, err := w.l.LoadKey(ctx, loader.Credential("seal_key"))
		if err != nil {
			t.Fatal(err)
		}
		k.Close()
	})
	t.Run("SM-LOAD-4002 unset", func(t *testing.T) {
		t.Setenv("CREDENTIALS_DIRECTORY", "x")
		must(w, os.Unsetenv("CREDENTIALS_DIRECTORY"))
		_, err := w.l.LoadSecret(ctx, loader.Credential("api_token"))
		if !errors.Is(err, loader.ErrCredentialNotFound) || !strings.Contains(err.Error(), "LoadCredential=api_token") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("SM-LOAD-4002 served with an ACL for the service alone, as by systemd 257", func(*testing.T) {
		w.file("credentials/api_token", fake, 0o600)
		must(w, unix.Setxattr(dir+"/api_token", "system.posix_acl_access", aclFor(uint32(os.Geteuid()), 4), 0))
		w.loads(loader.Credential("api_token"), fake)
	})
	t.Run("SM-LOAD-4002 served with an ACL for somebody else", func(t *testing.T) {
		must(w, unix.Setxattr(dir+"/api_token", "system.posix_acl_access", aclFor(12345, 4), 0))
		s, err := w.l.LoadSecret(ctx, loader.Credential("api_token"))
		if s != nil || !errors.Is(err, loader.ErrPermissionsTooOpen) || !strings.Contains(err.Error(), "readable_by_others") {
			t.Errorf("error %v", err)
		}
		must(w, unix.Removexattr(dir+"/api_token", "system.posix_acl_access"))
	})
	t.Run("SM-LOAD-4002 readable by others", func(t *testing.T) {
		must(w, os.Chmod(dir+"/api_token", 0o444))
		s, err := w.l.LoadSecret(ctx, loader.Credential("api_token"))
		if s != nil || !errors.Is(err, loader.ErrPermissionsTooOpen) {
			t.Errorf("error %v", err)
		}
	})
}

func TestAuditFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	f, err := loader.OpenAuditFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Record(context.Background(), &loader.Entry{DecisionID: "a\nb"}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Record(context.Background(), &loader.Entry{}); err == nil {
		t.Error("a closed log took an entry")
	}
	b, err := os.ReadFile(path)
	fi, serr := os.Stat(path)
	if err != nil || serr != nil || fi.Mode().Perm() != 0o600 || strings.Count(string(b), "\n") != 1 {
		t.Errorf("%v %v %q", err, serr, b)
	}
	if err := os.Symlink(path, dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/open", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir+"/open", 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(dir+"/twice", nil, 0o600), os.Link(dir+"/twice", dir+"/again")); err != nil {
		t.Fatal(err)
	}
	if asnobody.Root(t) {
		if err := errors.Join(os.WriteFile(dir+"/foreign", nil, 0o600), os.Chown(dir+"/foreign", 12345, 0)); err != nil {
			t.Fatal(err)
		}
		if f, err := loader.OpenAuditFile(dir + "/foreign"); err == nil {
			t.Errorf("somebody else's file was opened: %v", f)
		}
	}
	for _, bad := range []string{dir + "/twice", dir + "/link", dir + "/open", dir, "/dev/null", dir + "/no/such"} {
		if f, err := loader.OpenAuditFile(bad); err == nil || !errors.Is(err, loader.ErrAudit) {
			t.Errorf("%s: %v %v", bad, f, err)
		}
	}
}

// TestChangedAfterTheDecision: SEC-SECRET-024, SM-SEC-5004. Whatever happens to the file after its facts were taken,
// what is returned is what was decided on, or nothing.
func TestChangedAfterTheDecision(t *testing.T) {
	const other = "fake-other-content-0123456789ab"
	changes := map[string]func(path string) error{
		"overwritten in place": func(p string) error { return os.WriteFile(p, []byte(other), 0o600) },
		"truncated":            func(p string) error { return os.Truncate(p, 3) },
		"appended": func(p string) error {
			f, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString("more")
			}
			return errors.Join(err, f.Close())
		},
		"mode changed": func(p string) error { return os.Chmod(p, 0o644) },
		"hard-linked":  func(p string) error { return os.Link(p, p+".second") },
		"replaced": func(p string) error {
			return errors.Join(os.WriteFile(p+".new", []byte(other), 0o600), os.Rename(p+".new", p))
		},
		"replaced by a link":    func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p)) },
		"replaced by a FIFO":    func(p string) error { return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o600)) },
		"given an ACL":          func(p string) error { return unix.Setxattr(p, "system.posix_acl_access", aclFor(12345, 4), 0) },
		"its directory renamed": func(p string) error { return os.Rename(filepath.Dir(p), filepath.Dir(p)+".gone") },
	}
	if len(fake) != len(other) {
		t.Fatal("the contents must have one length: only then does the size not give the change away")
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ref := w.file("d/token", fake, 0o600)
			// The verdict is recorded between the decision and the reading.
			w.audit.fail = func(n int) error {
				if n == 1 {
					return change(w.dir + "/d/token")
				}
				return nil
			}
			s, err := w.l.LoadSecret(context.Background(), ref)
			if name == "its directory renamed" { // the same inode in the same state: what was decided on
				if err != nil {
					t.Fatal(err)
				}
				holds(t, s, fake)
				return
			}
			if s != nil || !errors.Is(err, loader.ErrChanged) || w.audit.outcomes() != "allow failed" {
				t.Errorf("secret %v, error %v, audit %s", s != nil, err, w.audit.outcomes())
			}
			w.leaksNothing(err)
		})
	}
}

// TestSecureExecution: SM-LOAD-4005. A program that has more rights than its caller does not let the caller's
// environment choose what it loads.
func TestSecureExecution(t *testing.T) {
	const child = "SECRETS_MANAGEMENT_TEST_SECURE"
	if os.Getenv(child) != "" {
		w := newWorld(t)
		_, err := w.l.LoadSecret(context.Background(), loader.Env("TEST_TOKEN"))
		_, cerr := w.l.LoadSecret(context.Background(), loader.Credential("api_token"))
		named := loader.FileFromEnv("TEST_TOKEN", "/fallback") // SVC-1001
		fmt.Println("ignored:", errors.Is(err, loader.ErrNotFound), errors.Is(cerr, loader.ErrCredentialNotFound), named == loader.File("/fallback"))
		return
	}
	if !asnobody.Root(t) {
		return
	}
	for mode, want := range map[os.FileMode]string{0o755: "ignored: false false false", 0o755 | os.ModeSetuid: "ignored: true true true"} {
		exe := runnableCopy(t, mode)
		cmd := exec.Command(exe, "-test.run=^TestSecureExecution$")
		dir := filepath.Join(filepath.Dir(exe), "credentials")
		cmd.Env = append(os.Environ(), child+"=1", "TEST_TOKEN="+fake, "CREDENTIALS_DIRECTORY="+dir, "TMPDIR=/tmp")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("mode %v: %v, %s", mode, err, out)
		}
	}
}

// TestSmallLockLimit: OPS-1001, OPS-1002. Where memory cannot be locked one warning says so, or nothing is loaded.
func TestSmallLockLimit(t *testing.T) {
	const child = "SECRETS_MANAGEMENT_TEST_LOCK_LIMIT"
	if os.Getenv(child) != "" {
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{}); err != nil {
			t.Fatal(err)
		}
		w := newWorld(t)
		ref := w.file("token", fake, 0o600)
		w.loads(ref, fake)
		w.loads(ref, fake)
		strict, err := loader.New(loader.Config{Service: service, Policy: w.engine, Audit: w.audit, RequireLocked: true})
		if err != nil {
			t.Fatal(err)
		}
		s, err := strict.LoadSecret(context.Background(), ref)
		sick := strict.Health(context.Background()) // SVC-1005
		fmt.Println("warnings:", strings.Count(w.log.String(), "not in memory of the best level"),
			"refused:", s == nil && errors.Is(err, secret.ErrNotLocked), "health:", w.l.Health(context.Background()), errors.Is(sick, secret.ErrNotLocked))
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSmallLockLimit$")
	cmd.Env = append(os.Environ(), child+"=1")
	if os.Geteuid() == 0 { // the limit does not bind root
		exe := runnableCopy(t, 0o755)
		cmd = exec.Command(exe, "-test.run=^TestSmallLockLimit$")
		cmd.Env = append(os.Environ(), child+"=1", "TMPDIR=/tmp")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "warnings: 1 refused: true health: <nil> true") {
		t.Errorf("%v, %s", err, out)
	}
}

// runnableCopy copies this test binary to where any uid can run it, owned by one that is not its caller's, with a
// credentials folder that only its caller could have made.
func runnableCopy(t *testing.T, mode os.FileMode) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "secure")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	exe, credentials := filepath.Join(dir, "tests"), filepath.Join(dir, "credentials")
	err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(exe, b, 0o700), os.Chown(exe, 65534, 65534), os.Chmod(exe, mode),
		os.Mkdir(credentials, 0o755), os.WriteFile(credentials+"/api_token", []byte(fake), 0o400),
		os.Chown(credentials+"/api_token", 12345, 12345))
	if err != nil {
		t.Fatal(err)
	}
	return exe
}
