package loader_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/kdf"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/secret"
)

// as is how a hostile reference is loaded. It returns a secret when there was a key, which is as wrong.
type as func(*world, loader.Ref) (*secret.Secret, error)

func asSecret(w *world, ref loader.Ref) (*secret.Secret, error) {
	return w.l.LoadSecret(context.Background(), ref)
}

func asKey(w *world, ref loader.Ref) (*secret.Secret, error) {
	return orWrong(w.l.LoadKey(context.Background(), ref))
}

func asDerived(purpose string) as {
	return func(w *world, ref loader.Ref) (*secret.Secret, error) {
		return orWrong(w.l.DeriveKey(context.Background(), purpose, ref))
	}
}

func orWrong(k *secret.Key, err error) (*secret.Secret, error) {
	if k != nil {
		return new(secret.Secret), errors.Join(err, k.Close())
	}
	return nil, err
}

func asAtLeast(n int) as {
	return func(w *world, ref loader.Ref) (*secret.Secret, error) {
		var s *secret.Secret
		err := w.l.LoadAll(context.Background(), loader.Request{Secret: &s, MinLength: n, Refs: []loader.Ref{ref}})
		return s, err
	}
}

func hostileFiles() []hostileRef {
	file := func(content string, mode os.FileMode) func(*world) loader.Ref {
		return func(w *world) loader.Ref { return w.file("token", content, mode) }
	}
	all := []hostileRef{
		{"SVC-1002 a file that is too short", file(fake, 0o600), loader.ErrInvalidFormat, "", asAtLeast(len(fake) + 1), read},
		{"SVC-1002 white space does not make it longer", file(fake+"   ", 0o600), loader.ErrInvalidFormat, "", asAtLeast(len(fake) + 1), read},
		{"SM-LOAD-4004 a sparse file of 1 TiB", func(w *world) loader.Ref {
			ref := w.file("token", fake, 0o600)
			must(w, os.Truncate(w.dir+"/token", 1<<40))
			return ref
		}, loader.ErrInvalidFormat, "too_large", nil, refused},
		{"SM-LOAD-4004 a hole", func(w *world) loader.Ref {
			ref := w.file("token", "", 0o600)
			must(w, os.Truncate(w.dir+"/token", 64))
			return ref
		}, loader.ErrInvalidFormat, "", asKey, read},
		{"SM-SEC-5004 a directory that everybody may write to", func(w *world) loader.Ref {
			ref := w.file("d/token", fake, 0o600)
			must(w, os.Chmod(w.dir+"/d", 0o707))
			return ref
		}, loader.ErrPermissionsTooOpen, "writable_by_others", nil, refused},
		{"SM-SEC-5004 a directory with an ACL for somebody else", func(w *world) loader.Ref {
			ref := w.file("d/token", fake, 0o600)
			must(w, errors.Join(unix.Setxattr(w.dir+"/d", "system.posix_acl_access", aclFor(12345, 7), 0), os.Chmod(w.dir+"/d", 0o770)))
			return ref
		}, loader.ErrPermissionsTooOpen, "writable_by_others", nil, refused},
		{"SM-SEC-5004 an ACL with write permission", func(w *world) loader.Ref {
			ref := w.file("token", fake, 0o600)
			must(w, unix.Setxattr(w.dir+"/token", "system.posix_acl_access", aclFor(12345, 6), 0))
			return ref
		}, loader.ErrPermissionsTooOpen, "extended_acl", nil, refused},
		{"a sticky directory of somebody else", func(w *world) loader.Ref {
			ref := w.file("d/token", fake, 0o600)
			if !asnobody.Root(w.t) {
				return loader.Ref{}
			}
			must(w, errors.Join(os.Chmod(w.dir+"/d", 0o777|os.ModeSticky), os.Chown(w.dir+"/d", 12345, 12345)))
			return ref
		}, loader.ErrPermissionsTooOpen, "writable_by_others", nil, refused},
		{"a file of nobody's", func(w *world) loader.Ref {
			ref := w.file("token", fake, 0o600)
			if !asnobody.Root(w.t) {
				return loader.Ref{}
			}
			must(w, os.Chown(w.dir+"/token", 65534, 65534))
			return ref
		}, loader.ErrDenied, "foreign_owner", nil, refused},
		{"a name that is too long", func(w *world) loader.Ref {
			return loader.File(w.dir + "/" + strings.Repeat("n", 256))
		}, unix.ENAMETOOLONG, "", nil, refused},
		{"SM-SEC-5005 the root", func(*world) loader.Ref { return loader.File("/") }, loader.ErrDenied, "no_grant", nil, refused},
		{"SM-SEC-5005 the directory of the grant itself", func(w *world) loader.Ref { return loader.File(w.dir) }, loader.ErrPath, "not_regular", nil, refused},
		{"SM-SEC-5005 a name that only begins like the grant", func(*world) loader.Ref {
			dir, _ := common()
			return loader.File(dir + "x/token")
		}, loader.ErrDenied, "no_grant", nil, refused},
		{"SM-SEC-5005 escape sequences and a line feed", func(w *world) loader.Ref {
			return loader.File(w.dir + "/\x1b[2J\n{\"outcome\":\"loaded\"}")
		}, loader.ErrNotFound, "", nil, refused},
		{"SM-SEC-5005 what a process has open", func(*world) loader.Ref { return loader.File("/proc/self/fd/0") }, loader.ErrDenied, "no_grant", nil, refused},
	}
	for _, mode := range []os.FileMode{0o606, 0o610, 0o602, 0o607, 0o660, 0o666, 0o670, 0o777} {
		all = append(all, hostileRef{"SM-SEC-5004 mode " + mode.String(), file(fake, mode), loader.ErrPermissionsTooOpen, "mode_too_open", nil, refused})
	}
	return all
}

