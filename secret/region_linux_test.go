package secret

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestGuardPages: a run past either end of a mapping faults instead of reading what lies there.
func TestGuardPages(t *testing.T) {
	r, err := newRegion(os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	defer r.release()
	faults := func(p unsafe.Pointer) (fault bool) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() { fault = recover() != nil }()
		return *(*byte)(p) == 1 // a load that the compiler has to make
	}
	start := addressOf(r.data)
	if page := os.Getpagesize(); unsafe.Add(r.base, page) != start || r.whole != uintptr(len(r.data)+2*page) {
		t.Error("SM-SEC-5001: the guard pages are not part of the mapping, and would be somebody else's")
	}
	if faults(start) || faults(unsafe.Add(start, len(r.data)-1)) {
		t.Error("control: the region itself faults")
	}
	if !faults(unsafe.Add(start, -1)) || !faults(unsafe.Add(start, len(r.data))) {
		t.Error("SM-SEC-5001: no guard page")
	}
	// They must be mappings, too: a hole faults until somebody else maps there.
	below, above := permissions(t, unsafe.Add(start, -1)), permissions(t, unsafe.Add(start, len(r.data)))
	if !strings.HasPrefix(below, "---") || !strings.HasPrefix(above, "---") {
		t.Errorf("SM-SEC-5001: permissions %q below and %q above, want none", below, above)
	}
}

// TestVerifyDoesNotReadWhatIsTooLong: SEC-SECRET-033: the answer to an input over the limit costs nothing. This one lies on
// a guard page: to read any byte of it faults.
func TestVerifyDoesNotReadWhatIsTooLong(t *testing.T) {
	r, err := newRegion(os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	defer r.release()
	s := mustSecret(t, content)
	faults := func(n int) (fault bool) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() { fault = recover() != nil }()
		input := unsafe.String((*byte)(r.base), n)
		return s.Verify(input) || s.VerifyBytes(unsafe.Slice((*byte)(r.base), n))
	}
	if faults(MaxVerifyInput + 1) {
		t.Error("SEC-SECRET-033: read")
	}
	if !faults(1) {
		t.Error("control: an input within the limit is not read")
	}
	if !s.Verify(content) {
		t.Error("SEC-SECRET-033: does not verify after a fault")
	}
}

// permissions returns those of the mapping that p is in, as /proc/self/maps has them.
func permissions(t *testing.T, p unsafe.Pointer) string {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		var perms string
		if n, _ := fmt.Sscanf(line, "%x-%x %s ", &from, &to, &perms); n == 3 && from <= uintptr(p) && uintptr(p) < to {
			return perms
		}
	}
	return ""
}

// TestRegionFlags reads what the kernel says about the pages: locked if the level says so, not in core dumps, not
// inherited.
func TestRegionFlags(t *testing.T) { // CI-006
	anonymous, err := reserveAnonymous(os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	defer anonymous.release()
	if err := private(anonymous.data); err != nil {
		t.Fatal("madvise refuses")
	}
	if err := unix.Mlock(anonymous.data); err == nil {
		wantFlags(t, anonymous.data, "lo", "dd", "wf")
	} else {
		wantFlags(t, anonymous.data, "dd", "wf")
	}
	s := mustSecret(t, content)
	slot := leak(s.cell())
	switch s.Level() {
	case LevelMemfdSecret:
		wantFlags(t, slot, "lo", "dd", "dc")
	case LevelLocked:
		wantFlags(t, slot, "lo", "dd", "wf")
	default:
		wantFlags(t, slot, "dd", "wf")
	}
}

func wantFlags(t *testing.T, b []byte, want ...string) {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	addr := uintptr(addressOf(b))
	inside := false
	for line := range strings.Lines(string(smaps)) {
		var from, to uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			inside = from <= addr && addr < to
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && inside {
			for _, w := range want {
				if !strings.Contains(flags, " "+w+" ") {
					t.Errorf("SM-THREAT-2001: no flag %s in%s", w, flags)
				}
			}
			return
		}
	}
	t.Error("the mapping is not listed")
}

// TestLargeMappingsAreGivenBack: EXP-RELIABLE-8002: no leak of address space or lock limit.
func TestLargeMappingsAreGivenBack(t *testing.T) {
	mappings := func() int {
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(maps, []byte("\n"))
	}
	once := func() {
		s, err := New(100_000, func(b []byte) (int, error) { b[0] = 1; return len(b), nil })
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	once()
	before := mappings()
	for range 100 {
		once()
	}
	if after := mappings(); after > before+20 { // the Go runtime maps a few by itself
		t.Errorf("%d mappings, %d before", after, before)
	}
}

// foreignMappings is how many parts of mappings of secret pages the kernel knows beyond those of the arena: tests with an
// arena of their own leave some. Each mapping is listed in three parts, because of the guard pages.
func foreignMappings(t *testing.T) int {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "/secretmem") - 3*shared.regions
}

// The children: this test binary, started again under a restriction that cannot be undone.
var children = map[string]func() error{
	"ulimit -l 0":   func() error { return fillMemory(0) },
	"ulimit -l 64":  func() error { return fillMemory(64 << 10) },
	"ulimit -l 100": func() error { return fillMemory(100 << 10) },
	"large locked":  largeLocked,

	"require ulimit -l 0":  requireNothing,
	"require ulimit -l 64": requireSome,
	"locked again":         lockedAgain,

	"locked scratch": lockedScratch,

	"harden":      hardened,
	"look inside": lookInside,

	"seccomp":         underSeccomp,
	"seccomp control": secretPagesUnchecked,
}

func runChild(name string) int {
	child, ok := children[name]
	if !ok {
		fmt.Println("no such child")
		return 2
	}
	if err := child(); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("done")
	return 0
}

// startChild runs a child from a thread on which restrict was called, and without the right to exceed the lock limit.
func startChild(name string, restrict func() error) (output string, err error) {
	return startChildAs(name, nil, restrict)
}

// startChildAs is startChild for another user.
func startChildAs(name string, as *syscall.Credential, restrict func() error) (output string, err error) {
	var out bytes.Buffer
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, and the restriction with it
		if err := errors.Join(dropLockPrivilege(), restrict()); err != nil {
			done <- err
			return
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), childVariable+"="+name)
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
		done <- cmd.Run()
	}()
	err = <-done
	return out.String(), err
}

