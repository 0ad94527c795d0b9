package sandbox

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/tetratelabs/wazero"
)

// countdown is a context that is canceled after so many looks at it.
type countdown struct {
	context.Context //nolint:containedctx // it is one
	looks           atomic.Int64
}

func (c *countdown) Err() error {
	if c.looks.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// long is an evaluation of some fifty slices of fuel, which then denies. Slices are small where the memory is large.
func long() asmGuest {
	return asmGuest{pages: farBytes/pageBytes + 1, eval: counts(50 * fuelSliceHuge / 6)}
}

var longLimits = Limits{Instances: 1, Deadline: 10 * time.Second}

// TestCanceledAtEverySlice: POL-4005. Whenever the context ends, the answer is right or the error is the context's, and the
// next request is answered.
func TestCanceledAtEverySlice(t *testing.T) {
	for engine, interpreter := range engines {
		t.Run(engine, func(t *testing.T) {
			guest := long()
			p := run(t, guest.build(), interpreter, longLimits)
			canceled, answered := 0, 0
			for looks := int64(0); answered < 3; looks++ {
				ctx := &countdown{Context: t.Context()}
				ctx.looks.Store(looks)
				switch answer, err := evaluate(ctx, p, hostile); {
				case err == nil && answer == denyJSON:
					answered++
				case errors.Is(err, context.Canceled):
					canceled++
				default:
					t.Fatalf("after %d looks: %q, error %v", looks, answer, err)
				}
				if answer, err := evaluate(t.Context(), p, honest); err != nil || answer != denyJSON && answer != allowJSON {
					t.Fatalf("after %d looks, the next request: %q, error %v", looks, answer, err)
				}
			}
			if canceled < 40 {
				t.Errorf("canceled %d times", canceled)
			}
		})
	}
}

// TestCanceledAtAnyMoment: POL-4005. The same with real time, while others wait for the instance, and while it is made.
func TestCanceledAtAnyMoment(t *testing.T) {
	guest := long()
	guest.start = fill(32768, 32_000, 0)
	p := run(t, guest.build(), false, Limits{Instances: 2, Deadline: 10 * time.Second})
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 50 {
				ctx, cancel := context.WithCancel(context.Background())
				timer := time.AfterFunc(time.Duration(random.Int64N(int64(4*time.Millisecond))), cancel)
				if answer, err := evaluate(ctx, p, hostile); !errors.Is(err, context.Canceled) && (err != nil || answer != denyJSON) {
					t.Errorf("%q, error %v", answer, err)
				}
				timer.Stop()
				cancel()
			}
		})
	}
	wg.Wait()
	if answer, err := evaluate(t.Context(), p, honest); err != nil || answer != denyJSON && answer != allowJSON {
		t.Errorf("the next request: %q, error %v", answer, err)
	}
}

// TestCanceledBefore: POL-4005. A guest is not even begun with for a context that is over.
func TestCanceledBefore(t *testing.T) {
	p := run(t, (&asmGuest{}).build(), false, Limits{Instances: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // free instance or end of the context: which comes first is random
		if answer, err := evaluate(ctx, p, honest); answer != "" || !errors.Is(err, context.Canceled) {
			t.Fatalf("%q, error %v", answer, err)
		}
	}
	if p, err := start(ctx, (&asmGuest{}).build(), false, Limits{}); p != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("opened: error %v", err)
	}
}