// hostileLinks are links that lead where they should not. The grants of the tests do not allow one at the end.
func hostileLinks() []hostileRef {
	link := func(target string) func(*world) loader.Ref {
		return func(w *world) loader.Ref {
			w.file("token", fake, 0o600)
			must(w, os.Symlink(strings.ReplaceAll(target, "HERE", w.dir), w.dir+"/link"))
			return loader.File(w.dir + "/link")
		}
	}
	return []hostileRef{
		{"SM-SEC-5005 an absolute link inside the grant", link("HERE/token"), loader.ErrPath, "symlink_not_granted", nil, refused},
		{"SM-SEC-5005 a link to itself", link("link"), loader.ErrPath, "", nil, refused},
		{"SM-SEC-5005 a link through the root of a process", link("/proc/self/root/HERE/token"), loader.ErrPath, "symlink_not_granted", nil, refused},
		{"SM-SEC-5005 a link to what a process has open", link("/proc/self/fd/0"), loader.ErrDenied, "", nil, refused},
		{"SM-SEC-5005 a link with a long target", link(strings.Repeat("./", 2000) + "token"), loader.ErrPath, "", nil, refused},
		{"SM-SEC-5005 a link upwards and back", link("../../../../../../../../../../etc/passwd"), loader.ErrPath, "outside_grant", nil, refused},
		{"SM-SEC-5005 a link to the root", link("/"), loader.ErrPath, "", nil, refused},
		{"SM-SEC-5005 a link with an empty step", link("HERE//token/"), loader.ErrPath, "", nil, refused},
		{"SM-SEC-5005 41 links", func(w *world) loader.Ref {
			w.file("token", fake, 0o600)
			before := "token"
			for i := range 41 {
				name := strings.Repeat("l", i+1)
				must(w, os.Symlink(before, filepath.Join(w.dir, name)))
				before = name
			}
			return loader.File(filepath.Join(w.dir, before))
		}, loader.ErrPath, "", nil, refused},
	}
}

// hostileNames are credentials and variables that no unit and no shell would have.
func hostileNames() []hostileRef {
	var all []hostileRef
	add := func(what string, make func(string) loader.Ref, names map[string]string) {
		for _, k := range slices.Sorted(maps.Keys(names)) {
			ref := make(names[k])
			all = append(all, hostileRef{what + k, func(*world) loader.Ref { return ref }, loader.ErrPath, "", nil, refused})
		}
	}
	add("SEC-SECRET-050 credential name: ", loader.Credential, map[string]string{
		"empty": "", "separator": "a/b", "colon": "a:b", "dot": ".", "dot dot": "..", "256 bytes": strings.Repeat("a", 256),
		"traversal": "../api_token", "control": "a\nb", "not ASCII": "ä", "NUL": "a\x00", "not UTF-8": "\xff", "DEL": "a\x7f",
	})
	add("SM-LOAD-4005 variable name: ", loader.Env, map[string]string{
		"empty": "", "equals sign": "A=B", "NUL": "TEST_TOKEN\x00", "not UTF-8": "TEST\xff", "256 bytes": strings.Repeat("A", 256),
	})
	return all
}

