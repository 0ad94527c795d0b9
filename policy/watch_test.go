package policy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llorch/secrets-management/policy"
)

// watched is a bundle file that is replaced in many ways, and an engine that follows it.
type watched struct {
	*signer

	dir, file string
	engine    *policy.Engine
	w         *policy.Watcher

	mu       sync.Mutex
	notified []string
}

// archiveAt is a bundle and its signature file, of a revision.
func (f *watched) archiveAt(revision uint64) (archive, signature []byte) {
	f.t.Helper()
	archive = marshal(f.t, tinyPolicy(fmt.Sprintf("g-%d", revision)))
	return archive, f.sign(archive, statement(revision))
}

func (f *watched) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// write puts both files there, in place.
func (f *watched) write(revision uint64) {
	f.t.Helper()
	archive, signature := f.archiveAt(revision)
	f.must(os.WriteFile(f.file, archive, 0o600))
	f.must(os.WriteFile(f.file+policy.SignatureSuffix, signature, 0o600))
}

// rename puts a file there in one step.
func (f *watched) rename(name string, content []byte) {
	f.t.Helper()
	f.must(os.WriteFile(name+".new", content, 0o600))
	f.must(os.Rename(name+".new", name))
}

func newWatched(t *testing.T) *watched {
	dir := t.TempDir()
	f := &watched{signer: newSigner(t), dir: dir, file: filepath.Join(dir, "policy.tar.gz")}
	f.write(1)
	f.engine = new(policy.Engine)
	t.Cleanup(f.engine.Close)
	return f
}

func (f *watched) watch(ctx context.Context) {
	f.t.Helper()
	w, err := policy.Watch(ctx, policy.WatchConfig{
		Engine: f.engine, Verifier: f.v, File: f.file,
		Notify: func(s policy.Status) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.notified = append(f.notified, fmt.Sprintf("%d %v", s.Info.Signed.Revision, s.Err != nil))
		},
	})
	f.must(err)
	f.w = w
}

// within waits until the status is as wanted, and returns how long that took.
func (f *watched) within(limit time.Duration, what string, ok func(policy.Status) bool) time.Duration {
	f.t.Helper()
	start := time.Now()
	for {
		s := f.w.Status()
		took := time.Since(start)
		if ok(s) {
			return took
		}
		if took > limit {
			f.t.Fatalf("POL-5012: not %s after %v: %+v", what, took, s)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func at(revision uint64) func(policy.Status) bool {
	return func(s policy.Status) bool { return s.Err == nil && s.Info.Signed.Revision == revision }
}

func badAt(revision uint64, want error) func(policy.Status) bool {
	return func(s policy.Status) bool { return errors.Is(s.Err, want) && s.Info.Signed.Revision == revision }
}

// bubble runs a test on a clock of its own: time passes only while everybody waits, so that nothing depends on how busy
// the machine is.
func bubble(t *testing.T, name string, run func(t *testing.T, f *watched)) {
	t.Run("POL-5012 "+name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			f := newWatched(t)
			f.watch(ctx)
			f.within(0, "in force", at(1))
			run(t, f)
			cancel()
			<-f.w.Done() // the bubble fails where a goroutine is left
			f.engine.Close()
		})
	})
}