// TestContextWinsOverMemory: POL-4005. A guest that was refused memory before is still canceled by its context.
func TestContextWinsOverMemory(t *testing.T) {
	guest := asmGuest{eval: cat(grow(1000), drop, loop, i32const(0))}
	p := run(t, guest.build(), false, Limits{Fuel: 10_000_000_000, Deadline: 10 * time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := evaluate(ctx, p, hostile); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// TestHostileAmongHonest: POL-4006. Hostile and honest requests share a program while others open and close theirs; every
// honest one gets the right answer.
func TestHostileAmongHonest(t *testing.T) {
	looping := asmGuest{eval: cat(loop, i32const(0))}
	module := looping.build()
	p := run(t, module, false, Limits{Instances: 2, Fuel: 200_000, Deadline: 10 * time.Second})
	var wg sync.WaitGroup
	for worker := range 6 {
		wg.Go(func() {
			for range 40 {
				switch worker % 3 {
				case 0:
					if answer, err := evaluate(context.Background(), p, hostile); !errors.Is(err, ErrLimit) {
						t.Errorf("hostile: %q, error %v", answer, err)
					}
				case 1:
					if answer, err := evaluate(context.Background(), p, honest); err != nil || answer != denyJSON {
						t.Errorf("honest: %q, error %v", answer, err)
					}
				case 2:
					other, err := start(context.Background(), module, false, Limits{Instances: 1})
					if err != nil {
						t.Error(err)
						return
					}
					if answer, err := evaluate(context.Background(), other, honest); err != nil || answer != denyJSON {
						t.Errorf("another program: %q, error %v", answer, err)
					}
					other.Close()
				}
			}
		})
	}
	wg.Wait()
	if n := len(p.slots); n != 2 {
		t.Errorf("%d of 2 places are free afterwards", n)
	}
}

// TestThrownAwayInstancesAreFreed: POL-4006. After many attacks there is one instance, and the memory of the others is gone.
func TestThrownAwayInstancesAreFreed(t *testing.T) {
	for name, body := range map[string][]byte{"trap": trapping, "limit": loop, "memory": cat(grow(200), drop, trapping)} {
		t.Run(name, func(t *testing.T) {
			guest := asmGuest{eval: cat(body, i32const(0))}
			p := run(t, guest.build(), false, Limits{Instances: 1, Fuel: 100_000})
			var gone []weak.Pointer[guestMemory]
			for range 50 {
				inst, err := p.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				gone = append(gone, weak.Make(inst.memory))
				inst.Input = append(inst.Input[:0], hostile...)
				_, err = inst.Evaluate(t.Context(), entrypoint)
				p.Release(inst, err == nil)
			}
			if _, err := evaluate(t.Context(), p, honest); err != nil || len(p.slots) != 1 {
				t.Errorf("error %v, %d places", err, len(p.slots))
			}
			runtime.GC()
			runtime.GC()
			left := 0
			for _, w := range gone {
				if w.Value() != nil {
					left++
				}
			}
			if left > 1 { // the stack of this test may still hold the last
				t.Errorf("%d of %d instances are still there", left, len(gone))
			}
		})
	}
}

// TestNothingOfTheCallerIsKept: POL-4006. An idle instance does not hold the context of its last request.
func TestNothingOfTheCallerIsKept(t *testing.T) {
	p := run(t, (&asmGuest{}).build(), false, Limits{Instances: 1})
	if _, err := evaluate(t.Context(), p, honest); err != nil {
		t.Fatal(err)
	}
	inst := <-p.slots
	defer func() { p.slots <- inst }()
	if inst.ctx.Context != nil || inst.budget.ctx != nil {
		t.Error("it does")
	}
}

// TestReuseAndFresh: POL-4009. An instance that is used again can carry something from one request to the next; it cannot
// where instances are not used twice.
func TestReuseAndFresh(t *testing.T) {
	for fresh, want := range map[bool]string{false: allowJSON, true: denyJSON} {
		limits, err := Limits{Instances: 1}.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		p, err := Open(t.Context(), (&asmGuest{}).build(), []byte("{}"), Config{Limits: limits, Entrypoints: []string{entrypoint}, Fresh: fresh})
		if err != nil {
			t.Fatal(err)
		}
		for _, input := range [][]byte{honest, hostile} { // the guest remembers the second
			if answer, err := evaluate(t.Context(), p, input); err != nil || answer != denyJSON {
				t.Errorf("fresh %v: %q, error %v", fresh, answer, err)
			}
		}
		if answer, err := evaluate(t.Context(), p, honest); err != nil || answer != want {
			t.Errorf("fresh %v: after that %q, error %v", fresh, answer, err)
		}
		p.Close()
	}
}

// TestCollectorIsNotFrozen: POL-4008. The collector has to stop every goroutine, and native code cannot be stopped from
// outside. While a guest burns all that it may, a collection is soon over; while one burns that is not metered, it is over
// when the guest is.
func TestCollectorIsNotFrozen(t *testing.T) {
	guest := asmGuest{eval: counts(400_000_000)}
	collect := func(burn func(context.Context)) (collection, burning time.Duration) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan time.Duration)
		begun := time.Now()
		go func() {
			burn(ctx)
			done <- time.Since(begun)
		}()
		time.Sleep(5 * time.Millisecond)
		start := time.Now()
		runtime.GC()
		collection = time.Since(start)
		cancel()
		return collection, <-done
	}
	p := run(t, guest.build(), false, Limits{Fuel: 10_000_000_000, Deadline: 10 * time.Second})
	if p.Engine() == "interpreter" {
		t.Log("not run: no executable memory here, so that there is no native code")
		return
	}
	collection, burning := collect(func(ctx context.Context) { evaluate(ctx, p, hostile) })
	if collection > burning/2+200*time.Millisecond {
		t.Errorf("metered: a collection took %v of %v", collection, burning)
	}
	calls := 0
	rt := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigCompiler())
	defer rt.Close(t.Context())
	offer(t, t.Context(), rt, 1, plainPages, &calls)
	mod, err := rt.InstantiateWithConfig(t.Context(), guest.build(), wazero.NewModuleConfig().WithName("guest"))
	if err != nil {
		t.Fatal(err)
	}
	collection, burning = collect(func(ctx context.Context) { plainEval(ctx, mod, longInput+1) })
	if burning-collection > 50*time.Millisecond || collection < 50*time.Millisecond {
		t.Errorf("not metered: a collection took %v of %v", collection, burning)
	}
}

