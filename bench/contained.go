package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llorch/secrets-management/policy"
)

// What a hostile policy does to the process that it runs in. Both are differences of 99th percentiles to an idle control in
// the same run, of the worst guest in either engine.
func containedRatios() []ratio {
	return []ratio{
		{name: "stall_p99_ms", limit: 50, measure: worst(2, stall)},
		{name: "deadline_late_p99_ms", limit: 10, measure: worst(1, late)},
	}
}

// hostileGuests go on for ever when a request is long: one in a loop, one after pointers that no cache has.
var hostileGuests = []string{"loops.wasm", "wanders.wasm"} //nolint:gochecknoglobals // a constant

// worst measures each guest in each engine, with so many instances. Without a memo: an honest request has to make the instance
// that the next one burns.
func worst(instances int, measure func(*policy.Engine) (float64, error)) func() (float64, error) {
	return func() (float64, error) {
		most := 0.0
		for _, name := range hostileGuests {
			for _, interpreter := range []bool{false, true} {
				e, err := openGuest(name, policy.Options{NoMemo: true, Interpreter: interpreter, Limits: policy.Limits{
					Deadline: deadline, Fuel: 10_000_000_000, LoadingBudget: time.Minute, Instances: instances,
				}})
				if err != nil {
					return 0, err
				}
				v, err := measure(e)
				e.Close()
				if err != nil {
					return 0, fmt.Errorf("%s: %w", name, err)
				}
				most = max(most, v)
			}
		}
		return most, nil
	}
}

// openGuest runs a guest of the sandbox's own tests.
func openGuest(name string, opts policy.Options) (*policy.Engine, error) {
	wasm, err := os.ReadFile(filepath.Join("..", "policy", "testdata", name)) //nolint:gosec // G304: names of ours
	if err != nil {
		return nil, err
	}
	return policy.Open(context.Background(), &policy.Bundle{Wasm: wasm}, opts)
}

// provoking is a request that is long, which is what those guests wait for.
func provoking() *policy.Request {
	return &policy.Request{
		Subject: policy.Subject{Service: "s", UID: 1, GID: 1}, Action: policy.LoadSecret,
		Resource: policy.Resource{Source: policy.SourceFile, Path: "/p", Facts: policy.FactsObserved},
		Context:  policy.Context{Phase: policy.PhaseRuntime, Memory: policy.MemoryLocked, Host: strings.Repeat("h", 2000)},
	}
}

const deadline = 20 * time.Millisecond

// burn has a guest use up all its time, and returns how late it was stopped.
func burn(e *policy.Engine) (time.Duration, error) {
	start := time.Now()
	d, err := e.Decide(context.Background(), provoking())
	if d.Allowed() || !errors.Is(err, policy.ErrLimit) {
		return 0, fmt.Errorf("the guest was not stopped: %w", err)
	}
	return time.Since(start) - deadline, nil
}

// late is by how much a decision exceeds its deadline. The control does nothing but wait for the same time.
func late(e *policy.Engine) (float64, error) {
	const times = 50
	var lateness, idle []time.Duration
	honest := *provoking()
	honest.Context.Host = ""
	for range times {
		start := time.Now()
		for time.Since(start) < deadline { // it waits as the guest does, on a processor
		}
		idle = append(idle, time.Since(start)-deadline)
		if _, err := e.Decide(context.Background(), &honest); err != nil { // makes the instance
			return 0, err
		}
		took, err := burn(e)
		if err != nil {
			return 0, err
		}
		lateness = append(lateness, took)
	}
	return over(lateness, idle), nil
}

// stall is how late a goroutine wakes up that sleeps for a millisecond while every processor runs a guest, and the
// collector is busy.
func stall(e *policy.Engine) (float64, error) {
	idle := naps(func() error {
		time.Sleep(time.Millisecond)
		return nil
	})
	var failed atomic.Pointer[error]
	busy := naps(func() error {
		_, err := burn(e)
		if err != nil {
			failed.Store(&err)
		}
		return err
	})
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return over(busy, idle), nil
}

// naps sleeps some hundred times while two goroutines do what they are told, and one makes garbage.
func naps(do func() error) []time.Duration {
	const times, nap = 300, time.Millisecond
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if do() != nil {
					return
				}
			}
		})
	}
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(nap):
				sink.Add(uint64(len(make([]byte, 1<<20))))
			}
		}
	})
	late := make([]time.Duration, times)
	for i := range late {
		start := time.Now()
		time.Sleep(nap)
		late[i] = time.Since(start) - nap
	}
	close(done)
	wg.Wait()
	return late
}

// over is the difference of the 99th percentiles in milliseconds, and not below zero.
func over(values, control []time.Duration) float64 {
	p99 := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)*99/100]) / float64(time.Millisecond)
	}
	return math.Max(0, p99(values)-p99(control))
}
