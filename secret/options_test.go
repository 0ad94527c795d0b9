package secret

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestOptionsAreInherited: what is made from a secret is made as the secret was.
func TestOptionsAreInherited(t *testing.T) {
	o := Options{RequireLocked: ProtectionLevel() != LevelHeap, Forgotten: func(Forgotten) {}}
	s, err := o.FromBytes([]byte(hexKey))
	if err != nil {
		t.Fatal(err)
	}
	k, err := DecodeKey(s, Hex)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []Options{s.Options(), k.Options()} {
		if got.RequireLocked != o.RequireLocked || got.Forgotten == nil {
			t.Errorf("SM-TYPE-3001: the options got lost: %v", got.RequireLocked)
		}
	}
	if got := (*Secret)(nil).Options(); got.RequireLocked || got.Forgotten != nil {
		t.Error("nil has options")
	}
	if !errors.Is((*Key)(nil).Degradation(), ErrClosed) {
		t.Error("nil has a level")
	}
	if err := errors.Join(s.Close(), k.Close()); err != nil {
		t.Error(err)
	}
}

// TestDegradation: the reason is there exactly when the level is not the best, and stays after Close.
func TestDegradation(t *testing.T) {
	s := mustSecret(t, content)
	for range 2 {
		why := s.Degradation()
		if (why == nil) != (s.Level() == LevelMemfdSecret) || errors.Is(why, ErrNotLocked) != (s.Level() == LevelHeap) {
			t.Errorf("EXP-CROSS-7002: level %s, reason %v", s.Level(), why)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if (Degradation() == nil) != (ProtectionLevel() == LevelMemfdSecret) {
		t.Errorf("EXP-CROSS-7002: level %s, reason %v", ProtectionLevel(), Degradation())
	}
}

// reports collects what Forgotten is called with.
type reports struct {
	mu  sync.Mutex
	got []Forgotten
}

func (r *reports) add(f Forgotten) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, f)
}

func (r *reports) all() []Forgotten {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Forgotten(nil), r.got...)
}

//go:noinline
func forgetASecret(t *testing.T, o Options, damage bool) []byte {
	s, err := o.FromBytes([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	slot := leak(s.cell())
	if damage {
		slot[len(slot)-1] ^= 1
	}
	return slot
}

func TestForgottenIsReported(t *testing.T) {
	pin(t, 160-canarySize)
	t.Run("SM-SEC-5001 with the stack that made it, after the wipe", func(t *testing.T) {
		var r reports
		wiped := false
		var slot []byte
		o := Options{Forgotten: func(f Forgotten) {
			wiped = isZero(slot)
			r.add(f)
		}}
		slot = forgetASecret(t, o, false)
		eventually(t, "a report", func() bool { return len(r.all()) > 0 })
		got := r.all()[0]
		if !strings.Contains(got.Stack, "forgetASecret\n\t") || !strings.Contains(got.Stack, "options_test.go:") ||
			!strings.Contains(got.Stack, "TestForgottenIsReported") || got.Err != nil {
			t.Errorf("error %v, stack\n%s", got.Err, got.Stack)
		}
		if strings.Contains(got.Stack, content) || !wiped {
			t.Errorf("wiped %v, or the report has the content", wiped)
		}
	})
	t.Run("SEC-SECRET-005 damage is reported", func(t *testing.T) {
		var r reports
		forgetASecret(t, Options{Forgotten: r.add}, true)
		eventually(t, "a report", func() bool { return len(r.all()) > 0 })
		if got := r.all()[0]; !errors.Is(got.Err, ErrCorrupted) {
			t.Errorf("error %v", got.Err)
		}
	})
	t.Run("SM-SEC-5001 a closed one is not", func(t *testing.T) {
		var r, control reports
		func() {
			s, err := Options{Forgotten: r.add}.FromBytes([]byte(content))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		forgetASecret(t, Options{Forgotten: control.add}, false)
		eventually(t, "the control's report", func() bool { return len(control.all()) > 0 })
		for range 3 {
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
		if got := r.all(); len(got) > 0 {
			t.Errorf("%d reports", len(got))
		}
	})
}
