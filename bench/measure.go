package main

import (
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	rounds   = 41
	batchFor = 8 * time.Millisecond // long against the clock and the scheduler, short against drift
)

// batch is how many calls of f take about batchFor.
func batch(f func()) int {
	for n := 1; ; n *= 2 {
		start := time.Now()
		for range n {
			f()
		}
		if took := time.Since(start); took >= batchFor/4 {
			return max(1, int(float64(n)*float64(batchFor)/float64(took)))
		}
	}
}

// perCall returns the nanoseconds of one of n calls of f.
func perCall(n int, f func()) float64 {
	start := time.Now()
	for range n {
		f()
	}
	return float64(time.Since(start).Nanoseconds()) / float64(n)
}

// compare returns the median of own's time over peer's. The two take turns, in an order that changes, so that each
// ratio is of neighbours: what slows the machine for a while slows both.
func compare(own, peer func()) float64 {
	nOwn, nPeer := batch(own), batch(peer)
	ratios := make([]float64, rounds)
	for i := range ratios {
		o, p := neighbours(i, nOwn, nPeer, own, peer)
		ratios[i] = o / p
	}
	return median(ratios)
}

// neighbours measures both, one right behind the other, in an order that changes with i.
func neighbours(i, nOwn, nPeer int, own, peer func()) (o, p float64) {
	if i%2 == 0 {
		o = perCall(nOwn, own)
		return o, perCall(nPeer, peer)
	}
	p = perCall(nPeer, peer)
	return perCall(nOwn, own), p
}

// fastest returns the seconds of one call of f, the least of many: what else runs can only slow it. It is for limits that
// are times and not ratios.
func fastest(f func()) float64 {
	const most, enough = 200, 3 * time.Second
	best := time.Duration(math.MaxInt64)
	for start, n := time.Now(), 0; n < 10 || n < most && time.Since(start) < enough; n++ {
		begin := time.Now()
		f()
		best = min(best, time.Since(begin))
	}
	return best.Seconds()
}

// errBusy: other programs had the second processor.
var errBusy = errors.New("no second processor was free for long enough to measure on two")

// scaling returns the speed-up of f on two goroutines over that of plain arithmetic, which shares nothing: the median of
// rounds in which all four measurements are neighbours. f gets the number of its goroutine. A round in which arithmetic
// itself does not scale says nothing, and another is tried.
func scaling(f func(g int)) (float64, error) {
	const free = 1.3 // of 2 processors
	nOwn, nControl := batch(func() { f(0) }), batch(func() { arithmetic() })
	var ratios []float64
	for tries := 0; len(ratios) < rounds; tries++ {
		if tries == 10*rounds {
			return 0, errBusy
		}
		if control := speedUp(nControl, func(int) { arithmetic() }); control >= free {
			ratios = append(ratios, speedUp(nOwn, f)/control)
		}
	}
	return median(ratios), nil
}

// speedUp is the work done in a time by two goroutines, over that by one.
func speedUp(n int, f func(g int)) float64 {
	one := perCall(n, func() { f(0) })
	var wg sync.WaitGroup
	start := time.Now()
	for g := range 2 {
		wg.Go(func() {
			for range n {
				f(g)
			}
		})
	}
	wg.Wait()
	two := float64(time.Since(start).Nanoseconds()) / float64(2*n)
	return one / two
}

// sink is written to so that the compiler has to compute.
//
//nolint:gochecknoglobals // nobody reads it
var sink atomic.Uint64

// arithmetic is some hundred nanoseconds of work in registers.
//
//go:noinline
func arithmetic() {
	x := uint64(88172645463325252)
	for range 256 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	if x == 0 { // never, and the compiler does not know
		sink.Add(1)
	}
}

// allocations is the number of heap allocations of one call of f.
func allocations(f func()) float64 {
	return testing.AllocsPerRun(10_000, f)
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// compareOnce is [compare] for what takes seconds: so many rounds of one call of each.
func compareOnce(rounds int, own, peer func()) float64 {
	ratios := make([]float64, rounds)
	for i := range ratios {
		ratios[i] = perCall(1, own) / perCall(1, peer)
	}
	return median(ratios)
}
