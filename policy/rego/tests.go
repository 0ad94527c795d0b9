package rego

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Outcome is what became of a test.
type Outcome string

// The outcomes. A test passes only when both evaluators say so.
const (
	Passed    Outcome = "passed"
	Failed    Outcome = "failed"    // in both
	Errored   Outcome = "error"     // it could not be evaluated
	Disagreed Outcome = "disagreed" // OPA and the sandbox give different answers
	Skipped   Outcome = "skipped"   // a todo_test_ rule, which OPA does not run either
)

// TestResult is a test, or, of one that has cases, all of them together.
type TestResult struct {
	Name         string // with its package: data.secrets.load_test.test_a
	File         string // with the folder
	Line, Column int
	Outcome      Outcome
	Cases        []TestCase // of a test_a[name] rule, by name; nil for any other
	Message      string     // why it did not pass; of one or several lines
	FailedFile   string     // where the expression stands that did not hold; empty where that is not known
	FailedLine   int
	Expression   string        // that did not hold, with the values of what it names beneath
	Printed      string        // what calls of print wrote
	OPATime      time.Duration // what OPA's evaluator took
	WasmTime     time.Duration // what the sandbox took
}

// TestCase is one element of a test_a[name] rule.
type TestCase struct {
	Name    string
	Outcome Outcome
}

// TestReport is what [Test] found. Tests are in the order of files and lines.
type TestReport struct {
	Tests    []TestResult
	Coverage []FileCoverage // of the policy's own files, neither tests nor default rules; nil unless asked for
}

// Count is the number of tests with an outcome.
func (r *TestReport) Count(o Outcome) int {
	n := 0
	for i := range r.Tests {
		if r.Tests[i].Outcome == o {
			n++
		}
	}
	return n
}

// TestOptions select tests, and what else to tell of them.
type TestOptions struct {
	Run      *regexp.Regexp // of the names that are run; nil runs all
	Coverage bool           // which lines of the policy the tests come to
}

// ErrNoTests is matched by the error of [Test] when there is nothing to run.
var ErrNoTests = errors.New("no tests")

// Test runs the tests of a policy twice: in OPA's evaluator, and compiled to Wasm in the sandbox of a service, beside the
// rules as they are shipped. Whatever is told apart is an outcome of its own. tests are the modules of [ReadTests].
//
// Its error is about what cannot be run at all: a policy that [Build] refuses, a test that does not compile or calls what
// the sandbox does not have, two tests of one name, a test file that changes a rule of the policy, or no test (matches
// [ErrNoTests]). It matches [ErrSource], and names file, line and column where there are any.
func Test(ctx context.Context, src Source, tests map[string][]byte, opts TestOptions) (*TestReport, error) {
	s, err := newSuite(ctx, src, tests, opts)
	var report *TestReport
	if err == nil {
		report, err = s.run(ctx)
	}
	if err != nil {
		all := src // which an error names files of
		all.Modules = map[string][]byte{}
		maps.Copy(all.Modules, src.Modules)
		maps.Copy(all.Modules, tests)
		return nil, fmt.Errorf("%w: %w", ErrSource, positioned(&all, err))
	}
	return report, nil
}

// ReadTests reads the tests of a policy folder, every *_test.rego in it and beneath it, by path with forward slashes.
// Hidden folders are left out. The error matches [ErrSource].
func ReadTests(dir string) (map[string][]byte, error) {
	tests, tree := map[string][]byte{}, os.DirFS(dir)
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && strings.HasPrefix(path.Base(name), "."):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, testSuffix):
			return nil
		}
		tests[name], err = readFile(tree, name, maxModuleBytes)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSource, err)
	}
	return tests, nil
}

// suite is a policy with its tests, compiled for neither evaluator yet.
type suite struct {
	src     Source
	opts    TestOptions
	rules   map[string][]byte // of the policy, the default ones too
	tests   map[string][]byte
	listed  []listedTest
	skipped []TestResult
}

// listedTest is a test that is to be run.
type listedTest struct {
	name       string // data.secrets.load_test.test_a
	entrypoint string // secrets/load_test/test_a
	at         *ast.Location
	cases      bool // a test_a[name] rule
}

