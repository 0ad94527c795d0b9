package loader_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
)

// judged is what a decision was about.
type judged struct {
	facts string // a mark, or the part of it that stat tells
	size  int64
	begun uint32 // writes that had begun
}

// covers says how a content contradicts the decision; nil if the decision covers it. fine says that the clock of the
// file system tells every write from the one before.
func (j *judged) covers(content []byte, fine bool) error {
	text := string(content)
	if int64(len(text)) != j.size {
		return fmt.Errorf("%d bytes, decided on %d: %q", len(text), j.size, text)
	}
	if len(text) < numberLen || !strings.HasPrefix(text[numberLen:], j.facts) {
		return fmt.Errorf("%q, decided on %q", text, j.facts)
	}
	if n, err := strconv.ParseUint(text[:numberLen], 16, 32); err != nil || fine && uint32(n) > j.begun {
		return fmt.Errorf("%q, written after the decision, at which %08x had begun", text, j.begun)
	}
	return nil
}

type judgedKey struct{}

// openHouse is a policy that allows everything, so that only what the loader itself checks stands between the attacker
// and the load. It notes the facts that it allowed, and often strikes before it answers.
type openHouse struct {
	*scene
	allow policy.Decision
}

func (p *openHouse) Ask(context.Context, *policy.Request) (policy.Decision, error) {
	return p.allow, nil
}

func (p *openHouse) Decide(ctx context.Context, r *policy.Request) (policy.Decision, error) {
	f := &r.Resource.File
	m := mark{mode: f.Mode, nlink: f.NLink, links: len(r.Resource.Links), at: r.Resource.Resolved}
	m.shared = slices.Contains(f.Writers.UIDs, otherWriter)
	for _, id := range []int64{reader1, reader2} {
		if f.ACL && slices.Contains(f.Readers.UIDs, id) {
			m.reader = id
		}
	}
	j, _ := ctx.Value(judgedKey{}).(*judged)
	*j = judged{m.String(), f.Size, p.begun.Load()}
	p.sometimesStrike()
	return p.allow, nil
}

func (s *scene) sometimesStrike() {
	if s.chance(4) {
		s.strike()
	}
}

// Record is the audit sink: it strikes after the decision too.
func (p *openHouse) Record(_ context.Context, e *loader.Entry) error {
	if e.Outcome == "" {
		p.sometimesStrike()
	}
	return nil
}

// allowing is a verdict that allows; only an engine makes one.
func allowing(t *testing.T) policy.Decision {
	t.Helper()
	w := newWorld(t)
	w.file("token", fake, 0o600)
	d, err := w.l.Preflight(context.Background(), policy.LoadSecret, "", loader.File(w.dir+"/token"))
	if err != nil || !d.Allowed() {
		t.Fatal(err)
	}
	return d
}

// fray attacks in the background while a reader works, and counts.
type fray struct {
	*scene
	fine             bool
	tried, succeeded atomic.Int64
	lost             atomic.Int64 // contents that no decision covered
	firstLost        atomic.Pointer[string]
}

// backgroundPause is between attacks that nothing calls for. Most come from openHouse.
const backgroundPause = 200 * time.Microsecond

// fight has two goroutines read, n times together, and attacks them. read reports whether a content came, and what is
// wrong with it.
func (f *fray) fight(t *testing.T, n int64, read func() (bool, error)) {
	t.Helper()
	done := make(chan struct{})
	var attacker, readers sync.WaitGroup
	attacker.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(backgroundPause):
				f.strike()
			}
		}
	})
	for range 2 {
		readers.Go(func() {
			for f.tried.Add(1) <= n {
				came, err := read()
				if came {
					f.succeeded.Add(1)
				}
				if err != nil {
					why := err.Error()
					f.firstLost.CompareAndSwap(nil, &why)
					f.lost.Add(1)
				}
			}
		})
	}
	readers.Wait()
	close(done)
	attacker.Wait()
	if f.err != nil {
		t.Fatalf("an attack failed: %v", f.err)
	}
}

// TestNoRace: SM-LOAD-4009. Whatever the owner of the directories does meanwhile, a content that is returned is one that
// its decision covers. Who looks at the path and then reads it loses the same race. In memory an attack takes the fewest
// microseconds; a disk's file system leaves more time between its steps.
func TestNoRace(t *testing.T) {
	disk, _ := common()
	bases := map[string]string{"disk": disk}
	loads := map[string]int64{"disk": raceLoads / 10, "memory": raceLoads}
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		bases["memory"] = "/dev/shm"
	} else {
		loads["disk"] = raceLoads
	}
	for name, base := range bases {
		t.Run(name, func(t *testing.T) {
			n := loads[name]
			if asnobody.Second() {
				n /= 10
			}
			noRace(t, newScene(t, base), n)
		})
	}
}

