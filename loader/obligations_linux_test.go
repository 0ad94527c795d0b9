package loader_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
)

// liar has the policy judge something else than what is there, so that only the loader itself is left to hold to the
// floor and to the obligations of an allow.
type liar struct {
	*policy.Engine

	lie func(*policy.Request)
}

func (l liar) Decide(ctx context.Context, r *policy.Request) (policy.Decision, error) {
	told := *r
	l.lie(&told)
	return l.Engine.Decide(ctx, &told)
}

// lied makes a world whose one grant has such a condition.
func lied(t *testing.T, condition string, lie func(*policy.Request)) *world {
	t.Helper()
	w := newWorld(t)
	engine, err := openPolicy([]byte(`{"secrets":{"services":{"` + service + `":[{"id":"x","actions":["load_secret","load_key"],
		"source":"file","dirs":["` + w.dir + `"]` + condition + `}]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	w.use(liar{engine, lie})
	return w
}

// TestFloorAndObligationOfSize: SM-LOAD-4001, SM-LOAD-4004. A file is not larger than the grant and the floor allow, even
// where the policy was told otherwise.
func TestFloorAndObligationOfSize(t *testing.T) {
	small := func(r *policy.Request) { r.Resource.File.Size = 1 }
	secretOf := func(r *policy.Request) { r.Action = policy.LoadSecret }
	w := lied(t, `,"max_bytes":8`, small)
	w.loads(w.file("token", "12345678", 0o600), "12345678") // the control
	s, err := w.l.LoadSecret(context.Background(), w.file("token", "123456789", 0o600))
	if s != nil || !errors.Is(err, loader.ErrInvalidFormat) {
		t.Errorf("9 bytes where 8 are allowed: %v", err)
	}
	w = lied(t, "", secretOf)
	for size, good := range map[int]bool{1 << 10: true, 1<<10 + 1: false} {
		k, err := w.l.LoadKey(context.Background(), w.file("key", fakeHex+strings.Repeat(" ", size-len(fakeHex)), 0o600))
		if (k != nil) != good || !good && !errors.Is(err, loader.ErrInvalidFormat) {
			t.Errorf("a key file of %d bytes: %v", size, err)
		}
		k.Close()
	}
}

// TestRecordedBeforeReading: AUD-1001. When the verdict cannot be recorded, no content has been read yet.
func TestRecordedBeforeReading(t *testing.T) {
	for recorded := range map[bool]int{false: 0, true: 1} { // true is the control
		w := newWorld(t)
		ref := w.file("token", fake, 0o600)
		w.audit.fail = func(int) error {
			if recorded {
				return nil
			}
			return errors.New("disk full")
		}
		reads := watchReads(t, w.dir)
		s, err := w.l.LoadSecret(context.Background(), ref)
		if n := reads(); (n > 0) != recorded || errors.Is(err, loader.ErrAudit) == recorded {
			t.Errorf("recorded %v: %d reads, error %v", recorded, n, err)
		}
		s.Close()
	}
}

// TestObligationOfMemory: OPS-1002. Nothing is loaded into less protected memory than the grant demands, even where the
// policy was told of better: a process without a lock limit has no locked memory, and one under a filter no memfd_secret.
func TestObligationOfMemory(t *testing.T) {
	const child = "SECRETS_MANAGEMENT_TEST_OBLIGATION"
	if demand := os.Getenv(child); demand != "" {
		weaken := map[string]func() error{
			"locked":       func() error { return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{}) },
			"memfd_secret": filterNothing,
		}[demand]
		if err := weaken(); err != nil {
			t.Fatal(err)
		}
		w := lied(t, `,"min_memory":"`+demand+`"`, func(r *policy.Request) { r.Context.Memory = policy.MemorySecret })
		s, err := w.l.LoadSecret(context.Background(), w.file("token", fake, 0o600))
		w.refused(s, err, loader.ErrDenied, "weak_memory")
		fmt.Println("judged:", demand)
		return
	}
	for _, demand := range []string{"locked", "memfd_secret"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestObligationOfMemory$")
		cmd.Env = append(os.Environ(), child+"="+demand)
		if os.Geteuid() == 0 && demand == "locked" { // the limit does not bind root
			cmd = exec.Command(runnableCopy(t, 0o755), "-test.run=^TestObligationOfMemory$")
			cmd.Env = append(os.Environ(), child+"="+demand, "TMPDIR=/tmp")
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "judged: "+demand) {
			t.Errorf("%s: %v, %s", demand, err, out)
		}
	}
}

// TestObligationOfLockedMemory: OPS-1002. The same without a child: the limit is in force for one thread and one load.
func TestObligationOfLockedMemory(t *testing.T) {
	tell := func(r *policy.Request) { r.Context.Memory = policy.MemorySecret }
	big := strings.Repeat("x", 100_000) // a mapping of its own: memory that is locked already does not do
	for demand, good := range map[string]bool{"": true, `,"min_memory":"heap"`: true, `,"min_memory":"locked"`: false} {
		w := lied(t, demand, tell)
		ref := w.file("token", big, 0o600)
		withoutLocks(t, func() {
			s, err := w.l.LoadSecret(context.Background(), ref)
			if good {
				must(w, err)
				s.Close()
				return
			}
			w.refused(s, err, loader.ErrDenied, "weak_memory")
		})
	}
}

// withoutLocks calls f on a thread that may lock no more memory.
func withoutLocks(t *testing.T, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var old, less [2]unix.CapUserData
	var limit unix.Rlimit
	if err := errors.Join(unix.Capget(&header, &old[0]), unix.Prlimit(0, unix.RLIMIT_MEMLOCK, nil, &limit)); err != nil {
		t.Fatal(err)
	}
	less = old
	less[0].Effective &^= 1 << unix.CAP_IPC_LOCK
	defer func() {
		if err := errors.Join(unix.Capset(&header, &old[0]), unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &limit, nil)); err != nil {
			t.Error(err)
		}
	}()
	if err := errors.Join(unix.Capset(&header, &less[0]), unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &unix.Rlimit{Max: limit.Max}, nil)); err != nil {
		t.Fatal(err)
	}
	f()
}

// filterNothing puts the process under a seccomp filter that allows everything.
func filterNothing() error {
	return filterCalls([]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}})
}
