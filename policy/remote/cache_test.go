package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/internal/ownfile"
	"github.com/llorch/secrets-management/policy/internal/tinypolicy"
)

// contents is what a directory holds, by name.
func contents(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = content
	}
	return all
}

// replaced makes a directory hold that and nothing else.
func replaced(t testing.TB, dir string, all map[string][]byte) {
	t.Helper()
	for name := range contents(t, dir) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range all {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// onlyPair fails unless the cache holds one pair, and nothing that was left over.
func onlyPair(t testing.TB, dir string, revision uint64) {
	t.Helper()
	var names []string
	for name := range contents(t, dir) {
		if name != lockName {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) != 2 || names[1] != names[0]+policy.SignatureSuffix || !strings.HasPrefix(names[0], fmt.Sprintf("%020d-", revision)) {
		t.Errorf("the cache holds %q, want revision %d", names, revision)
	}
}

// kept is a service that ran and has revision 1 on its disk.
func kept(t testing.TB, s *site) WatchConfig {
	t.Helper()
	c := s.config()
	at(t, begin(t, c).Status(), 1, nil)
	onlyPair(t, c.Cache, 1)
	return c
}

// copied is the same service on a host of its own.
func copied(t testing.TB, c WatchConfig) WatchConfig {
	t.Helper()
	from, state := c.Cache, c.Verifier.StateFile
	c.Cache, c.Verifier.StateFile = own(t), filepath.Join(own(t), "state")
	c.Verifier.Keys = slices.Clone(c.Verifier.Keys)
	replaced(t, c.Cache, contents(t, from))
	replaced(t, filepath.Dir(c.Verifier.StateFile), contents(t, filepath.Dir(state)))
	return c
}

// TestTheLastGoodOneIsKept: POL-3514. A service starts with what it had, in files that are its own.
func TestTheLastGoodOneIsKept(t *testing.T) {
	s := newSite(t)
	c := kept(t, s)
	if r, err := offline(t, c); r != 1 || err != nil {
		t.Errorf("revision %d, %v", r, err)
	}
	w := begin(t, restarted(t, c))
	s.publish(2)
	at(t, again(t, w), 2, nil)
	onlyPair(t, c.Cache, 2)
	if r, err := offline(t, c); r != 2 || err != nil {
		t.Errorf("revision %d, %v", r, err)
	}
	for name := range contents(t, c.Cache) {
		fi, err := os.Lstat(filepath.Join(c.Cache, name))
		if err != nil || runtime.GOOS != "windows" && fi.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
	s.put([]byte("no bundle"), []byte("no signature"))
	at(t, again(t, w), 2, policy.ErrSignatureFormat)
	onlyPair(t, c.Cache, 2)
}

// TestWhatIsKeptIsVerifiedAnew: POL-3515. The disk is believed no more than the server.
func TestWhatIsKeptIsVerifiedAnew(t *testing.T) {
	s := newSite(t)
	once := kept(t, s)
	for name, f := range map[string]struct {
		spoil func(t *testing.T, c *WatchConfig, archive string)
		want  error
		says  string
	}{
		"a changed archive":   {func(t *testing.T, _ *WatchConfig, archive string) { flip(t, archive) }, policy.ErrSignature, "altered"},
		"a changed signature": {func(t *testing.T, _ *WatchConfig, archive string) { flip(t, archive+policy.SignatureSuffix) }, nil, ""},
		"a cut archive": {
			func(t *testing.T, _ *WatchConfig, archive string) { must(t, os.Truncate(archive, 100)) }, policy.ErrSignature, "",
		},
		"an archive without its signature": {
			func(t *testing.T, _ *WatchConfig, archive string) { must(t, os.Remove(archive+policy.SignatureSuffix)) }, nil, "there is none",
		},
		"a signature without its archive": {
			func(t *testing.T, _ *WatchConfig, archive string) { must(t, os.Remove(archive)) }, os.ErrNotExist, "",
		},
		"readable by others": {func(t *testing.T, _ *WatchConfig, archive string) { chmod(t, archive, 0o644) }, nil, "mode 0644"},
		"a link": {func(t *testing.T, _ *WatchConfig, archive string) {
			must(t, os.Rename(archive, archive+".moved"), os.Symlink(archive+".moved", archive))
		}, nil, "symbolic links"},
		"a signature behind a link": {func(t *testing.T, _ *WatchConfig, archive string) {
			f := archive + policy.SignatureSuffix
			must(t, os.Rename(f, archive+".moved"), os.Symlink(archive+".moved", f))
		}, nil, "symbolic links"},
		"a directory": {
			func(t *testing.T, _ *WatchConfig, archive string) {
				must(t, os.Remove(archive), os.Mkdir(archive, 0o700))
			}, nil, "regular file",
		},
		"below the floor":  {func(_ *testing.T, c *WatchConfig, _ string) { c.Verifier.MinRevision = 2 }, policy.ErrRolledBack, "at least 2"},
		"another policy's": {func(_ *testing.T, c *WatchConfig, _ string) { c.Verifier.Name = "other" }, policy.ErrWrongName, ""},
		"another key's":    {func(t *testing.T, c *WatchConfig, _ string) { c.Verifier.Keys[0] = newOffline(t).key.Public() }, policy.ErrWrongKey, ""},
		"no state any more": {func(_ *testing.T, c *WatchConfig, _ string) {
			c.Verifier.CreateState = false
			os.Remove(c.Verifier.StateFile)
		}, policy.ErrState, ""},
		"in a name of theirs": {func(t *testing.T, c *WatchConfig, archive string) { must(t, os.Rename(archive, c.Cache+"/p.tar.gz")) }, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				return // modes and links mean other things there
			}
			c := copied(t, once)
			f.spoil(t, &c, filepath.Join(c.Cache, nameOf(1, s.files[signaturePath].content)))
			r, err := offline(t, c)
			if r != 0 || !errors.Is(err, ErrCache) || !errors.Is(err, ErrServer) || f.want != nil && !errors.Is(err, f.want) || !strings.Contains(err.Error(), f.says) {
				t.Errorf("revision %d, %v", r, err)
			}
		})
	}
	t.Run("older than what was in force", func(t *testing.T) {
		s.put(s.pair(1))
		c := kept(t, s)
		before := contents(t, c.Cache)
		s.publish(2)
		at(t, begin(t, restarted(t, c)).Status(), 2, nil)
		replaced(t, c.Cache, before)
		if r, err := offline(t, c); r != 0 || !errors.Is(err, policy.ErrRolledBack) {
			t.Errorf("revision %d, %v", r, err)
		}
	})
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func flip(t testing.TB, name string) {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(name, b, 0o600))
}

// TestAGoodOneBehindABadOne: POL-3515. A bad pair does not hide a good one.
func TestAGoodOneBehindABadOne(t *testing.T) {
	s := newSite(t)
	c := kept(t, s)
	for i, name := range []string{nameOf(9, nil), nameOf(8, nil)} {
		must(t, os.WriteFile(filepath.Join(c.Cache, name), []byte("torn"), 0o600),
			os.WriteFile(filepath.Join(c.Cache, name+policy.SignatureSuffix), bytes.Repeat([]byte("x"), i*maxSignature*2), 0o600))
	}
	if r, err := offline(t, c); r != 1 || err != nil {
		t.Errorf("revision %d, %v", r, err)
	}
}

// crash is what stops the machine.
type crash struct{}

// power is a machine that stops before a step. What counts as on the disk is what was there when the directory was
// synced last; what came after may be there or not.
type power struct {
	t      *testing.T
	dir    string
	stop   int // before which step
	done   []string
	synced map[string][]byte
}

func (p *power) do(name string, step func() error) error {
	if len(p.done) == p.stop {
		panic(crash{})
	}
	p.done = append(p.done, name)
	err := step()
	if name == "sync directory" {
		p.synced = contents(p.t, p.dir)
	}
	return err
}

// lose is what the disk holds after: how says what becomes of what was not synced.
func (p *power) lose(how string) {
	now := contents(p.t, p.dir)
	switch how {
	case "all of it":
		replaced(p.t, p.dir, p.synced)
	case "half of each file":
		for name, content := range now {
			if _, ok := p.synced[name]; !ok && strings.HasSuffix(name, ".tmp") && p.done[len(p.done)-1] != "sync" {
				now[name] = content[:len(content)/2]
			}
		}
		replaced(p.t, p.dir, now)
	case "removals":
		for name, content := range p.synced {
			now[name] = content
		}
		replaced(p.t, p.dir, now)
	}
}

// update runs a check that brings revision 2, on a machine that may stop, and reports whether it came to its end.
func (p *power) update(c WatchConfig) (whole bool) {
	w, err := newWatcher(restarted(p.t, c))
	must(p.t, err)
	defer w.server.close()
	must(p.t, w.restore(p.t.Context()))
	w.cache.do = p.do
	p.synced = contents(p.t, p.dir)
	defer func() {
		if e := recover(); e != nil && e != any(crash{}) {
			panic(e)
		}
	}()
	must(p.t, w.check(p.t.Context(), c.Timeout))
	return true
}

// TestPowerLoss: POL-3516. Wherever in an update the machine stops, and whatever of what was not synced is lost, the next
// start has the old bundle or the new one, and the next update works and leaves nothing behind.
func TestPowerLoss(t *testing.T) {
	s := newSite(t)
	c := kept(t, s)
	before, state := contents(t, c.Cache), contents(t, filepath.Dir(c.Verifier.StateFile))
	two, three := map[string]file{}, map[string]file{}
	for n, files := range map[uint64]map[string]file{2: two, 3: three} {
		s.publish(n)
		s.do(func() { maps.Copy(files, s.files) })
	}
	var steps []string
	outcomes := map[uint64]int{}
	for stop, whole := 0, false; !whole; stop++ {
		replaced(t, c.Cache, before)
		replaced(t, filepath.Dir(c.Verifier.StateFile), state)
		s.do(func() { s.files = two })
		p := &power{t: t, dir: c.Cache, stop: stop}
		whole = p.update(c)
		steps = p.done
		left, recorded := contents(t, c.Cache), contents(t, filepath.Dir(c.Verifier.StateFile))
		var seen []map[string][]byte
		for _, how := range []string{"nothing", "all of it", "half of each file", "removals"} {
			replaced(t, c.Cache, left)
			p.lose(how)
			disk := contents(t, c.Cache)
			if slices.ContainsFunc(seen, func(d map[string][]byte) bool { return maps.EqualFunc(d, disk, bytes.Equal) }) {
				continue
			}
			seen = append(seen, disk)
			t.Run(fmt.Sprintf("before step %d, lost is %s", stop, how), func(t *testing.T) {
				replaced(t, filepath.Dir(c.Verifier.StateFile), recorded)
				s.do(func() { s.files = three })
				w, err := newWatcher(restarted(t, c))
				must(t, err)
				defer w.server.close()
				err = w.restore(t.Context())
				r := w.Status().Info.Signed.Revision
				if err != nil || r != 1 && r != 2 || whole && r != 2 {
					t.Fatalf("after %q: revision %d, %v", p.done, r, err)
				}
				outcomes[r]++
				if how == "nothing" {
					at(t, again(t, w), 3, nil)
					onlyPair(t, c.Cache, 3)
				}
			})
		}
	}
	const write = "create, write, sync, close, rename, sync directory, "
	if got := strings.Join(steps, ", "); got != write+write+"remove, remove" {
		t.Errorf("the steps are %s", got)
	}
	if outcomes[1] < 12 || outcomes[2] < 4 {
		t.Errorf("the old one %d times, the new one %d times", outcomes[1], outcomes[2])
	}
}

// TestKeptBeforeRecorded: POL-3516. No revision is recorded whose bundle is not on the disk, and no bundle is on the disk
// that cannot come into force.
func TestKeptBeforeRecorded(t *testing.T) {
	s := newSite(t)
	c := kept(t, s)
	w := begin(t, restarted(t, c))
	state, err := os.ReadFile(c.Verifier.StateFile)
	must(t, err)
	seen := 0
	w.cache.do = func(name string, step func() error) error {
		if now, err := os.ReadFile(c.Verifier.StateFile); err != nil || !bytes.Equal(now, state) {
			t.Errorf("before %q the state is %q, %v", name, now, err)
		}
		seen++
		return step()
	}
	s.publish(2)
	at(t, again(t, w), 2, nil)
	if seen != 14 {
		t.Errorf("%d steps", seen)
	}
	b := &policy.Bundle{Wasm: tinypolicy.Wasm("g-3"), Manifest: policy.NewManifest("", "g-3")}
	b.Wasm = b.Wasm[:len(b.Wasm)-1]
	archive, err := b.Marshal()
	must(t, err)
	signature, err := s.key.Sign(archive, policy.Statement{Name: "llorch", Revision: 3, NotAfter: time.Now().Add(time.Hour)})
	must(t, err)
	_, err = c.Verifier.Verify(archive, signature)
	must(t, err)
	s.put(archive, signature)
	at(t, again(t, w), 2, policy.ErrBundle)
	onlyPair(t, c.Cache, 2)
	if seen != 14 {
		t.Errorf("%d steps", seen)
	}
}

// TestSharedCache: POL-3517. Services that share a cache and a state never remove what another one needs.
func TestSharedCache(t *testing.T) {
	s := newSite(t)
	c := kept(t, s)
	first, second := begin(t, restarted(t, c)), begin(t, restarted(t, c))
	s.publish(2)
	at(t, again(t, first), 2, nil)
	onlyPair(t, c.Cache, 2)
	at(t, again(t, second), 2, nil)
	onlyPair(t, c.Cache, 2)
	t.Run("one that comes late", func(t *testing.T) {
		archive, signature := s.pair(2)
		s.publish(3)
		at(t, again(t, second), 3, nil)
		if _, err := first.cache.keep(t.Context(), 2, archive, signature); err != nil {
			t.Error(err)
		}
		if r, err := offline(t, c); r != 3 || err != nil {
			t.Errorf("revision %d, %v", r, err)
		}
	})
	t.Run("one at a time", func(t *testing.T) {
		steps, locked := 0, 0
		c := first.cache
		c.do = func(_ string, step func() error) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			steps++
			if unlock, err := ownfile.Lock(ctx, c.path(lockName)); err == nil {
				unlock()
			} else {
				locked++
			}
			return step()
		}
		archive, signature := s.signed(3, 3, time.Now().Add(3*time.Hour))
		if _, err := c.keep(t.Context(), 3, archive, signature); err != nil || locked != steps || steps < 12 {
			t.Errorf("%v, the lock was held at %d of %d steps", err, locked, steps)
		}
	})
	t.Run("one that waits for the other", func(t *testing.T) {
		unlock, err := ownfile.Lock(t.Context(), filepath.Join(c.Cache, lockName))
		must(t, err)
		archive, signature := s.pair(4)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if path, err := first.cache.keep(ctx, 4, archive, signature); path != "" || !errors.Is(err, ErrCache) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%q, %v", path, err)
		}
		unlock()
		s.put(archive, signature)
		at(t, again(t, first), 4, nil)
		onlyPair(t, c.Cache, 4)
	})
}

// TestNotKept: POL-3518. What cannot be kept is in force all the same, is said not to be, and kept as soon as it can be.
func TestNotKept(t *testing.T) {
	s := newSite(t)
	c := kept(t, s)
	w := begin(t, restarted(t, c))
	full := true
	w.cache.do = func(name string, step func() error) error {
		if full && name == "write" {
			return errors.New("no space left on device")
		}
		return step()
	}
	s.publish(2)
	for range 2 {
		now := again(t, w)
		at(t, now, 2, ErrCache)
		if now.Err == nil || !strings.Contains(now.Err.Error(), "no space left") {
			t.Error(now.Err)
		}
	}
	since := w.Status().Info.Since
	onlyPair(t, c.Cache, 1)
	full = false
	at(t, again(t, w), 2, nil)
	onlyPair(t, c.Cache, 2)
	if w.Status().Info.Since != since {
		t.Error("it was activated again")
	}
	s.answered()
	at(t, again(t, w), 2, nil)
	if got := s.answered(); got != ".minisig if 304" {
		t.Errorf("asked %s", got)
	}
}
