package remote

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llorch/secrets-management/policy"
)

// child tells a copy of this test what it is: "URL CACHE STATE KEY".
const child = "REMOTE_TEST_CHILD"

// TestChild is a service that follows a server until it is killed, when it is run by TestProcesses, and prints each revision
// that comes into force.
func TestChild(t *testing.T) {
	args := strings.Fields(os.Getenv(child))
	if len(args) == 0 {
		return
	}
	key, err := policy.ParsePublicKey(args[3])
	must(t, err)
	w, err := newWatcher(WatchConfig{
		Engine: new(policy.Engine), URL: args[0], Cache: args[1], Timeout: time.Minute,
		Verifier: policy.Verifier{Keys: []policy.PublicKey{key}, Name: "llorch", StateFile: args[2], CreateState: true},
		Notify:   func(s Status) { fmt.Println("revision", s.Info.Signed.Revision, s.Err) },
	})
	must(t, err)
	must(t, w.start(t.Context()))
	for {
		w.look(t.Context(), time.Minute)
		time.Sleep(5 * time.Millisecond)
	}
}

// TestProcesses: POL-3516, POL-3517. Several processes share a cache and a state, and are killed at any moment while a new
// bundle comes with almost every question. Whatever was in force anywhere is what the next start has, or a newer one.
func TestProcesses(t *testing.T) {
	s := newSite(t)
	c := s.config()
	pairs := make([]map[string]file, 20)
	for i := range pairs {
		s.publish(uint64(i + 1))
		pairs[i] = map[string]file{bundlePath: s.files[bundlePath], signaturePath: s.files[signaturePath]}
	}
	s.do(func() { s.files = pairs[0] })
	highest, next := uint64(0), 1
	for round := 0; next < len(pairs); round++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		seen := make(chan uint64, 100)
		var children sync.WaitGroup
		for range 2 {
			spawn(ctx, t, s, c, seen, &children)
		}
		for until := next + 3; next < until && next < len(pairs); {
			select {
			case r := <-seen:
				highest = max(highest, r)
				s.do(func() { s.files = pairs[next] })
				next++
			case <-ctx.Done():
				t.Fatalf("round %d: revision %d in force after a minute", round, highest)
			}
		}
		time.Sleep(rand.N(50 * time.Millisecond))
		cancel() // kills them
		children.Wait()
		for len(seen) > 0 {
			highest = max(highest, <-seen)
		}
		if r, err := offline(t, c); err != nil || r < highest {
			t.Fatalf("round %d: revision %d was in force, then %d, %v", round, highest, r, err)
		}
	}
	t.Logf("revision %d", highest)
}

// spawn starts a service that tells the revisions it has in force.
func spawn(ctx context.Context, t *testing.T, s *site, c WatchConfig, seen chan<- uint64, children *sync.WaitGroup) {
	t.Helper()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %s", child, c.URL, c.Cache, c.Verifier.StateFile, s.key.Public()))
	out, err := cmd.StdoutPipe()
	must(t, err, cmd.Start())
	children.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var r uint64
			if n, _ := fmt.Sscanf(lines.Text(), "revision %d", &r); n == 1 && r > 0 {
				seen <- r
			}
		}
		cmd.Wait() // it was killed
	})
}