// TestDeadlineHolds: POL-4008, with room for a busy machine; make bench has the figures.
func TestDeadlineHolds(t *testing.T) {
	for name, body := range map[string][]byte{
		"loop": loop, "println": nil, "pointers": nil,
		"many locals": forever(call((&asmGuest{}).fn(0))), // each call writes 1,000 zeros in the interpreter
		"memory":      cat(store(16*mib, 1), forever(grow(1), drop)),
	} {
		for engine, interpreter := range engines {
			t.Run(name+"/"+engine, func(t *testing.T) {
				guest := asmGuest{
					pages: 500, eval: cat(body, i32const(0)),
					extra: []asmFunc{{typ: typeVoid, locals: 1000, body: []byte{0x01}}},
				}
				if name == "pointers" {
					guest = wanderer()
				}
				if name == "println" {
					guest = importing("opa_println", typeSink, cat(forever(i32const(0), call([]byte{0})), i32const(0)))
				}
				p := run(t, guest.build(), interpreter, Limits{Deadline: 20 * time.Millisecond, Fuel: 10_000_000_000})
				var late []time.Duration
				for range 5 {
					start := time.Now()
					_, err := evaluate(t.Context(), p, hostile)
					took := time.Since(start)
					if !errors.Is(err, ErrLimit) || took < 20*time.Millisecond {
						t.Errorf("after %v: %v", took, err)
					}
					late = append(late, took-20*time.Millisecond)
				}
				if best := min(late[0], late[1], late[2], late[3], late[4]); best > 100*time.Millisecond {
					t.Errorf("it is never less late than %v", best)
				}
			})
		}
	}
}

// TestWaitersHonourTheirContext: POL-4005. While the only instance is busy, a waiter leaves when its context ends.
func TestWaitersHonourTheirContext(t *testing.T) {
	guest := asmGuest{eval: cat(loop, i32const(0))}
	p := run(t, guest.build(), false, Limits{Instances: 1, Deadline: 2 * time.Second, Fuel: 10_000_000_000})
	busy := make(chan error)
	go func() {
		_, err := evaluate(context.Background(), p, hostile)
		busy <- err
	}()
	time.Sleep(50 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := evaluate(ctx, p, honest); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it waited for %v", took)
	}
	if err := <-busy; !errors.Is(err, ErrLimit) {
		t.Errorf("error %v", err)
	}
}

// TestLargeMemoryDoesNotMove: POL-4008. Copying 32 MiB takes longer than a decision may; growing it in one does not copy.
func TestLargeMemoryDoesNotMove(t *testing.T) {
	guest := asmGuest{pages: 512, eval: cat(grow(100), drop, i32const(addrDeny))}
	p := run(t, guest.build(), false, Limits{Instances: 1})
	inst, err := p.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := &inst.memory.buf[0]
	inst.Input = append(inst.Input[:0], hostile...)
	if _, err = inst.Evaluate(t.Context(), entrypoint); err != nil || len(inst.memory.buf) != 612*pageBytes {
		t.Errorf("%d pages, error %v", len(inst.memory.buf)/pageBytes, err)
	}
	if before != &inst.memory.buf[0] {
		t.Error("the memory moved")
	}
	p.Release(inst, true)
}