func newSuite(ctx context.Context, src Source, tests map[string][]byte, opts TestOptions) (*suite, error) {
	b, _, err := build(ctx, src, embeddedOrNone)
	if err != nil {
		return nil, err
	}
	s := &suite{src: src, opts: opts, rules: b.Rego, tests: tests}
	modules, err := parse(tests)
	if err != nil {
		return nil, err
	}
	policyModules, err := parse(s.rules)
	if err != nil {
		return nil, err
	}
	var errs ast.Errors
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		errs = append(errs, unavailable(modules[name])...)
	}
	if errs = append(errs, changed(policyModules, modules)...); len(errs) > 0 {
		return nil, errs
	}
	return s, s.list(modules)
}

// embeddedOrNone saves the compilation of rules whose Wasm nobody asks for: the tests bring their own.
func embeddedOrNone(ctx context.Context, _ map[string]*ast.Module) ([]byte, error) {
	return embedded(ctx, nil)
}

// list finds the tests. Two of one name are refused: OPA's runner keeps them apart, Rego joins them, so that one that
// passes would hide the other.
func (s *suite) list(modules map[string]*ast.Module) error {
	var errs ast.Errors
	seen := map[string]*ast.Location{}
	for _, file := range slices.Sorted(maps.Keys(modules)) {
		for _, rule := range modules[file].Rules {
			ref, skip, is := testRef(rule)
			if !is {
				continue
			}
			t := listedTest{
				name: ref.String(), entrypoint: entrypointOf(ref), at: rule.Location,
				cases: len(rule.Head.Ref()) > len(ref)-len(modules[file].Package.Path),
			}
			if first := seen[t.name]; first != nil {
				errs = append(errs, ast.NewError(ast.CompileErr, rule.Location,
					"there is another %s at %s:%d, and one that holds would hide one that does not; give it a name of its own",
					ref[len(ref)-1].Value, first.File, first.Row))
				continue
			}
			if seen[t.name] = rule.Location; s.opts.Run != nil && !s.opts.Run.MatchString(t.name) {
				continue
			}
			if skip {
				s.skipped = append(s.skipped, s.result(&t, Skipped))
				continue
			}
			s.listed = append(s.listed, t)
		}
	}
	switch {
	case len(errs) > 0:
		return errs
	case len(seen) == 0:
		return fmt.Errorf("%w: rules whose names begin with test_, in files whose names end in %s, are tests", ErrNoTests, testSuffix)
	case len(s.listed) == 0:
		return fmt.Errorf("%w: %d were left out", ErrNoTests, len(seen))
	}
	return nil
}

const testSuffix = "_test.rego"

// testRef is the full reference of a test rule up to the name that makes it one, as OPA's runner has it.
func testRef(rule *ast.Rule) (ref ast.Ref, skip, is bool) {
	head := rule.Head.Ref().GroundPrefix()
	for i, term := range head {
		name := ""
		switch v := term.Value.(type) {
		case ast.Var:
			name = string(v)
		case ast.String:
			name = string(v)
		}
		skip = strings.HasPrefix(name, "todo_test_")
		if skip || strings.HasPrefix(name, "test_") {
			return rule.Module.Package.Path.Extend(head[:i+1]), skip, true
		}
	}
	return nil, false, false
}

// entrypointOf names a rule as OPA's compiler wants it.
func entrypointOf(ref ast.Ref) string {
	var parts []string
	for _, term := range ref[1:] {
		name, _ := term.Value.(ast.String)
		parts = append(parts, string(name))
	}
	return strings.Join(parts, "/")
}

// changed reports every rule in a test file that adds to one of the policy: the tests would then be about other rules
// than those that ship.
func changed(rules, tests map[string]*ast.Module) ast.Errors {
	theirs := map[string]bool{}
	for _, module := range rules {
		for _, rule := range module.Rules {
			theirs[module.Package.Path.Extend(rule.Head.Ref().GroundPrefix()).String()] = true
		}
	}
	var errs ast.Errors
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		for _, rule := range tests[name].Rules {
			if theirs[tests[name].Package.Path.Extend(rule.Head.Ref().GroundPrefix()).String()] {
				errs = append(errs, ast.NewError(ast.CompileErr, rule.Location,
					"a test file would change rule %q of the policy; replace it within a test, using with", ruleName(rule)))
			}
		}
	}
	return errs
}

