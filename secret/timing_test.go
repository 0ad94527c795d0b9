//go:build !race

package secret

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const (
	timingSamples = 100_000 // of each class
	timingNoise   = 10      // |t| that Verify must stay under, between any two classes
	timingLeak    = 50      // |t| that the leaky control must exceed
)

// TestVerifyTiming: SM-SEC-5003, SEC-SECRET-030..033, and the attack case "early / late / length timing differences",
// measured as dudect does (Reparaz, Balasch, Verbauwhede: Dude, is my code constant time?): calls of four classes in
// random order, all with an input of 64 bytes, and Welch's t-test between each two classes. A comparison that stops at the first
// difference shows what the measurement can see. One repetition, for a machine that does something else meanwhile.
func TestVerifyTiming(t *testing.T) {
	token := bytes.Repeat([]byte("0123456789abcdef"), 4)
	changed := func(i int) []byte {
		b := bytes.Clone(token)
		b[i] ^= 1
		return b
	}
	// Several of each, so that the place of a secret in memory, which caches care for, is not what is measured.
	var same, longer, leaky []func([]byte) bool
	for range 8 {
		same = append(same, mustSecret(t, string(token)).VerifyBytes)
		longer = append(longer, mustSecret(t, string(token)+"0123456789").VerifyBytes)
		leaky = append(leaky, func(input []byte) bool { return stopsEarly(token, input) })
	}
	classes := []timingClass{
		{"match", token, same, true},
		{"early mismatch", changed(0), same, false},
		{"late mismatch", changed(63), same, false},
		{"wrong length", token, longer, false},
	}
	control := []timingClass{
		{"control: early mismatch", changed(0), leaky, false},
		{"control: late mismatch", changed(63), leaky, false},
	}

	var worst, leak float64
	var between string
	for range 2 {
		worst, between = worstT(t, classes)
		leak, _ = worstT(t, control)
		t.Logf("|t| %.1f between %s; %.1f for the control", worst, between, leak)
		if worst < timingNoise && leak > timingLeak {
			return
		}
	}
	if worst >= timingNoise {
		t.Errorf("SM-SEC-5003: |t| %.1f between %s, want less than %d", worst, between, timingNoise)
	}
	if leak <= timingLeak {
		t.Errorf("SM-SEC-5003: |t| %.1f for the leaky control, want more than %d: the measurement sees nothing", leak, timingLeak)
	}
}

type timingClass struct {
	name   string
	input  []byte
	verify []func([]byte) bool // any of them
	want   bool
}

// worstT is the largest |t| between two classes, and their names.
func worstT(t *testing.T, classes []timingClass) (worst float64, between string) {
	samples := sample(t, classes)
	for i := range samples {
		for j := range i {
			if v := math.Abs(welch(samples[i], samples[j])); v >= worst {
				worst, between = v, classes[j].name+" and "+classes[i].name
			}
		}
	}
	return worst, between
}

// sample times calls in random order, each class equally often. All inputs are at the same place: how fast the processor
// reads an address is not what is measured. The slowest hundredth of all calls is left out: interrupts, not code.
func sample(t *testing.T, classes []timingClass) [][]float64 {
	order := make([]int, len(classes)*timingSamples)
	for i := range order {
		order[i] = i % len(classes)
	}
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })

	took := make([]float64, len(order))
	wrong := 0
	input := make([]byte, len(classes[0].input))
	for i, class := range order {
		c := &classes[class]
		verify := c.verify[rand.IntN(len(c.verify))]
		copy(input, c.input)
		start := time.Now()
		got := verify(input)
		took[i] = float64(time.Since(start))
		if got != c.want {
			wrong++
		}
	}
	if wrong > 0 {
		t.Fatalf("SM-SEC-5003: %d wrong answers", wrong)
	}
	sorted := slices.Sorted(slices.Values(took))
	limit := sorted[len(sorted)*99/100]
	samples := make([][]float64, len(classes))
	for i, class := range order {
		if took[i] <= limit {
			samples[class] = append(samples[class], took[i])
		}
	}
	return samples
}

// welch is Welch's t statistic: the difference of the means, in units of its standard error.
func welch(a, b []float64) float64 {
	meanA, varA := moments(a)
	meanB, varB := moments(b)
	return (meanA - meanB) / math.Sqrt(varA/float64(len(a))+varB/float64(len(b)))
}

func moments(x []float64) (mean, variance float64) {
	for _, v := range x {
		mean += v
	}
	mean /= float64(len(x))
	for _, v := range x {
		variance += (v - mean) * (v - mean)
	}
	return mean, variance / float64(len(x)-1)
}

// stopsEarly is how not to compare.
//
//go:noinline
func stopsEarly(want, input []byte) bool {
	if len(want) != len(input) {
		return false
	}
	for i := range want {
		if want[i] != input[i] {
			return false
		}
	}
	return true
}
