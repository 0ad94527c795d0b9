package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	oparego "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/types"
	"github.com/open-policy-agent/opa/v1/util"
)

//go:embed exceptions.yaml
var exceptionsFile []byte

// opasExceptions is where OPA lists those of its own Wasm runtime.
const opasExceptions = "internal/wasm/sdk/test/e2e/exceptions.yaml"

// report is the result of a run.
type report struct {
	passed, excepted int
	failures         []string
	own              map[string]int // cases in which a builtin of services was called
}

func (r *report) total() int { return r.passed + r.excepted + len(r.failures) }

// good is false for a run of nothing.
func (r *report) good() bool { return len(r.failures) == 0 && r.passed > 0 }

func (r *report) String() string {
	return fmt.Sprintf("conformance: %d passed, %d failed, %d excepted of %d", r.passed, len(r.failures), r.excepted, r.total())
}

// run judges every case of the module in a folder.
func run(ctx context.Context, dir string, workers int) (*report, error) {
	all, err := load(dir)
	if err != nil {
		return nil, err
	}
	exceptions, err := readExceptions(filepath.Join(dir, opasExceptions))
	if err != nil {
		return nil, err
	}
	registerSleep()
	return judgeAll(ctx, all, exceptions, workers), nil
}

// readExceptions reads ours, each of which must be one of OPA's own for its Wasm runtime.
func readExceptions(opas string) (map[string]string, error) {
	var ours, theirs map[string]string
	raw, err := os.ReadFile(opas)
	if err == nil {
		err = errors.Join(util.Unmarshal(raw, &theirs), util.Unmarshal(exceptionsFile, &ours))
	}
	if err != nil {
		return nil, err
	}
	for note, reason := range ours {
		if theirs[note] == "" || reason == "" {
			return nil, fmt.Errorf("exceptions.yaml: %q is no exception of OPA's, or has no reason", note)
		}
	}
	return ours, nil
}

// judgeAll runs cases on several goroutines.
func judgeAll(ctx context.Context, all []testCase, exceptions map[string]string, workers int) *report {
	r := &report{own: map[string]int{}}
	used := map[string]bool{}
	todo := make(chan *testCase)
	var mu sync.Mutex // guards r and used
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for c := range todo {
				o, err := c.evaluate(ctx)
				if err == nil {
					err = c.judge(o)
				}
				mu.Lock()
				_, excepted := exceptions[c.Note]
				used[c.Note] = used[c.Note] || excepted
				r.add(c, o, err, excepted)
				mu.Unlock()
			}
		})
	}
	for i := range all {
		todo <- &all[i]
	}
	close(todo)
	wg.Wait()
	for note := range exceptions {
		if !used[note] {
			r.failures = append(r.failures, fmt.Sprintf("%s: excepted, and there is no such case", note))
		}
	}
	slices.Sort(r.failures)
	return r
}

func (r *report) add(c *testCase, o *outcome, err error, excepted bool) {
	switch {
	case err != nil && excepted:
		r.excepted++
	case err != nil:
		r.failures = append(r.failures, fmt.Sprintf("%s (%s): %v", c, filepath.Base(c.Filename), err))
	case excepted:
		r.failures = append(r.failures, fmt.Sprintf("%s: excepted, but it passes: take it out of exceptions.yaml", c))
	default:
		r.passed++
		for _, name := range o.builtins {
			r.own[name]++
		}
	}
}

// registerSleep gives OPA the one builtin that its cases need and that it has in its tests only.
func registerSleep() {
	oparego.RegisterBuiltin1(&oparego.Function{Name: "test.sleep", Decl: types.NewFunction(types.Args(types.S), types.Nl)},
		func(oparego.BuiltinContext, *ast.Term) (*ast.Term, error) { return ast.NullTerm(), nil })
}
