package deployments

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/llorch/secrets-management/internal/kubelet"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
)

// TestFixForAVolume: OPS-2006: the path that a grant would have to list changes with every swap, so the fix names the
// volume.
func TestFixForAVolume(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	clean(t)
	l := layout{build: secretVolume(0o644, 0), path: "/run/secrets/app/token", uid: appUID, covers: `"paths":["/run/secrets/app/token"]`}
	if err := l.build(t); err != nil {
		t.Fatal(err)
	}
	relax := map[string]string{"symlink": "true", "world_read": "true"}
	got := l.load(t, relax)
	if want := []string{`add "/run/secrets/app" to dirs of grant "volume" if the service may read it`}; !slices.Equal(got.Fixes, want) {
		t.Errorf("fixes %q, want %q", got.Fixes, want)
	}
	l.covers += `,"dirs":["/run/secrets/app"]`
	if got := l.load(t, relax); got.Value != content {
		t.Errorf("with what the fix says: %s", got.Error)
	}
}

// TestStickyVolumeRoot: OPS-2007: the root of a secret volume has mode 1777, and yet nobody but root can change what it
// leads to: the sticky bit keeps entries to their owners and that of the directory. Its control has no sticky bit.
func TestStickyVolumeRoot(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	attacks := [][]string{
		{"mv", "-T", "/run/kubelet/app/evil", "/run/kubelet/app/..data"},
		{"mv", "/run/kubelet/app/..data", "/run/kubelet/app/moved"},
		{"rm", "-f", "/run/kubelet/app/token"},
		{"ln", "-sfn", "/tmp", "/run/kubelet/app/..data"},
	}
	for _, sticky := range []bool{true, false} {
		t.Run(fmt.Sprintf("sticky %v", sticky), func(t *testing.T) {
			for _, attack := range attacks {
				clean(t)
				if err := secretVolume(0o644, 0)(t); err != nil {
					t.Fatal(err)
				}
				if !sticky {
					if err := os.Chmod("/run/kubelet/app", 0o777); err != nil {
						t.Fatal(err)
					}
				}
				l := layout{path: "/run/secrets/app/token", uid: appUID, covers: `"dirs":["/run/secrets/app"]`}
				relax := map[string]string{"symlink": "true", "world_read": "true"}
				before := l.load(t, relax)
				if sticky != (before.Value == content) || !sticky && !slices.Equal(before.Codes, []string{"writable_by_others"}) {
					t.Errorf("before: %q, %q", before.Value, before.Error)
				}
				plant(t, "/run/kubelet/app/evil")
				if out, err := as(appUID, attack[0], attack[1:]...); sticky != (err != nil) {
					t.Errorf("%q: %v: %s", attack, err, out)
				}
				if got := l.load(t, relax); sticky && got.Value != content || !sticky && got.Value != "" {
					t.Errorf("after %q: %q, %s", attack, got.Value, got.Error)
				}
			}
			if !sticky {
				return
			}
			// What the user can put beside root's entries is his own, and refused for that.
			l := layout{path: "/run/secrets/app/evil/token", uid: appUID + 1, covers: `"dirs":["/run/secrets/app"]`}
			if got := l.load(t, map[string]string{"world_read": "true"}); !slices.Equal(got.Codes, []string{"writable_by_others"}) {
				t.Errorf("another user's entry: %q, %s", got.Value, got.Error)
			}
		})
	}
}