func noRace(t *testing.T, s *scene, n int64) {
	house := &openHouse{s, allowing(t)}
	l, err := loader.New(loader.Config{Service: service, Policy: house, Audit: house, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	fine := fineClock(t, s.dir)
	begin := time.Now()
	f := &fray{scene: s, fine: fine}
	f.fight(t, n, func() (bool, error) { return f.load(l) })
	share := float64(f.succeeded.Load()) / float64(n)
	t.Logf("%d loads in %v, %.0f%% succeeded; the clock tells writes apart: %v", n, time.Since(begin).Round(time.Millisecond), 100*share, fine)
	if lost := f.lost.Load(); lost > 0 {
		t.Errorf("%d contents that no decision covered; the first: %s", lost, *f.firstLost.Load())
	}
	if share < 0.2 {
		t.Errorf("%.0f%% succeeded: a race that is never run", 100*share)
	}

	control := &fray{scene: s, fine: fine}
	n = max(n/10, 2000)
	control.fight(t, n, control.statAndRead)
	t.Logf("control: of %d times of stat, then read, %d got another content than was looked at", n, control.lost.Load())
	if control.lost.Load() < 100 {
		t.Error("the control does not lose: the attack is none")
	}
}

// load loads the secret and compares it with what was decided on.
func (f *fray) load(l *loader.Loader) (came bool, wrong error) {
	j := &judged{}
	s, err := l.LoadSecret(context.WithValue(context.Background(), judgedKey{}, j), loader.File(f.path))
	if came = err == nil; came {
		wrong = errors.Join(s.Use(func(b []byte) error { return j.covers(b, f.fine) }), s.Close())
	}
	return came, wrong
}

// statAndRead is what loaders usually do: look at the path until something is there, decide, and read it.
func (f *fray) statAndRead() (came bool, wrong error) {
	var st unix.Stat_t
	for unix.Stat(f.path, &st) != nil || st.Size == 0 {
		runtime.Gosched()
	}
	j := &judged{mark{mode: st.Mode & 0o7777, nlink: int64(st.Nlink)}.naive(), st.Size, f.begun.Load()}
	f.sometimesStrike()
	content, err := os.ReadFile(f.path)
	if came = err == nil; came {
		wrong = j.covers(content, f.fine)
	}
	return came, wrong
}

// fineClock reports whether the time stamps of the file system tell a write from one just before it, as they do since
// Linux 6.13. Where they do not, a write in place between the look and the first read is not seen: a limit that is
// stated in .specs/20_security.md.
func fineClock(t *testing.T, dir string) bool {
	t.Helper()
	f, err := os.CreateTemp(dir, "clock")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	before := time.Time{}
	for range 100 {
		_, err := f.WriteAt([]byte("x"), 0)
		if err != nil {
			t.Fatal(err)
		}
		fi, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if fi.ModTime().Equal(before) {
			return false
		}
		before = fi.ModTime()
	}
	return true
}

// TestContentIsComparedTwice: SM-LOAD-4009. A store through a mapping changes no time stamp once its page is dirty, as a
// write in the same tick of a coarse clock does not: only the content tells.
func TestContentIsComparedTwice(t *testing.T) {
	w := newWorld(t)
	ref := w.file("token", strings.Repeat("a", 4000), 0o600)
	path := filepath.Join(w.dir, "token")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page, err := unix.Mmap(int(f.Fd()), 0, 4000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page)
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for c := byte('a'); ; c ^= 'a' ^ 'b' {
			select {
			case <-done:
				return
			default:
				for i := range page {
					page[i] = c
				}
			}
		}
	})
	defer writer.Wait()
	defer close(done)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		before, _ := f.Stat()
		s, err := w.l.LoadSecret(context.Background(), ref)
		after, _ := f.Stat()
		switch {
		case err == nil:
			s.Close()
		case !errors.Is(err, loader.ErrChanged):
			t.Fatal(err)
		case before.ModTime().Equal(after.ModTime()):
			return // seen, and not by the clock
		}
	}
	t.Error("no change was seen")
}

// TestLinksAreTold: POL-2004. The policy learns of each link that was followed, and where it lay.
func TestLinksAreTold(t *testing.T) {
	w := newWorld(t)
	w.file("here/token", fake, 0o600)
	must(w, errors.Join(os.Symlink("there/last", w.dir+"/first"), os.Symlink("here", w.dir+"/there"), os.Symlink("token", w.dir+"/here/last")))
	_, err := w.l.LoadSecret(context.Background(), loader.File(w.dir+"/first"))
	if !errors.Is(err, loader.ErrDenied) {
		t.Error(err)
	}
	want := fmt.Sprintf(`"links":["%[1]s/first","%[1]s/there","%[1]s/here/last"]`, w.dir)
	if !strings.Contains(w.audit.inputs[0], want) {
		t.Errorf("%s does not have %s", w.audit.inputs[0], want)
	}
}
