// Package timing measures whether code tells by its time what it works on, as dudect does (Reparaz, Balasch, Verbauwhede:
// Dude, is my code constant time?): calls of several classes in random order, and Welch's t-test between each two
// classes. It is for tests only.
package timing

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	samples = 100_000 // of each class
	noise   = 10      // |t| that stays unnoticed between any two classes
	leak    = 50      // |t| that the leaky control must exceed
)

// Class is calls that must take as long as those of every other class.
type Class struct {
	Name   string
	Input  []byte
	Verify []func([]byte) bool // any of them; several, where the place in memory of what they know differs
	Want   bool
}

// Check fails when two of the classes differ, or an answer is wrong. All inputs have the same length. A comparison that stops at
// the first difference is measured with them, and has to show: it is an error when the measurement sees nothing. One
// repetition, for a machine that does something else meanwhile. log is told the figures.
func Check(log func(format string, args ...any), classes ...Class) error {
	var err error
	for range 2 {
		if err = check(log, classes); err == nil {
			return nil
		}
	}
	return err
}

func check(log func(string, ...any), classes []Class) error {
	worst, between, err := worstT(classes)
	if err != nil {
		return err
	}
	control, _, err := worstT(leaky(classes[0].Input))
	if err != nil {
		return err
	}
	log("|t| %.1f between %s; %.1f for the control", worst, between, control)
	switch {
	case worst >= noise:
		return fmt.Errorf("|t| %.1f between %s, want less than %d", worst, between, noise)
	case control <= leak:
		return fmt.Errorf("|t| %.1f for the leaky control, want more than %d: the measurement sees nothing", control, leak)
	}
	return nil
}

// leaky is the control: an early and a late difference, for a comparison that shows them.
func leaky(token []byte) []Class {
	verify := []func([]byte) bool{func(input []byte) bool { return stopsEarly(token, input) }}
	changed := func(i int) []byte {
		b := bytes.Clone(token)
		b[i] ^= 1
		return b
	}
	return []Class{{"an early mismatch", changed(0), verify, false}, {"a late mismatch", changed(len(token) - 1), verify, false}}
}

// worstT is the largest |t| between two classes, and their names.
func worstT(classes []Class) (worst float64, between string, err error) {
	took, err := sample(classes)
	if err != nil {
		return 0, "", err
	}
	for i := range took {
		for j := range i {
			if v := math.Abs(welch(took[i], took[j])); v >= worst {
				worst, between = v, classes[j].Name+" and "+classes[i].Name
			}
		}
	}
	return worst, between, nil
}

// sample times calls in random order, each class equally often. All inputs are at the same place: how fast the processor
// reads an address is not what is measured. The slowest hundredth of all calls is left out: interrupts, not code.
func sample(classes []Class) ([][]float64, error) {
	order := make([]int, len(classes)*samples)
	for i := range order {
		order[i] = i % len(classes)
	}
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })

	took := make([]float64, len(order))
	wrong := 0
	input := make([]byte, len(classes[0].Input))
	for i, class := range order {
		c := &classes[class]
		verify := c.Verify[rand.IntN(len(c.Verify))]
		copy(input, c.Input)
		start := time.Now()
		got := verify(input)
		took[i] = float64(time.Since(start))
		if got != c.Want {
			wrong++
		}
	}
	if wrong > 0 {
		return nil, fmt.Errorf("%d wrong answers", wrong)
	}
	sorted := slices.Sorted(slices.Values(took))
	limit := sorted[len(sorted)*99/100]
	byClass := make([][]float64, len(classes))
	for i, class := range order {
		if took[i] <= limit {
			byClass[class] = append(byClass[class], took[i])
		}
	}
	return byClass, nil
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