// plant makes a link of the attacker's, to what would be loaded.
func plant(t *testing.T, name string) {
	t.Helper()
	if out, err := as(appUID, "ln", "-s", "..data", name); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestStaleSubPath: OPS-2009: a subPath keeps the old file after the secret changed. It is refused, with a reason that
// says what to do.
func TestStaleSubPath(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	clean(t)
	if err := subPath(t); err != nil {
		t.Fatal(err)
	}
	l := layout{path: "/mnt/app/token", uid: appUID, covers: `"paths":["/mnt/app/token"]`}
	relax := map[string]string{"world_read": "true"}
	if got := l.load(t, relax); got.Value != content {
		t.Fatalf("before: %s", got.Error)
	}
	v := kubelet.Volume{Dir: "/run/kubelet/app", Serial: 1}
	if err := v.Write(kubelet.File{Name: "token", Text: "fake-new-token-0123456789", Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(l.path); string(b) != content {
		t.Errorf("the control: the container sees %q, %v", b, err)
	}
	if got := l.load(t, relax); got.Value != "" || got.Denied || !strings.Contains(got.Error, "changed while it was loaded") || !strings.Contains(got.Error, "subPath") {
		t.Errorf("after: %q, %s", got.Value, got.Error)
	}
}

// swaps is how many versions of the secret came into force.
type swaps struct {
	done atomic.Int64
	stop atomic.Bool
	err  error
}

// versioned is 4 KiB in which every eight bytes name the version.
func versioned(n int64) string { return strings.Repeat(fmt.Sprintf("%08d", n), 512) }

func (s *swaps) run(v *kubelet.Volume) {
	for !s.stop.Load() {
		next := s.done.Load() + 1
		text := versioned(next)
		if s.err = v.Write(files(0o644, text)...); s.err != nil {
			return
		}
		s.done.Store(next)
	}
}

// TestSwapWhileLoading: OPS-2008: a load during an atomic swap gives the old or the new content whole, or ErrChanged. It
// never takes the secret for absent, on which a fallback would move on, and never refuses it.
func TestSwapWhileLoading(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	clean(t)
	v := &kubelet.Volume{Dir: "/run/kubelet/app"}
	var s swaps
	if err := errors.Join(v.Mount(), v.Write(files(0o644, versioned(0))...), kubelet.Bind(v.Dir, "/run/secrets/app", true)); err != nil {
		t.Fatal(err)
	}
	l := swapLoader(t)
	var wg sync.WaitGroup
	wg.Go(func() { s.run(v) })
	var loaded, changed int
	seen := map[int64]bool{}
	const loads = 2000
	for i := range loads {
		path := []string{"/run/secrets/app/token", "/run/secrets/app/sub/key"}[i%2]
		oldest := s.done.Load()
		got, err := l.LoadSecret(context.Background(), loader.File(path))
		newest := s.done.Load() + 1 // in force before it is counted
		switch {
		case err == nil:
			loaded++
			text, _ := got.Expose()
			got.Close()
			version, _ := strconv.ParseInt(text[:8], 10, 64)
			seen[version] = true
			if text != versioned(version) || version < oldest || version > newest {
				t.Fatalf("loaded version %d, whole: %v; in force were %d to %d", version, text == versioned(version), oldest, newest)
			}
		case errors.Is(err, loader.ErrChanged):
			changed++
		default:
			t.Fatalf("load %d of %s: %v", i, path, err)
		}
	}
	s.stop.Store(true)
	wg.Wait()
	t.Logf("%d loads: %d whole, of %d versions, %d changed; %d swaps", loads, loaded, len(seen), changed, s.done.Load())
	if s.err != nil || loaded < loads/5 || len(seen) < 50 {
		t.Errorf("%d of %d loads, %d versions: %v", loaded, loads, len(seen), s.err)
	}
}

func swapLoader(t *testing.T) *loader.Loader {
	t.Helper()
	b, err := policy.DefaultBundle([]byte(`{"secrets":{"services":{"app":[{"id":"volume","actions":["load_secret"],"source":"file",
		"dirs":["/run/secrets/app"],"relax":{"symlink":true,"world_read":true}}]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.Open(context.Background(), b, policy.Options{Limits: policy.Limits{Deadline: 10 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	l, err := loader.New(loader.Config{
		Service: "app", Policy: engine, Audit: loader.NewAuditWriter(io.Discard), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}