// TestWatch: a bundle that replaces another in any of the usual ways is in force within a second.
func TestWatch(t *testing.T) {
	bubble(t, "overwritten in place", func(_ *testing.T, f *watched) {
		f.write(2)
		f.within(time.Second, "in force", at(2))
	})
	bubble(t, "renamed into place", func(_ *testing.T, f *watched) {
		archive, signature := f.archiveAt(2)
		f.rename(f.file, archive)
		f.rename(f.file+policy.SignatureSuffix, signature)
		f.within(time.Second, "in force", at(2))
	})
	bubble(t, "the signature comes late", func(_ *testing.T, f *watched) {
		archive, signature := f.archiveAt(2)
		f.rename(f.file, archive)
		f.within(time.Second, "bad", badAt(1, policy.ErrSignature))
		time.Sleep(time.Minute)
		f.within(0, "still bad", badAt(1, policy.ErrSignature))
		f.rename(f.file+policy.SignatureSuffix, signature)
		f.within(time.Second, "in force", at(2))
	})
	bubble(t, "the archive comes late", func(_ *testing.T, f *watched) {
		archive, signature := f.archiveAt(2)
		f.rename(f.file+policy.SignatureSuffix, signature)
		f.within(time.Second, "bad", badAt(1, policy.ErrSignature))
		time.Sleep(time.Minute)
		f.rename(f.file, archive)
		f.within(time.Second, "in force", at(2))
	})
	bubble(t, "written in pieces", func(_ *testing.T, f *watched) {
		archive, signature := f.archiveAt(2)
		f.must(os.WriteFile(f.file+policy.SignatureSuffix, signature, 0o600))
		for part := range 5 {
			f.must(os.WriteFile(f.file, archive[:len(archive)*(part+1)/6], 0o600))
			time.Sleep(700 * time.Millisecond)
			f.within(0, "bad", badAt(1, policy.ErrSignature))
		}
		f.must(os.WriteFile(f.file, archive, 0o600))
		f.within(time.Second, "in force", at(2))
	})
	bubble(t, "the clock of the file system shows no change", func(_ *testing.T, f *watched) {
		archive, signature := f.archiveAt(2)
		torn := append(bytes.Clone(archive[:len(archive)-1]), archive[len(archive)-1]^1)
		same := time.Unix(1_700_000_000, 0)
		f.must(os.WriteFile(f.file+policy.SignatureSuffix, signature, 0o600))
		f.must(os.WriteFile(f.file, torn, 0o600))
		f.must(os.Chtimes(f.file, same, same))
		f.within(time.Second, "bad", badAt(1, policy.ErrSignature))
		f.must(os.WriteFile(f.file, archive, 0o600))
		f.must(os.Chtimes(f.file, same, same))
		f.within(time.Second, "in force", at(2))
	})
	bubble(t, "a link that is led elsewhere, as Kubernetes does", func(_ *testing.T, f *watched) {
		volume := f.dir + "/volume"
		mount := func(n uint64) {
			generation := fmt.Sprintf("..%d", n)
			f.must(os.MkdirAll(filepath.Join(volume, generation), 0o700))
			archive, signature := f.archiveAt(n)
			f.must(os.WriteFile(filepath.Join(volume, generation, "p"), archive, 0o600))
			f.must(os.WriteFile(filepath.Join(volume, generation, "p"+policy.SignatureSuffix), signature, 0o600))
			f.must(os.Symlink(generation, volume+"/..data_tmp"))
			f.must(os.Rename(volume+"/..data_tmp", volume+"/..data"))
		}
		mount(2)
		for _, suffix := range []string{"", policy.SignatureSuffix} {
			f.must(os.Symlink("..data/p"+suffix, volume+"/p"+suffix))
			f.must(os.Remove(f.file + suffix))
			f.must(os.Symlink("volume/p"+suffix, f.file+suffix))
		}
		f.within(time.Second, "in force", at(2))
		mount(3)
		f.within(time.Second, "in force", at(3))
		f.must(os.RemoveAll(volume + "/..2"))
		time.Sleep(time.Minute)
		f.within(0, "in force", at(3))
	})
	bubble(t, "signed anew, for longer", func(_ *testing.T, f *watched) {
		archive, _ := f.archiveAt(1)
		later := policy.Statement{Name: "llorch", Revision: 1, NotAfter: time.Now().Add(48 * time.Hour).Truncate(time.Second)}
		f.rename(f.file+policy.SignatureSuffix, f.sign(archive, later))
		f.within(time.Second, "in force", func(s policy.Status) bool {
			return s.Err == nil && s.Info.Signed.NotAfter.Equal(later.NotAfter)
		})
	})
}

