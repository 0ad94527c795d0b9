// Command mutate breaks the code on purpose, one small mutant of testdata/mutants at a time, and fails when the tests that
// are named for it do not notice. A mutant is given to the Go command as an overlay: no file of the tree is touched.
//
//	go run ./internal/mutate [REGEXP]
//
// The regular expression selects mutants by name. Killed is a mutant that compiles and makes a test fail; everything else,
// such as one that does not apply or that the tests only hang on, is a failure of this command.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, ".", os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run judges the mutants of the module in dir. It returns 0 when there are some and all are killed, else 1.
func run(ctx context.Context, dir string, args []string, stdout, stderr io.Writer) int {
	list, err := selected(dir, args)
	if err != nil {
		fmt.Fprintln(stderr, "mutate:", err)
		return 1
	}
	r, err := newRunner(dir, time.Minute)
	if err != nil {
		fmt.Fprintln(stderr, "mutate:", err)
		return 1
	}
	defer r.close()
	count := map[state]int{}
	for v := range r.judge(ctx, list) {
		fmt.Fprintln(stdout, v)
		count[v.state]++
	}
	fmt.Fprintf(stdout, "mutants: %d killed, %d survived of %d\n", count[stateKilled], count[stateSurvived], len(list))
	if count[stateKilled] != len(list) {
		return 1
	}
	return 0
}

// selected reads the list and keeps the mutants that the argument names. None is an error: an empty run proves nothing.
func selected(dir string, args []string) ([]mutant, error) {
	if len(args) > 1 {
		return nil, fmt.Errorf("%d arguments, at most one regular expression is taken", len(args))
	}
	all, err := readAll(os.DirFS(dir))
	if err != nil || len(args) == 0 {
		return all, err
	}
	wanted, err := regexp.Compile(args[0])
	if err != nil {
		return nil, err
	}
	var list []mutant
	for _, m := range all {
		if wanted.MatchString(m.name) {
			list = append(list, m)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no mutant is called as %q", args[0])
	}
	return list, nil
}
