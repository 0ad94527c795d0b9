package rego

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/util"
)

// FileCoverage is which lines of a file the tests come to, as OPA counts: those of rule heads and expressions.
type FileCoverage struct {
	File       string // with the folder
	Covered    int    // lines
	NotCovered []LineRange
}

// LineRange is a run of lines, from 1, both ends in it.
type LineRange struct{ From, To int }

// miss adds lines; those that follow on others, or are among them, are told together.
func (f *FileCoverage) miss(r LineRange) {
	if n := len(f.NotCovered); n > 0 && r.From <= f.NotCovered[n-1].To+1 {
		f.NotCovered[n-1].To = max(f.NotCovered[n-1].To, r.To)
		return
	}
	f.NotCovered = append(f.NotCovered, r)
}

// Missed is the number of lines that no test comes to.
func (f *FileCoverage) Missed() int {
	n := 0
	for _, r := range f.NotCovered {
		n += r.To - r.From + 1
	}
	return n
}

// Covered is the share of lines that tests come to, in percent, and whether there are any lines at all.
func Covered(files []FileCoverage) (percent float64, any bool) {
	covered, missed := 0, 0
	for i := range files {
		covered, missed = covered+files[i].Covered, missed+files[i].Missed()
	}
	if covered+missed == 0 {
		return 0, false
	}
	return 100 * float64(covered) / float64(covered+missed), true
}

// maxExpression bounds what is told of an expression and its values, in bytes.
const maxExpression = 2 << 10

// testCapabilities are those of the sandbox, and what OPA's runner has the compiler put into tests.
func testCapabilities() *ast.Capabilities {
	caps := capabilities()
	caps.Builtins = append(caps.Builtins, ast.InternalPrint, ast.InternalTestCase)
	return caps
}

// runner is OPA's own, over the policy's data.
func (s *suite) runner() (*tester.Runner, func(context.Context) ([]*tester.Result, error), error) {
	modules, err := s.modules()
	if err != nil {
		return nil, nil, err
	}
	compiler, err := compiler()
	if err != nil {
		return nil, nil, err
	}
	data := map[string]any{}
	if s.src.Data != nil {
		if err := util.Unmarshal(s.src.Data, &data); err != nil {
			return nil, nil, err
		}
	}
	compiler = compiler.WithCapabilities(testCapabilities()).WithEnablePrintStatements(true)
	store := inmem.NewFromObject(data)
	runner := tester.NewRunner().SetCompiler(compiler).SetStore(store).SetModules(modules)
	return runner, func(ctx context.Context) ([]*tester.Result, error) {
		txn, err := store.NewTransaction(ctx, storage.TransactionParams{})
		if err != nil {
			return nil, err
		}
		defer store.Abort(ctx, txn)
		results, err := runner.RunTests(ctx, txn)
		if err != nil {
			return nil, err
		}
		var list []*tester.Result
		for r := range results {
			list = append(list, r)
		}
		return list, ctx.Err()
	}, nil
}

// runOPA answers the tests by OPA's evaluator.
func (s *suite) runOPA(ctx context.Context) (map[string]answer, []FileCoverage, error) {
	runner, run, err := s.runner()
	if err != nil {
		return nil, nil, err
	}
	trace := cover.New()
	if s.opts.Coverage {
		runner.SetCoverageQueryTracer(trace).SetCoverageRuns(nil)
	}
	results, err := run(ctx)
	if err != nil {
		return nil, nil, err
	}
	answers := map[string]answer{}
	for _, r := range results {
		a := answer{ran: true, pass: r.Pass(), err: r.Error, printed: string(r.Output), took: r.Duration}
		if len(r.SubResults) > 0 {
			a.cases = map[string]bool{}
			for name, sub := range r.SubResults.Iter {
				if len(sub.SubResults) == 0 {
					a.cases[strings.Join(name, ".")] = !sub.Fail
				}
			}
		}
		answers[r.Package+"."+r.Name] = a
	}
	if !s.opts.Coverage {
		return answers, nil, nil
	}
	coverage, err := s.coverage(trace)
	return answers, coverage, err
}

// coverage tells of the policy's own files.
func (s *suite) coverage(trace *cover.Cover) ([]FileCoverage, error) {
	own, err := parse(s.src.Modules)
	if err != nil {
		return nil, err
	}
	report := trace.Report(own)
	files := []FileCoverage{}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		f := FileCoverage{File: s.place(name), NotCovered: []LineRange{}}
		if told := report.Files[name]; told != nil {
			f.Covered = told.CoveredLines
			for _, r := range told.NotCovered {
				f.miss(LineRange{r.Start.Row, r.End.Row})
			}
		}
		files = append(files, f)
	}
	return files, nil
}

// explain runs tests that failed once more, with a trace, and adds which expression did not hold.
func (s *suite) explain(ctx context.Context, report *TestReport, failed []string) error {
	if len(failed) == 0 {
		return nil
	}
	runner, run, err := s.runner()
	if err != nil {
		return err
	}
	quoted := make([]string, len(failed))
	for i, name := range failed {
		quoted[i] = regexp.QuoteMeta(name)
	}
	runner.EnableTracing(true).Filter("^(" + strings.Join(quoted, "|") + ")$")
	results, err := run(ctx)
	if err != nil {
		return err
	}
	for _, r := range results {
		name := r.Package + "." + r.Name
		for i := range report.Tests {
			if t := &report.Tests[i]; t.Name == name {
				s.blame(t, r.Trace)
			}
		}
	}
	return nil
}

// blame finds the last expression that failed, as OPA's reporter does.
func (s *suite) blame(t *TestResult, trace []*topdown.Event) {
	for _, e := range slices.Backward(trace) {
		expr, isExpr := e.Node.(*ast.Expr)
		if e.Op != topdown.FailOp || e.Location == nil || e.QueryID == 0 || !isExpr {
			continue
		}
		if _, every := expr.Terms.(*ast.Every); every {
			continue // what failed within it came before
		}
		var b bytes.Buffer
		if err := topdown.PrettyEvent(&b, e, topdown.PrettyEventOpts{PrettyVars: true}); err != nil {
			return
		}
		t.FailedFile, t.FailedLine = s.place(e.Location.File), e.Location.Row
		t.Expression = strings.TrimRight(b.String(), "\n")
		if len(t.Expression) > maxExpression {
			t.Expression = strings.ToValidUTF8(t.Expression[:maxExpression], "") + "…"
		}
		t.Message = fmt.Sprintf("%s: %s:%d", doesNotHold, t.FailedFile, t.FailedLine)
		return
	}
}