// TestWatchKeepsTheLastGoodOne: what is bad is said, and changes nothing.
func TestWatchKeepsTheLastGoodOne(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(f *watched)
		want  error
	}{
		"garbage": {func(f *watched) { f.must(os.WriteFile(f.file, []byte("x"), 0o600)) }, policy.ErrSignature},
		"gone":    {func(f *watched) { f.must(os.Remove(f.file)) }, os.ErrNotExist},
		"its signature gone": {
			func(f *watched) { f.must(os.Remove(f.file + policy.SignatureSuffix)) }, policy.ErrUnsigned,
		},
		"rolled back": {func(f *watched) {
			f.write(3)
			f.within(time.Second, "in force", at(3))
			f.write(1)
		}, policy.ErrRolledBack},
		"expired": {func(f *watched) {
			archive, _ := f.archiveAt(2)
			f.rename(f.file+policy.SignatureSuffix, f.sign(archive, policy.Statement{Name: "llorch", Revision: 2, NotAfter: time.Now().Add(-time.Hour)}))
			f.rename(f.file, archive)
		}, policy.ErrExpired},
		"signed and broken": {func(f *watched) {
			archive := marshal(f.t, &policy.Bundle{Wasm: []byte("w"), Manifest: policy.NewManifest("", "bad")})
			f.rename(f.file, archive)
			f.rename(f.file+policy.SignatureSuffix, f.sign(archive, statement(2)))
		}, policy.ErrBundle},
		"the state gone": {func(f *watched) {
			f.must(os.WriteFile(f.v.StateFile, nil, 0o600))
			f.write(2)
		}, policy.ErrState},
	} {
		bubble(t, name, func(t *testing.T, f *watched) {
			c.spoil(f)
			f.within(time.Second, "bad", func(s policy.Status) bool { return errors.Is(s.Err, c.want) })
			last := f.w.Status().Info.Signed.Revision
			time.Sleep(30 * time.Minute)
			s := f.w.Status()
			if !errors.Is(s.Err, c.want) || s.Info.Signed.Revision != last || time.Since(s.Checked) > time.Second || s.Info.Since.IsZero() {
				t.Errorf("status %+v", s)
			}
			if d, err := f.engine.Decide(t.Context(), longRequest()); err != nil || !d.Allowed() || d.Info().Signed.Revision != last {
				t.Errorf("allowed %v by %+v, %v", d.Allowed(), d.Info(), err)
			}
			f.mu.Lock()
			if n := len(f.notified); n == 0 || n > 4 || f.notified[n-1] != fmt.Sprintf("%d true", last) {
				t.Errorf("notified of %q", f.notified)
			}
			f.mu.Unlock()
			if c.want == policy.ErrState {
				f.must(os.Remove(f.v.StateFile)) // and CreateState is set
			}
			f.write(9)
			f.within(time.Second, "in force again", at(9))
		})
	}
	bubble(t, "its end comes", func(t *testing.T, f *watched) {
		time.Sleep(2 * time.Hour)
		f.within(0, "expired", badAt(1, policy.ErrExpired))
		if d, err := f.engine.Decide(t.Context(), longRequest()); d.Allowed() || !errors.Is(err, policy.ErrExpired) {
			t.Errorf("allowed %v, %v", d.Allowed(), err)
		}
	})
}

func TestWatchDoesNotStartWithNothing(t *testing.T) {
	f := newWatched(t)
	f.must(os.Remove(f.file))
	c := policy.WatchConfig{Engine: f.engine, Verifier: f.v, File: f.file}
	if w, err := policy.Watch(t.Context(), c); w != nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("POL-5012: %v", err)
	}
	f.must(os.Remove(f.file + policy.SignatureSuffix))
	if w, err := policy.Watch(t.Context(), c); w != nil || err == nil {
		t.Errorf("POL-5012: %v", err)
	}
	f.write(1)
	if w, err := policy.Watch(t.Context(), policy.WatchConfig{Engine: f.engine, File: f.file}); w != nil || !errors.Is(err, policy.ErrNoKey) {
		t.Errorf("POL-5012: %v", err)
	}
	if w, err := policy.Watch(t.Context(), policy.WatchConfig{Verifier: f.v, File: f.file}); w != nil || err == nil {
		t.Errorf("POL-5012: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if w, err := policy.Watch(ctx, c); w != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("POL-5012: %v", err)
	}
	// With a policy in force there is something to keep.
	f.must(os.Remove(f.file))
	engine := openSigned(t, f.bundle(1, grants))
	c.Engine = engine
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	w, err := policy.Watch(ctx, c)
	if err != nil || !errors.Is(w.Status().Err, os.ErrNotExist) {
		t.Fatalf("POL-5012: %v", err)
	}
	cancel()
	<-w.Done()
}

// TestWatchOnTheRealClock sees once what the others take from a clock of their own, and that nothing is left behind.
func TestWatchOnTheRealClock(t *testing.T) {
	f := newWatched(t)
	f.engine = openSigned(t, f.bundle(1, grants))
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.watch(ctx)
	control := openSigned(t, f.bundle(1, grants))
	best, cost := time.Hour, time.Duration(0)
	for n := uint64(2); n < 20 && best > max(time.Second, 500*time.Millisecond+10*cost); n++ {
		start := time.Now() // what one activation costs on this machine, as busy as it is
		b, err := f.v.VerifyFile(f.file)
		f.must(err)
		f.must(control.Activate(ctx, b))
		cost = time.Since(start)
		f.write(n)
		best = min(best, f.within(time.Minute, "in force", at(n)))
	}
	if best > max(time.Second, 500*time.Millisecond+10*cost) {
		t.Errorf("POL-5012: in force after %v, where an activation takes %v", best, cost)
	}
	cancel()
	<-f.w.Done()
	f.engine.Close()
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("POL-5012: %d goroutines before, %d after", before, runtime.NumGoroutine())
}
