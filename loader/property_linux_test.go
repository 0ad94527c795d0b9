package loader_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/loader"
)

// TestEveryMode: SM-SEC-5004, SEC-SECRET-021. Of all modes those are accepted that give nothing to group and others.
func TestEveryMode(t *testing.T) {
	w := newWorld(t)
	ref := w.file("token", fake, 0o600)
	for mode := os.FileMode(0); mode <= 0o777; mode++ {
		must(w, os.Chmod(w.dir+"/token", mode))
		s, err := w.l.LoadSecret(context.Background(), ref)
		readable := os.Geteuid() == 0 || mode&0o400 != 0
		switch {
		case mode&0o077 == 0 && readable:
			if err != nil {
				t.Fatalf("mode %04o: %v", mode, err)
			}
			must(w, s.Close())
		case mode&0o077 == 0:
			if s != nil || !errors.Is(err, os.ErrPermission) {
				t.Fatalf("mode %04o: %v", mode, err)
			}
		case s != nil || !errors.Is(err, loader.ErrPermissionsTooOpen):
			t.Fatalf("mode %04o: %v", mode, err)
		}
	}
}

// FuzzReference: SEC-SECRET-001, SM-SEC-5005. Whatever is referred to, nothing panics, nothing is loaded that is not the
// one file of this service, and the error says what was asked for.
func FuzzReference(f *testing.F) {
	dir, engine := common()
	if engine == nil {
		f.Fatal("no engine")
	}
	for _, seed := range []string{"", "/", "/etc/passwd", "../../etc/passwd", "a/b", "a:b", "\x00", "\xff", "/dev/zero", "//x/../y", "A=B"} {
		f.Add(seed, uint8(0))
		f.Add(dir+"/"+seed, uint8(1))
		f.Add(seed, uint8(2))
	}
	f.Fuzz(func(t *testing.T, text string, kind uint8) {
		w := newWorld(t)
		w.file("token", fake, 0o600)
		ref := []func(string) loader.Ref{loader.File, loader.Credential, loader.Env}[kind%3](text)
		s, err := w.l.LoadSecret(context.Background(), ref)
		if s != nil {
			if strings.HasSuffix(text, "/token") {
				holds(t, s, fake)
				return
			}
			t.Fatalf("%v was loaded", ref)
		}
		var e *loader.Error
		if !errors.As(err, &e) || e.Ref != ref || len(w.audit.entries) == 0 {
			t.Fatalf("error %v, %d entries", err, len(w.audit.entries))
		}
		w.leaksNothing(err)
	})
}