// dropLockPrivilege takes CAP_IPC_LOCK from what this thread executes next. Without privileges there is none to take.
func dropLockPrivilege() error {
	err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_IPC_LOCK, 0, 0, 0)
	if errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}

func unrestricted() error { return nil }

// TestSmallLockLimit: EXP-RELIABLE-8002: secrets still work, at a level that says the truth.
func TestSmallLockLimit(t *testing.T) {
	for _, name := range []string{"ulimit -l 0", "ulimit -l 64", "ulimit -l 100", "large locked"} {
		t.Run("SEC-SECRET-001 "+name, func(t *testing.T) {
			if out, err := startChild(name, unrestricted); err != nil || !strings.HasSuffix(out, "done\n") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// lowerLockLimit sets the limit for the rest of the process, or to 0 if it is lower than that already. It returns the
// new limit.
func lowerLockLimit(limit uint64) (uint64, error) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &old); err != nil {
		return 0, err
	}
	if old.Max < limit {
		limit = 0
	}
	return limit, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: limit, Max: limit})
}

// fillMemory makes more secrets than limit can hold and looks at their levels.
func fillMemory(limit uint64) error {
	limit, err := lowerLockLimit(limit)
	if err != nil {
		return err
	}
	var first, last Level = "", LevelHeap // "" is any but heap
	if limit == 0 {
		first = LevelHeap
	}
	expect := func(what string, got, want Level) error {
		if got == want || want == "" && got != LevelHeap {
			return nil
		}
		return fmt.Errorf("%s: level %q, want %q", what, got, want)
	}
	if err := expect("before", ProtectionLevel(), first); err != nil {
		return err
	}
	var secrets []*Secret
	for i := range 2000 {
		s, err := FromBytes(fmt.Appendf(nil, "token number %d", i))
		if err != nil {
			return err
		}
		secrets = append(secrets, s)
	}
	large, err := New(MaxSize, func(b []byte) (int, error) { b[0] = 1; return len(b), nil })
	if err != nil {
		return err
	}
	errs := []error{
		expect("first secret", secrets[0].Level(), first),
		expect("last secret", secrets[len(secrets)-1].Level(), last),
		expect("large secret", large.Level(), LevelHeap),
		expect("after", ProtectionLevel(), last),
		large.Close(),
	}
	errs = append(errs, limitUsed(limit), lockedFirst(secrets, first))
	if shared.regions > 30 {
		errs = append(errs, fmt.Errorf("%d mappings for %d secrets", shared.regions, len(secrets)))
	}
	for i, s := range secrets {
		if !s.Verify(fmt.Sprintf("token number %d", i)) {
			errs = append(errs, fmt.Errorf("secret %d does not verify", i))
		}
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, expect("at the end", ProtectionLevel(), first))...)
}

// largeLocked fills the limit with one large buffer. The token that is left of it stays there: moving it to a small slot
// would unlock it.
func largeLocked() error {
	limit, err := lowerLockLimit(64 << 10)
	if err != nil {
		return err
	}
	s, err := New(64<<10-verifierSize-canarySize, func(b []byte) (int, error) { return copy(b, content), nil })
	if err != nil {
		return err
	}
	if limit > 0 && os.Getpagesize() <= 64<<10 && s.Level() == LevelHeap {
		return errors.New("unlocked by the move to a smaller slot")
	}
	if !s.Verify(content) {
		return errors.New("does not verify")
	}
	return s.Close()
}

// limitUsed says whether another page would have fitted under the limit.
func limitUsed(limit uint64) error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	_, after, _ := strings.Cut(string(status), "VmLck:")
	var locked uint64
	if _, err := fmt.Sscanf(after, "%d kB", &locked); err != nil {
		return err
	}
	if rest := limit - locked<<10; rest >= uint64(os.Getpagesize()) {
		return fmt.Errorf("%d bytes of the limit are not used", rest)
	}
	return nil
}

// lockedFirst frees an unlocked and a locked slot, and expects the locked one to be used again.
func lockedFirst(secrets []*Secret, want Level) error {
	last := len(secrets) - 1
	if err := errors.Join(secrets[last].Close(), secrets[0].Close()); err != nil {
		return err
	}
	for _, i := range []int{0, last} {
		s, err := FromBytes(fmt.Appendf(nil, "token number %d", i))
		if err != nil {
			return err
		}
		secrets[i] = s
	}
	if got := secrets[0].Level(); want == "" && got == LevelHeap {
		return errors.New("a locked slot was free, and not used")
	}
	return nil
}

func addressOf(b []byte) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(b))
}