// hostileEnvironments are values that a variable must not have.
func hostileEnvironments() []hostileRef {
	value := func(v string) func(*world) loader.Ref {
		return func(w *world) loader.Ref {
			w.t.Setenv("TEST_TOKEN", v)
			return loader.Env("TEST_TOKEN")
		}
	}
	return []hostileRef{
		{"SM-LOAD-4005 variable unset", func(w *world) loader.Ref {
			w.t.Setenv("TEST_TOKEN", "")
			must(w, os.Unsetenv("TEST_TOKEN"))
			return loader.Env("TEST_TOKEN")
		}, loader.ErrNotFound, "", nil, refused},
		{"SM-LOAD-4005 variable empty", value(""), loader.ErrInvalidFormat, "", nil, allowed},
		{"SM-LOAD-4005 variable of white space", value(" \n\t"), loader.ErrInvalidFormat, "", nil, read},
		{"SM-LOAD-4005 variable over 1 MiB", value(strings.Repeat("v", 1<<20+1)), loader.ErrInvalidFormat, "", nil, allowed},
		{"SVC-1002 variable too short", value("fake"), loader.ErrInvalidFormat, "", asAtLeast(5), read},
		{"SM-LOAD-4005 variable as a key", value(fakeHex), loader.ErrDenied, "no_grant", asKey, refused},
		{"SM-LOAD-4005 variable not granted", func(w *world) loader.Ref {
			w.t.Setenv("OTHER_TOKEN", fake)
			return loader.Env("OTHER_TOKEN")
		}, loader.ErrDenied, "no_grant", nil, refused},
	}
}

// hostileCredentials are directories that systemd would not make, and what may lie in one.
func hostileCredentials() []hostileRef {
	dir := func(value string) func(*world) loader.Ref {
		return func(w *world) loader.Ref {
			w.file("credentials/api_token", fake, 0o400)
			must(w, errors.Join(os.Symlink(w.dir+"/credentials", w.dir+"/link"), os.Symlink(w.dir, w.dir+"/alias")))
			w.t.Setenv("CREDENTIALS_DIRECTORY", strings.ReplaceAll(value, "HERE", w.dir))
			return loader.Credential("api_token")
		}
	}
	inside := func(make func(path string) error) func(*world) loader.Ref {
		return func(w *world) loader.Ref {
			ref := dir("HERE/credentials")(w)
			path := w.dir + "/credentials/api_token"
			must(w, errors.Join(os.Remove(path), make(path)))
			return ref
		}
	}
	return []hostileRef{
		{"SM-LOAD-4002 no directory", dir(""), loader.ErrCredentialNotFound, "", nil, refused},
		{"SEC-SECRET-051 a relative directory", dir("credentials"), loader.ErrPath, "", nil, refused},
		{"SEC-SECRET-051 a directory by a detour", dir("HERE/credentials/../credentials"), loader.ErrPath, "", nil, refused},
		{"SEC-SECRET-051 a directory with a slash behind", dir("HERE/credentials/"), loader.ErrPath, "", nil, refused},
		{"SEC-SECRET-051 a directory that is not UTF-8", dir("HERE/\xff"), loader.ErrCredentialNotFound, "", nil, refused},
		{"SEC-SECRET-051 a directory with a long path", dir("/" + strings.Repeat("d/", 2100) + "d"), loader.ErrPath, "", nil, refused},
		{"SEC-SECRET-052 a link", dir("HERE/link"), loader.ErrPath, "", nil, refused},
		{"SEC-SECRET-052 a link by a detour", dir("HERE/alias/link"), loader.ErrPath, "", nil, refused},
		{"SM-LOAD-4002 a directory that does not exist", dir("HERE/nowhere"), loader.ErrCredentialNotFound, "", nil, refused},
		{"SEC-SECRET-052 another directory", dir("/etc"), loader.ErrCredentialNotFound, "", nil, refused},
		{"SEC-SECRET-052 a file for a directory", dir("HERE/credentials/api_token"), loader.ErrPath, "", nil, refused},
		{"SEC-SECRET-052 the root", dir("/"), loader.ErrCredentialNotFound, "", nil, refused},
		{"SM-LOAD-4002 a credential that is a directory", inside(func(p string) error { return os.Mkdir(p, 0o700) }), loader.ErrPath, "not_regular", nil, refused},
		{"SM-LOAD-4002 a credential that is a FIFO", inside(func(p string) error { return unix.Mkfifo(p, 0o400) }), loader.ErrPath, "not_regular", nil, refused},
		{"SM-LOAD-4002 a credential that is a link", inside(func(p string) error { return os.Symlink("/etc/passwd", p) }), loader.ErrPath, "", nil, refused},
		{"SM-LOAD-4002 a credential of nothing", inside(func(p string) error { return os.WriteFile(p, nil, 0o400) }), loader.ErrInvalidFormat, "", nil, allowed},
		{"SM-LOAD-4002 a credential that everybody reads", inside(func(p string) error {
			return errors.Join(os.WriteFile(p, []byte(fake), 0o400), os.Chmod(p, 0o444))
		}), loader.ErrPermissionsTooOpen, "readable_by_others", nil, refused},
		{"SM-LOAD-4002 a credential that somebody else reads", inside(func(p string) error {
			return errors.Join(os.WriteFile(p, []byte(fake), 0o600), unix.Setxattr(p, "system.posix_acl_access", aclFor(12345, 4), 0))
		}), loader.ErrPermissionsTooOpen, "readable_by_others", nil, refused},
		{"SM-LOAD-4002 a directory of credentials that others write to", func(w *world) loader.Ref {
			ref := dir("HERE/credentials")(w)
			must(w, os.Chmod(w.dir+"/credentials", 0o777))
			return ref
		}, loader.ErrPermissionsTooOpen, "writable_by_others", nil, refused},
	}
}

