package secret

import (
	"bytes"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"
)

const content = "life-canary-0123456789-ABCDEF"

// TestClose: SM-SEC-5001, SEC-SECRET-015, and the attack case "memory after close".
func TestClose(t *testing.T) {
	pin(t, 160-canarySize)

	t.Run("SM-SEC-5001 every byte overwritten", func(t *testing.T) {
		s := mustSecret(t, content)
		slot := leak(s.cell())
		if !bytes.Contains(slot, []byte(content)) {
			t.Fatal("the control does not find the content while the secret lives")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if !isZero(slot) {
			t.Error("bytes remain")
		}
	})
	t.Run("SM-SEC-5001 idempotent", func(t *testing.T) {
		s := mustSecret(t, content)
		for range 3 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		other := mustSecret(t, content) // takes the slot
		if err := s.Close(); err != nil || !other.Verify(content) {
			t.Errorf("a late Close reached the next owner of the slot (error %v)", err)
		}
	})
	t.Run("SM-TYPE-3002 use after close", func(t *testing.T) {
		s := mustSecret(t, content)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		called := false
		err := s.Use(func([]byte) error { called = true; return nil })
		if !errors.Is(err, ErrClosed) || called {
			t.Errorf("use: %v, called %v", err, called)
		}
		if got, err := s.Expose(); !errors.Is(err, ErrClosed) || got != "" {
			t.Errorf("expose: %v", err)
		}
	})
	t.Run("SEC-SECRET-005 nil and zero", func(t *testing.T) {
		for _, s := range []*Secret{nil, {}} {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := s.Use(func([]byte) error { return nil }); !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
			if s.Level() != LevelHeap {
				t.Error(s.Level())
			}
		}
		for _, k := range []*Key{nil, {}} {
			if err := k.Close(); err != nil {
				t.Error(err)
			}
			if _, err := k.Sign(nil); !errors.Is(err, ErrClosed) || k.VerifyMAC(nil, nil) {
				t.Error(err)
			}
		}
	})
}

func TestCloseDuringUse(t *testing.T) {
	pin(t, 160-canarySize)

	t.Run("SM-SEC-5001 inside the callback", func(t *testing.T) {
		s := mustSecret(t, content)
		slot := leak(s.cell())
		err := s.Use(func(b []byte) error {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if string(b) != content {
				t.Error("wiped under a use")
			}
			if err := s.Use(func([]byte) error { return nil }); !errors.Is(err, ErrClosed) {
				t.Errorf("a new use after Close: %v", err)
			}
			return errFill
		})
		if !errors.Is(err, errFill) || !isZero(slot) {
			t.Errorf("after the use: error %v, wiped %v", err, isZero(slot))
		}
	})
	t.Run("SM-SEC-5001 from elsewhere, last of two uses wipes", func(t *testing.T) {
		s := mustSecret(t, content)
		slot := leak(s.cell())
		err := s.Use(func(outer []byte) error {
			err := s.Use(func([]byte) error {
				done := make(chan error)
				go func() { done <- s.Close() }()
				return <-done
			})
			if string(outer) != content {
				t.Error("wiped under the outer use")
			}
			return err
		})
		if err != nil || !isZero(slot) {
			t.Errorf("after the use: error %v, wiped %v", err, isZero(slot))
		}
	})
	t.Run("SEC-SECRET-001 panic in the callback", func(t *testing.T) {
		s := mustSecret(t, content)
		slot := leak(s.cell())
		func() {
			defer func() {
				if recover() != "mine" {
					t.Error("the panic did not pass through")
				}
			}()
			_ = s.Use(func([]byte) error { panic("mine") })
		}()
		if err := s.Close(); err != nil || !isZero(slot) {
			t.Errorf("the panicking use still counts: error %v, wiped %v", err, isZero(slot))
		}
	})
	t.Run("SEC-SECRET-001 nil callback", func(t *testing.T) {
		if err := mustSecret(t, content).Use(nil); err == nil {
			t.Error("no error")
		}
	})
}

// TestForgotten: a secret that nobody closed is wiped when it is collected, and not before.
func TestForgotten(t *testing.T) {
	pin(t, 160-canarySize)
	forget := func() ([]byte, any) {
		s, err := FromBytes([]byte(content))
		if err != nil {
			t.Fatal(err)
		}
		return leak(s.cell()), copyOf(s)
	}
	t.Run("SM-SEC-5001 collected", func(t *testing.T) {
		slot, _ := forget()
		if !bytes.Contains(slot, []byte(content)) {
			t.Fatal("the control does not find the content at first")
		}
		eventually(t, "the slot is wiped", func() bool { return isZero(slot) })
	})
	t.Run("SM-SEC-5001 a copy keeps it", func(t *testing.T) {
		slot, second := forget()
		for range 5 {
			runtime.GC()
			time.Sleep(2 * time.Millisecond)
		}
		if !bytes.Contains(slot, []byte(content)) {
			t.Error("wiped while a copy lives")
		}
		runtime.KeepAlive(second)
	})
	t.Run("SM-SEC-5001 a use keeps it", func(t *testing.T) {
		s, err := FromBytes([]byte(content))
		if err != nil {
			t.Fatal(err)
		}
		// The Secret is unreachable as soon as Use has its cell.
		err = s.Use(func(b []byte) error {
			for range 5 {
				runtime.GC()
				time.Sleep(2 * time.Millisecond)
			}
			if string(b) != content {
				t.Error("wiped under a use")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestStress: EXP-RELIABLE-8002 under the race detector: no slot or mapping is lost and none is damaged, whoever creates,
// uses, decodes, closes and drops secrets and keys at the same time.
func TestStress(t *testing.T) {
	damaged, foreign := corruptedSlots(), foreignMappings(t)
	stop := time.Now().Add(600 * time.Millisecond)
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for i := 0; time.Now().Before(stop); i++ {
				stressOne(t, g, i)
			}
		})
	}
	wg.Wait()
	eventually(t, "no live slot", func() bool { return liveSlots() == 0 })
	if n := corruptedSlots() - damaged; n != 0 {
		t.Errorf("%d canaries damaged", n)
	}
	if n := foreignMappings(t) - foreign; n > 0 {
		t.Errorf("%d parts of mappings that the arena does not know", n)
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	most := len(slotSizes)
	if spare.hasher != nil {
		most++
	}
	if shared.regions > most {
		t.Errorf("%d mappings kept for no secret, at most %d expected", shared.regions, most)
	}
	chunks := 0
	for i := range shared.classes {
		chunks += len(shared.classes[i].partial)
	}
	if chunks != shared.regions {
		t.Errorf("%d mappings counted, %d known: the rest is lost", shared.regions, chunks)
	}
}

func stressOne(t *testing.T, g, i int) {
	want := bytes.Repeat([]byte{byte('a' + g)}, 1+(i*37)%5000)
	s, err := New(len(want)+i%100, func(b []byte) (int, error) { return copy(b, want), nil })
	if err != nil {
		t.Error(err)
		return
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			err := s.Use(func(b []byte) error {
				if !bytes.Equal(b, want) {
					t.Error("the content changed")
				}
				return nil
			})
			if err != nil && !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
			s.VerifyBytes(want)
		})
	}
	if i%3 == 0 {
		stressKey(t, i)
	}
	if i%5 != 0 { // the others are dropped
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if i%50 == 0 {
		runtime.GC()
	}
	wg.Wait()
}

// stressKey decodes, uses and closes or drops a key, in locked memory that is required as long as there is some.
func stressKey(t *testing.T, i int) {
	o := Options{RequireLocked: i%2 == 0, Forgotten: func(f Forgotten) {
		if f.Err != nil || f.Stack == "" {
			t.Errorf("a forgotten key: %v", f.Err)
		}
	}}
	s, err := o.FromBytes([]byte(hexKey))
	if errors.Is(err, ErrNotLocked) {
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	k, err := DecodeKey(s, Hex)
	if err := errors.Join(err, s.Close()); err != nil && !errors.Is(err, ErrNotLocked) {
		t.Error(err)
	}
	mac, err := k.Sign([]byte("m"))
	if err == nil && !k.VerifyMAC([]byte("m"), mac) || err != nil && k != nil {
		t.Errorf("does not verify (error %v)", err)
	}
	if i%2 == 0 {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
}
