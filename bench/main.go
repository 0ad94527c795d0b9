// Command bench measures this module against its targets: ratios of one run, so that a slow machine changes nothing. Each
// line reads "ratio NAME VALUE target <= LIMIT", or >=. It exits 1 if a target is missed, after the last line, and 2 if
// it cannot measure. An argument is a regular expression: only names that it matches are measured.
package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
)

// ratio is one line of the report.
type ratio struct {
	name    string
	atLeast bool // the limit is a minimum, and not a maximum
	limit   float64
	measure func() (float64, error)
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) //nolint:forbidigo // the exit code is the result
}

func run(args []string, stdout, stderr io.Writer) int {
	say := func(format string, args ...any) {
		_, _ = fmt.Fprintf(stderr, "bench: "+format+"\n", args...) // there is nowhere else to say it
	}
	if len(args) > 0 && args[0] == memoryChild {
		mib, err := child(args[1:])
		if err != nil {
			say("%v", err)
			return 2
		}
		_, _ = fmt.Fprintln(stdout, mib)
		return 0
	}
	only := regexp.MustCompile("")
	if len(args) > 0 {
		var err error
		if only, err = regexp.Compile(args[0]); err != nil {
			say("%v", err)
			return 2
		}
	}
	measured, missed := 0, 0
	for _, r := range slices.Concat(secretRatios(), policyRatios(), containedRatios(), loadRatios(), checkRatios(), conftestRatios(), bearerRatios(), authoringRatios(), questionRatios()) {
		if !only.MatchString(r.name) {
			continue
		}
		measured++
		value, err := r.best()
		if err != nil {
			say("%s: %v", r.name, err)
			return 2
		}
		if !r.report(stdout, value) {
			say("%s: missed", r.name)
			missed++
		}
	}
	switch {
	case measured == 0:
		say("no such ratio")
		return 2
	case missed > 0:
		say("%d of %d targets missed", missed, measured)
		return 1
	}
	return 0
}

// attempts is how often a ratio is measured before it counts as missed: what else runs on the machine can take a
// processor away for as long as a measurement lasts, and cannot make anything better.
const attempts = 3

// best measures until the target is met, and returns the last value.
func (r ratio) best() (value float64, err error) {
	for range attempts {
		if value, err = r.measure(); err != nil || r.met(value) {
			break
		}
	}
	return value, err
}

func (r ratio) met(value float64) bool {
	if r.atLeast {
		return value >= r.limit
	}
	return value <= r.limit
}

// report prints the line of r and returns whether the target is met.
func (r ratio) report(w io.Writer, value float64) bool {
	sign := "<="
	if r.atLeast {
		sign = ">="
	}
	_, _ = fmt.Fprintf(w, "ratio %s %.4g target %s %g\n", r.name, value, sign, r.limit)
	return r.met(value)
}
