package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy/rego"
)

const testFormats = "pretty, json or junit"

// testRun is what policy test was asked to do.
type testRun struct {
	dir      string
	run      string
	minimum  float64
	coverage bool
	verbose  bool
	watch    bool
	out      outputs

	only *regexp.Regexp
}

func newPolicyTest() *cobra.Command {
	var t testRun
	cmd := &cobra.Command{
		Use:   "test DIR",
		Short: "run the Rego tests of a policy, in OPA and in the sandbox",
		Example: `  secretcheck policy test policy/
  secretcheck policy test policy/ --min-coverage 90 --output junit=tests.xml`,
		Long: `Run the rules named test_… in *_test.rego twice: by OPA's evaluator, and compiled
to Wasm in the sandbox of a service. A test passes when it holds in both; where
they differ, the policy would not do what its tests say.

exit codes, of several the first: 5 the policy has errors or the evaluators
differ, 4 bad usage or no tests, 1 a test fails or too little is covered, 0 clean`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.valid(args); err != nil {
				return err
			}
			t.dir = args[0]
			if t.watch {
				return t.again(cmd)
			}
			return t.once(cmd)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&t.run, "run", "r", "", "run only tests whose full name matches `REGEXP`")
	flags.BoolVarP(&t.coverage, "coverage", "c", false, "tell which lines of the rules no test comes to")
	flags.Float64Var(&t.minimum, "min-coverage", 0, "exit with 1 when less than `PERCENT` of the lines are covered")
	flags.BoolVarP(&t.verbose, "verbose", "v", false, "list the tests that pass as well")
	flags.BoolVar(&t.watch, "watch", false, "run again whenever a file changes, until interrupted")
	t.out.register(flags, testFormats)
	return cmd
}

func (t *testRun) valid(args []string) error {
	const hint = "secretcheck policy test DIR"
	if len(args) != 1 {
		return usage(hint, "policy test takes one folder")
	}
	if err := folder(args[0], hint); err != nil {
		return err
	}
	if !(t.minimum >= 0 && t.minimum <= 100) { // not a number neither
		return usage("--min-coverage takes a percentage", "min-coverage %v is not between 0 and 100", t.minimum)
	}
	if t.run != "" {
		var err error
		if t.only, err = regexp.Compile(t.run); err != nil {
			return usage("--run takes an expression of https://golang.org/s/re2syntax", "run: %w", err)
		}
	}
	if err := t.out.valid(); err != nil {
		return err
	}
	return t.out.spare(policyFiles(args[0]))
}

// once runs the tests and reports on them.
func (t *testRun) once(cmd *cobra.Command) error {
	result, err := t.test(cmd.Context())
	if err != nil {
		return err
	}
	err = t.out.writeWith(cmd.OutOrStdout(), func(w io.Writer, kind string) error {
		switch kind {
		case "json":
			return report.TestsJSON(w, result)
		case "junit":
			return report.TestsJUnit(w, result)
		}
		return report.TestsPretty(w, result, t.verbose)
	})
	if err != nil {
		return err
	}
	return t.verdict(cmd.ErrOrStderr(), result)
}

func (t *testRun) test(ctx context.Context) (*rego.TestReport, error) {
	src, err := rego.ReadDir(t.dir)
	if err != nil {
		return nil, &failure{exitPolicy, fmt.Errorf("policy: %w", short(err)), ""}
	}
	tests, err := rego.ReadTests(t.dir)
	if err != nil {
		return nil, &failure{exitPolicy, fmt.Errorf("policy: %w", short(err)), ""}
	}
	result, err := rego.Test(ctx, src, tests, rego.TestOptions{Run: t.only, Coverage: t.coverage || t.minimum > 0})
	switch {
	case errors.Is(err, rego.ErrNoTests) && t.only != nil:
		return nil, usage("names are as --verbose lists them", "policy: %s: %w", t.dir, rego.ErrNoTests)
	case errors.Is(err, rego.ErrNoTests):
		return nil, usage("secretcheck policy init shows how they are written", "policy: %s: %w", t.dir, err)
	case err != nil:
		return nil, &failure{exitPolicy, fmt.Errorf("policy: %w", err), ""}
	}
	return result, nil
}

// verdict says how it went, and makes an exit code of it.
func (t *testRun) verdict(w io.Writer, r *rego.TestReport) error {
	fmt.Fprintf(w, "tested %s: %d tests, %d passed in both evaluators", report.Text(t.dir), len(r.Tests), r.Count(rego.Passed))
	for _, o := range []rego.Outcome{rego.Failed, rego.Errored, rego.Disagreed, rego.Skipped} {
		if n := r.Count(o); n > 0 {
			fmt.Fprintf(w, ", %d %s", n, outcomeNoun(o))
		}
	}
	percent, rules := rego.Covered(r.Coverage)
	if rules {
		fmt.Fprintf(w, ", %.1f %% of the rules covered", percent)
	}
	fmt.Fprintln(w)
	switch {
	case r.Count(rego.Disagreed) > 0:
		return &failure{code: exitPolicy}
	case r.Count(rego.Failed)+r.Count(rego.Errored) > 0:
		return &failure{code: exitDenied}
	case t.minimum > 0 && !rules:
		return usage("leave --min-coverage out", "policy: %s has no rules of its own to cover", t.dir)
	case percent < t.minimum:
		return &failure{exitDenied, fmt.Errorf("%.1f %% of the rules are covered, at least %v %% are asked for", percent, t.minimum), "--coverage lists the lines"}
	case r.Count(rego.Passed) == 0:
		return usage("tests are rules named test_… in *_test.rego; --run takes a pattern of their names", "policy: %s: no test was run", t.dir)
	}
	return nil
}

func outcomeNoun(o rego.Outcome) string {
	if o == rego.Errored {
		return "not evaluated"
	}
	return string(o)
}

// pollEvery is how often a watched folder is looked at: without a wait that one would notice, or work that one would.
const pollEvery = 300 * time.Millisecond

// again runs the tests whenever what is in the folder has changed. Only the end of the context ends it.
func (t *testRun) again(cmd *cobra.Command) error {
	last := ""
	for {
		if now := t.stamp(); now != last {
			last = now
			if err := t.once(cmd); err != nil && err.Error() != "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "secretcheck: %s\n", lines(err))
			}
		}
		select {
		case <-cmd.Context().Done():
			return nil
		case <-time.After(pollEvery):
		}
	}
}

// stamp tells one state of the folder from another.
func (t *testRun) stamp() string {
	stamp := ""
	for _, f := range policyFiles(t.dir) {
		stamp += fmt.Sprintf("%q %d %d\n", f.Name(), f.Size(), f.ModTime().UnixNano())
	}
	return stamp
}