// modules are those of the policy and of the tests, parsed afresh: compilers change what they are given.
func (s *suite) modules() (map[string]*ast.Module, error) {
	all := maps.Clone(s.rules)
	maps.Copy(all, s.tests)
	return parse(all)
}

func (s *suite) result(t *listedTest, o Outcome) TestResult {
	return TestResult{Name: t.name, File: s.place(t.at.File), Line: t.at.Row, Column: t.at.Col, Outcome: o}
}

// place names a file of the policy or of the tests with its folder.
func (s *suite) place(name string) string {
	if _, test := s.tests[name]; test && s.src.Dir != "" {
		return path.Join(s.src.Dir, name)
	}
	return s.src.place(name)
}

// run runs the tests in both evaluators, at the same time.
func (s *suite) run(ctx context.Context) (*TestReport, error) {
	type outcome struct {
		answers map[string]answer
		err     error
	}
	sandboxed := make(chan outcome, 1)
	go func() {
		answers, err := s.runWasm(ctx)
		sandboxed <- outcome{answers, err}
	}()
	opa, coverage, err := s.runOPA(ctx)
	wasm := <-sandboxed
	if err = cmp.Or(err, wasm.err); err != nil { // a test that does not compile does so in neither; OPA says it better
		return nil, err
	}
	report := &TestReport{Tests: s.skipped, Coverage: coverage}
	var failed []string
	for i := range s.listed {
		r := s.judge(&s.listed[i], opa[s.listed[i].name], wasm.answers[s.listed[i].name])
		if r.Outcome == Failed && r.Message == doesNotHold {
			failed = append(failed, r.Name)
		}
		report.Tests = append(report.Tests, r)
	}
	slices.SortFunc(report.Tests, func(a, b TestResult) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return report, s.explain(ctx, report, failed)
}

// answer is what one evaluator says about a test.
type answer struct {
	ran     bool
	pass    bool
	cases   map[string]bool // of a test that has some: which passed
	err     error
	printed string
	took    time.Duration
}

// judge compares two answers.
func (s *suite) judge(t *listedTest, opa, wasm answer) TestResult {
	r := s.result(t, Passed)
	r.Printed, r.OPATime, r.WasmTime = opa.printed, opa.took, wasm.took
	for _, name := range slices.Sorted(maps.Keys(opa.cases)) {
		c := TestCase{name, Passed}
		if !opa.cases[name] {
			c.Outcome = Failed
		}
		if opa.cases[name] != wasm.cases[name] && wasm.err == nil {
			c.Outcome = Disagreed
		}
		r.Cases = append(r.Cases, c)
	}
	switch {
	case !opa.ran || !wasm.ran:
		r.Outcome, r.Message = Errored, "it was not run"
	case opa.err != nil && wasm.err != nil:
		r.Outcome, r.Message = Errored, "it cannot be evaluated: "+opa.err.Error()
	case opa.err != nil || wasm.err != nil || !t.cases && opa.pass != wasm.pass || !sameCases(opa.cases, wasm.cases):
		r.Outcome, r.Message = Disagreed, "OPA: "+opa.say()+"; in the sandbox: "+wasm.say()
	case t.cases && len(opa.cases) == 0:
		r.Outcome, r.Message = Failed, "it has no cases"
	case !opa.pass:
		r.Outcome, r.Message = Failed, doesNotHold
	}
	return r
}

// sameCases compares which cases passed. The sandbox does not tell of one that did not.
func sameCases(opa, wasm map[string]bool) bool {
	for name, pass := range opa {
		if wasm[name] != pass {
			return false
		}
	}
	for name := range wasm {
		if _, known := opa[name]; !known {
			return false
		}
	}
	return true
}

func (a answer) say() string {
	var passed []string
	for _, name := range slices.Sorted(maps.Keys(a.cases)) {
		if a.cases[name] {
			passed = append(passed, fmt.Sprintf("%q", name))
		}
	}
	switch {
	case a.err != nil:
		return "error: " + a.err.Error()
	case a.cases != nil && len(passed) == 0:
		return "no case holds"
	case a.cases != nil:
		return "holds for " + strings.Join(passed, ", ")
	case a.pass:
		return "it holds"
	}
	return doesNotHold
}

const doesNotHold = "it does not hold"
