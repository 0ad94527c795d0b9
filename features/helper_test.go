//go:build linux

package features

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// helped runs helpers for tests in a step: what they complain of is the step's error, what they clean up is cleaned up
// after the scenario.
func (w *world) helped(use func(testing.TB)) (err error) {
	t := &stepTB{world: w}
	defer func() {
		r := recover()
		if _, ended := r.(endOfStep); r != nil && !ended {
			panic(r)
		}
		err = errors.Join(t.complaints...)
	}()
	use(t)
	return nil
}

// stepTB is the part of a testing.TB that the helpers use; the rest of it is nil.
type stepTB struct {
	testing.TB
	world      *world
	complaints []error
}

type endOfStep struct{}

func (t *stepTB) Helper()             {}
func (t *stepTB) Name() string        { return "the scenario" }
func (t *stepTB) Logf(string, ...any) {}
func (t *stepTB) Errorf(format string, args ...any) {
	t.complaints = append(t.complaints, fmt.Errorf(format, args...))
}

func (t *stepTB) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	panic(endOfStep{})
}

func (t *stepTB) Cleanup(f func()) {
	t.world.restore = append(t.world.restore, func() error { return t.world.helped(func(testing.TB) { f() }) })
}

func (t *stepTB) TempDir() string {
	dir, err := os.MkdirTemp(t.world.dir, "temp")
	if err != nil {
		t.Fatalf("%v", err)
	}
	return dir
}

func (t *stepTB) Setenv(name, value string) {
	old, was := os.LookupEnv(name)
	t.world.restore = append(t.world.restore, func() error {
		if was {
			return os.Setenv(name, old)
		}
		return os.Unsetenv(name)
	})
	if err := os.Setenv(name, value); err != nil {
		t.Fatalf("%v", err)
	}
}
