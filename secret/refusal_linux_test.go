package secret

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tooMuch is more than an address space has in one piece, and still has room for guards and canary.
const tooMuch = math.MaxInt - 1<<20

// TestNoPages: EXP-RELIABLE-8002. A system that gives no pages is a typed error and no panic, and nothing is counted.
func TestNoPages(t *testing.T) {
	for name, get := range map[string]func() error{
		"more than there is":  func() error { _, err := reserveAnonymous(tooMuch); return err },
		"no page":             func() error { _, err := reserveAnonymous(0); return err },
		"the best, too large": func() error { _, err := newRegion(tooMuch); return err },
	} {
		if err := get(); !errors.Is(err, ErrNoMemory) {
			t.Errorf("EXP-RELIABLE-8002 %s: error %v", name, err)
		}
	}
	var a arena
	for _, required := range []bool{false, true} {
		if _, err := a.alloc(tooMuch, required); !errors.Is(err, ErrNoMemory) || a.live != 0 || a.regions != 0 {
			t.Errorf("EXP-RELIABLE-8002 required %v: error %v, %d slots, %d mappings", required, err, a.live, a.regions)
		}
	}
}

// TestNoSecretPages: SM-THREAT-2001. Whatever step of memfd_secret(2) fails, there is no region, and no descriptor stays open.
func TestNoSecretPages(t *testing.T) {
	before := descriptors(t)
	has := ProtectionLevel() == LevelMemfdSecret
	for step, size := range map[string]int{"size: ": -1 << 30, "secret: no memory: map ": tooMuch, "protect: ": 0} {
		if !has { // the first step fails
			step = ""
		}
		r, err := newSecretRegion(size)
		if err == nil || r.base != nil || !strings.HasPrefix(err.Error(), "memfd_secret: "+step) {
			t.Errorf("SM-THREAT-2001 %s: error %v", step, err)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// TestFilterUnknown: EXP-RELIABLE-8002. Where it cannot be told whether there is a filter, the call that it may kill for is not made.
func TestFilterUnknown(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Max: old.Max}, nil); err != nil {
		t.Fatal(err)
	}
	r, err := newSecretRegion(os.Getpagesize())
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &old, nil); err != nil {
		t.Fatal(err)
	}
	var at *fs.PathError
	if r.base != nil || !errors.As(err, &at) || !errors.Is(err, unix.EMFILE) {
		t.Errorf("a region %v, error %v", r.base != nil, err)
	}
}

// TestLockRefuses: SM-THREAT-2001. Pages that cannot be kept out of core dumps do not count as locked.
func TestLockRefuses(t *testing.T) {
	r, err := reserveAnonymous(os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	defer r.release()
	if err := lock(r.data[1:]); !errors.Is(err, unix.EINVAL) || !strings.HasPrefix(err.Error(), "madvise: ") { // not a page
		t.Errorf("error %v", err)
	}
}

// TestCorruptedWhileFilled: SEC-SECRET-005. A fill that wrote past the end of its buffer makes no secret, though the content
// moves to a smaller slot.
func TestCorruptedWhileFilled(t *testing.T) {
	const large = 4096 - canarySize - verifierSize
	damaged := corruptedSlots()
	for _, far := range []int{large, large + 1} { // the first is the control
		s, err := New(large, func(buf []byte) (int, error) {
			*(*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(buf)), far-1)) ^= 1
			return copy(buf, content), nil
		})
		if bad := far > large; bad != errors.Is(err, ErrCorrupted) || bad == (s != nil) {
			t.Errorf("SEC-SECRET-005 byte %d of %d: error %v", far, large, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := corruptedSlots() - damaged; n != 1 {
		t.Errorf("%d damaged slots are counted", n)
	}
}
