package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// state is what became of a mutant.
type state string

const (
	stateKilled   state = "killed"
	stateSurvived state = "SURVIVED"
	stateNotThere state = "DOES NOT APPLY"
	stateNoBuild  state = "DOES NOT COMPILE"
	stateUnclear  state = "NOT JUDGED" // the tests do not pass without it, or ended without a failing one
)

// verdict is the end of one mutant, and why: the test that killed it, or what went wrong.
type verdict struct {
	mutant mutant
	state  state
	why    string
	took   time.Duration
}

func (v verdict) String() string {
	return fmt.Sprintf("%-8s  %s  %s (%.1fs)", v.state, v.mutant.name, v.why, v.took.Seconds())
}

// workers is how many mutants are judged at a time. Most of the time is the linker's, which uses more than one processor.
const workers = 2

// runner builds tests with mutants and runs them.
type runner struct {
	dir   string        // of the module
	tmp   string        // all that is written goes here
	limit time.Duration // of the tests of one mutant

	controls sync.Map // by package and pattern: func() error
	plain    sync.Map // by package: func() (string, error), the tests without a mutant
}

func newRunner(dir string, limit time.Duration) (*runner, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return nil, err
	}
	r := &runner{dir: dir, tmp: tmp, limit: limit}
	if err := errors.Join(os.Chmod(tmp, 0o755), r.copyTree()); err != nil { // asnobody runs tests here too
		r.close()
		return nil, err
	}
	return r, nil
}

// copyTree makes the folders that tests run in, since a failing test may write beside itself, as rapid does.
func (r *runner) copyTree() error {
	return filepath.WalkDir(r.dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(r.dir, name)
		to := filepath.Join(r.tmp, "tree", rel)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (rel == ".git" || rel == ".tools" || rel == "bin"):
			return fs.SkipDir
		case entry.IsDir():
			return os.Mkdir(to, 0o755)
		case !entry.Type().IsRegular():
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(to, content, info.Mode().Perm())
	})
}

func (r *runner) close() { _ = os.RemoveAll(r.tmp) }

// judge gives the verdicts in the order in which they come.
func (r *runner) judge(ctx context.Context, list []mutant) iter.Seq[verdict] {
	todo, done := make(chan int), make(chan verdict)
	var busy sync.WaitGroup
	for range workers {
		busy.Go(func() {
			for i := range todo {
				start := time.Now()
				v := r.one(ctx, list[i], strconv.Itoa(i))
				v.took = time.Since(start)
				done <- v
			}
		})
	}
	go func() {
		for i := range list {
			todo <- i
		}
		close(todo)
		busy.Wait()
		close(done)
	}()
	return func(yield func(verdict) bool) {
		for v := range done {
			if !yield(v) {
				return
			}
		}
	}
}

// one judges one mutant; id is a name for its files.
func (r *runner) one(ctx context.Context, m mutant, id string) verdict {
	v := verdict{mutant: m}
	overlay, err := r.overlay(m, id)
	if err != nil {
		v.state, v.why = stateNotThere, err.Error()
		return v
	}
	if err := r.control(ctx, m); err != nil {
		v.state, v.why = stateUnclear, err.Error()
		return v
	}
	tests := filepath.Join(r.tmp, id+".test")
	defer os.Remove(tests) //nolint:errcheck // all of tmp goes in the end
	if err := r.build(ctx, m.pkg, tests, "-overlay="+overlay); err != nil {
		v.state, v.why = stateNoBuild, err.Error()
		return v
	}
	out, err := r.test(ctx, m, tests)
	killer, failed := failing(out)
	switch {
	case err == nil:
		v.state, v.why = stateSurvived, fmt.Sprintf("%s %s", m.pkg, m.pattern)
	case !failed:
		v.state, v.why = stateUnclear, fmt.Sprintf("no test failed, and yet: %v%s", err, tail(out))
	default:
		v.state, v.why = stateKilled, killer
	}
	return v
}

// overlay writes the mutated file and what has the Go command take it for the one in the tree, embedded ones included.
func (r *runner) overlay(m mutant, id string) (string, error) {
	file := filepath.Join(r.dir, filepath.FromSlash(m.file))
	source, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	mutated, err := m.apply(string(source))
	if err != nil {
		return "", err
	}
	instead := filepath.Join(r.tmp, id+filepath.Ext(m.file))
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: instead}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(r.tmp, id+".json")
	return overlay, errors.Join(os.WriteFile(instead, []byte(mutated), 0o600), os.WriteFile(overlay, replace, 0o600))
}

// control makes sure, once for all mutants with the same tests, that there are such tests and that they pass.
func (r *runner) control(ctx context.Context, m mutant) error {
	check, _ := r.controls.LoadOrStore(m.pkg+" "+m.pattern, sync.OnceValue(func() error {
		tests, err := r.unmutated(ctx, m.pkg)
		if err != nil {
			return err
		}
		out, err := r.test(ctx, m, tests)
		switch {
		case err != nil:
			return fmt.Errorf("without the mutant the tests do not pass: %w%s", err, tail(out))
		case !strings.Contains(out, "--- PASS: "):
			return fmt.Errorf("%s has no test like %q", m.pkg, m.pattern)
		}
		return nil
	}))
	run, _ := check.(func() error)
	return run()
}

// unmutated builds the tests of a package as they are, once.
func (r *runner) unmutated(ctx context.Context, pkg string) (string, error) {
	build, _ := r.plain.LoadOrStore(pkg, sync.OnceValues(func() (string, error) {
		tests := filepath.Join(r.tmp, strings.ReplaceAll(pkg, "/", "_")+".test")
		return tests, r.build(ctx, pkg, tests)
	}))
	run, _ := build.(func() (string, error))
	return run()
}

// build compiles the tests of a package, without what a debugger needs: that takes the linker as long as all the rest.
func (r *runner) build(ctx context.Context, pkg, tests string, flags ...string) error {
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"test", "-c", "-ldflags=-s -w", "-o", tests}, flags...), pkg)...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w%s", err, tail(string(out)))
	}
	if _, err := os.Stat(tests); err != nil {
		return fmt.Errorf("%s has no tests", pkg)
	}
	return nil
}

// test runs the tests that are to kill a mutant, in a copy of the folder of their package.
func (r *runner) test(ctx context.Context, m mutant, tests string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	// In one word each: asnobody passes them on so.
	cmd := exec.CommandContext(ctx, tests, "-test.run="+m.pattern, "-test.v", "-test.failfast", "-test.paniconexit0")
	cmd.Dir = filepath.Join(r.tmp, "tree", filepath.FromSlash(m.pkg))
	cmd.WaitDelay = time.Second // for what a test started and left behind
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return "", fmt.Errorf("the tests did not end within %v", r.limit)
	}
	return string(out), err
}

// failing finds the test that failed first.
func failing(out string) (string, bool) {
	_, rest, found := strings.Cut(out, "--- FAIL: ")
	name, _, _ := strings.Cut(rest, " ")
	return name, found
}

// tail is the end of an output, on lines of its own.
func tail(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	lines = lines[max(0, len(lines)-12):]
	return "\n\t" + strings.Join(lines, "\n\t")
}