// hostileKeys are files that are no key, and labels that nothing may be derived under.
func hostileKeys() []hostileRef {
	content := func(c string) func(*world) loader.Ref {
		return func(w *world) loader.Ref { return w.file("key", c, 0o600) }
	}
	var all []hostileRef
	keys := map[string]string{
		"63 digits": fakeHex[1:], "65 digits": fakeHex + "0", "62 digits and a space": fakeHex[:31] + " " + fakeHex[:31], "no digits": strings.Repeat("g", 64),
		"a prefix": "0x" + fakeHex[2:], "two lines": fakeHex[:32] + "\n" + fakeHex[32:], "raw bytes": string(make([]byte, 32)),
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		all = append(all, hostileRef{"SM-LOAD-4003 key: " + k, content(keys[k]), loader.ErrInvalidFormat, "", asKey, read})
	}
	return append(all,
		hostileRef{"SM-LOAD-4003 key: over 1 KiB", content(fakeHex + strings.Repeat(" ", 1000)), loader.ErrInvalidFormat, "too_large", asKey, refused},
		hostileRef{"SM-LOAD-4003 key: nothing", content(""), loader.ErrInvalidFormat, "", asKey, allowed},
		hostileRef{"SM-LOAD-4003 label: none", content(fake), kdf.ErrDerivation, "", asDerived(""), refused},
		hostileRef{"SM-LOAD-4003 label: not UTF-8", content(fake), kdf.ErrDerivation, "", asDerived("v1\xff"), refused},
		hostileRef{"SM-LOAD-4003 label: another than granted", content(fake), loader.ErrDenied, "no_grant", asDerived("other-v1"), refused})
}

// watchReads counts what anybody reads in dir and below (inotify(7)) until it is asked.
func watchReads(t *testing.T, dir string) func() int {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && (d.IsDir() || d.Type().IsRegular()) {
			_, err = unix.InotifyAddWatch(fd, path, unix.IN_ACCESS)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() int {
		files := 0
		buf := make([]byte, 64<<10)
		for {
			n, err := unix.Read(fd, buf)
			if n <= 0 || err != nil {
				return files
			}
			for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
				if mask := binary.NativeEndian.Uint32(b[4:]); mask&unix.IN_ACCESS != 0 && mask&unix.IN_ISDIR == 0 {
					files++
				}
				b = b[unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])):]
			}
		}
	}
}
