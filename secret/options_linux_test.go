package secret

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRequireLocked: EXP-RELIABLE-8002, SM-THREAT-2001: with the option a lack of lockable memory is an error before any
// byte of the content is in memory, and never a weaker secret.
func TestRequireLocked(t *testing.T) {
	for _, name := range []string{"require ulimit -l 0", "require ulimit -l 64", "locked scratch", "locked again"} {
		t.Run("SM-SEC-5001 "+name, func(t *testing.T) {
			if out, err := startChild(name, unrestricted); err != nil || !strings.HasSuffix(out, "done\n") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func requireNothing() error {
	if _, err := lowerLockLimit(0); err != nil {
		return err
	}
	o := Options{RequireLocked: true}
	called := false
	_, errNew := o.New(10, func([]byte) (int, error) { called = true; return 1, nil })
	_, errLarge := o.New(100_000, func([]byte) (int, error) { called = true; return 1, nil })
	_, errKey := o.NewKey(func([]byte) error { called = true; return nil })
	raw := []byte(content)
	_, errBytes := o.FromBytes(raw)
	for what, err := range map[string]error{"New": errNew, "large": errLarge, "NewKey": errKey, "FromBytes": errBytes} {
		if !errors.Is(err, ErrNotLocked) {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if called || !isZero(raw) || liveSlots() != 0 {
		return fmt.Errorf("fill called: %v, input wiped: %v, %d slots", called, isZero(raw), liveSlots())
	}
	if why := Degradation(); !errors.Is(why, ErrNotLocked) || !strings.Contains(why.Error(), "RLIMIT_MEMLOCK is 0") {
		return fmt.Errorf("the reason does not name the limit: %w", why)
	}
	if strings.Contains(Degradation().Error(), "%!") {
		return fmt.Errorf("the reason cannot be read: %w", Degradation())
	}
	s, err := FromBytes([]byte(content)) // the control
	if err != nil || s.Level() != LevelHeap {
		return fmt.Errorf("control: level %s, %w", s.Level(), err)
	}
	return s.Close()
}

func requireSome() error {
	limit, err := lowerLockLimit(64 << 10)
	if err != nil || limit == 0 {
		return err
	}
	// What was made before and without the option must not get in the way: its hasher may be in unlocked memory.
	var weak []*Secret
	for range 2000 {
		s, err := FromBytes([]byte(content))
		if err != nil {
			return err
		}
		weak = append(weak, s)
	}
	if weak[len(weak)-1].Level() != LevelHeap {
		return errors.New("the control did not exhaust the limit")
	}
	if _, err := (Options{RequireLocked: true}).FromBytes([]byte(content)); !errors.Is(err, ErrNotLocked) {
		return fmt.Errorf("beyond the limit: %w", err)
	}
	for _, s := range weak {
		if err := s.Close(); err != nil {
			return err
		}
	}
	runtime.GC()
	runtime.GC() // the pool's hashers go, and their slots

	var strong []*Secret
	for {
		s, err := Options{RequireLocked: true}.FromBytes([]byte(content))
		if errors.Is(err, ErrNotLocked) {
			break
		}
		if err != nil {
			return err
		}
		if s.Level() == LevelHeap {
			return errors.New("required, and not locked")
		}
		strong = append(strong, s)
	}
	if len(strong) < 20 { // the race detector lets the pool lose hashers, which take pages, too
		return fmt.Errorf("only %d secrets fit", len(strong))
	}
	return verifyAll(strong)
}

// lockedAgain uses up the limit, gives all of it back, and must get locked memory again.
func lockedAgain() error {
	limit, err := lowerLockLimit(64 << 10)
	if err != nil || limit == 0 {
		return err
	}
	var all []*Secret
	for range 3000 {
		s, err := FromBytes([]byte(content))
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	if all[0].Level() == LevelHeap || all[len(all)-1].Level() != LevelHeap {
		return errors.New("the control did not exhaust the limit")
	}
	for i := len(all) - 1; i >= 0; i-- { // as defers do
		if err := all[i].Close(); err != nil {
			return err
		}
	}
	s, err := FromBytes([]byte(content))
	if err != nil || s.Level() == LevelHeap || ProtectionLevel() == LevelHeap {
		return fmt.Errorf("after all was given back: level %s, %w", s.Level(), err)
	}
	return s.Close()
}

// lockedScratch uses up the limit after one secret was made that requires locked memory. It must still verify, in locked
// scratch memory, while others compute in unlocked memory.
func lockedScratch() error {
	limit, err := lowerLockLimit(64 << 10)
	if err != nil || limit == 0 {
		return err
	}
	s, err := Options{RequireLocked: true}.FromBytes([]byte(content))
	if err != nil {
		return err
	}
	// Slots come back while this runs: the pool's hashers are collected, and their clean-up takes its time. So what is left
	// is taken until a new hasher gets unlocked memory.
	var all []block
	var locked []*hasher
	weak := (*hasher)(nil)
	for range 100 {
		runtime.GC()
		all = append(all, exhaust()...)
		if weak = getHasher(false); weak == nil || weak.level == LevelHeap {
			break
		}
		locked = append(locked, weak)
	}
	if weak == nil || weak.level != LevelHeap {
		return errors.New("control: locked memory is left")
	}
	weak.put() // for the next who asks
	strong := getHasher(true)
	if strong == nil || strong.level == LevelHeap {
		return fmt.Errorf("no locked scratch: %v", strong != nil)
	}
	answer := make(chan bool)
	go func() { answer <- s.Verify(content) }() // waits for the spare hasher
	time.Sleep(10 * time.Millisecond)
	strong.put()
	if !<-answer || !s.Verify(content) || s.Verify("another") {
		return errors.New("does not verify")
	}
	for _, b := range all {
		reclaim(b)
	}
	for _, h := range locked {
		h.put()
	}
	return s.Close()
}

// exhaust takes all locked memory that there is.
func exhaust() []block {
	var all []block
	for i := range slotSizes {
		for {
			b, err := shared.alloc(slotSizes[i]-canarySize, true)
			if err != nil {
				break
			}
			all = append(all, b)
		}
	}
	return all
}

// verifyAll verifies from many goroutines at once, while collections empty the pool of hashers.
func verifyAll(secrets []*Secret) error {
	var wg sync.WaitGroup
	wrong := make([]bool, 8)
	for g := range wrong {
		wg.Go(func() {
			for i, s := range secrets {
				wrong[g] = wrong[g] || !s.Verify(content) || s.Verify(content+"x")
				if i%100 == 0 {
					runtime.GC()
				}
			}
		})
	}
	wg.Wait()
	for g, w := range wrong {
		if w {
			return fmt.Errorf("goroutine %d got a wrong answer", g)
		}
	}
	for _, s := range secrets {
		if err := s.Close(); err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(10 * time.Second); liveSlots() > 0; runtime.GC() { // the pool's hashers go with it
		if time.Now().After(deadline) {
			return fmt.Errorf("%d slots are still in use", liveSlots())
		}
	}
	return nil
}
