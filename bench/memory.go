package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"github.com/llorch/secrets-management/policy"
)

// memoryChild is the first argument of a process that does nothing but open an engine.
const memoryChild = "-engine-memory"

// engineMiB is what an engine adds to a process: the difference of two fresh processes at their peaks, one with an engine
// of which both instances have decided, for as many services as it is told, and one that only has the data. A peak holds
// what compiling, or the collector, has yet to give back.
func engineMiB(services int) func() (float64, error) {
	return func() (float64, error) {
		without, err := peakMiB("0", services)
		if err != nil {
			return 0, err
		}
		with, err := peakMiB("1", services)
		return with - without, err
	}
}

// peakMiB runs this program as a child with or without an engine.
func peakMiB(engines string, services int) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(context.Background(), self, memoryChild, engines, fmt.Sprint(services)) //nolint:gosec // G204: itself
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("child: %w", err)
	}
	var mib float64
	_, err = fmt.Sscan(string(out), &mib)
	return mib, err
}

// child is that process. It prints its peak in MiB.
func child(args []string) (string, error) {
	var engines, n int
	if _, err := fmt.Sscan(strings.Join(args, " "), &engines, &n); err != nil {
		return "", err
	}
	data := services(n)
	if engines > 0 {
		e, err := engine(n, policy.Options{NoMemo: true})
		if err != nil {
			return "", err
		}
		defer e.Close()
		if err := everyInstance(e); err != nil {
			return "", err
		}
	}
	kib, err := statusKiB("VmHWM:")
	runtime.KeepAlive(data)
	return fmt.Sprint(float64(kib) / 1024), err
}

// everyInstance decides several times at once for long enough that both instances have been made.
func everyInstance(e *policy.Engine) error {
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for g := range errs {
		wg.Go(func() {
			decide := decider(e, request(false), true, &errs[g])
			for range 2_000 {
				decide()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// statusKiB reads a line of /proc/self/status.
func statusKiB(name string) (int, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, found := bytes.Cut(status, []byte(name))
	if !found {
		return 0, fmt.Errorf("/proc/self/status has no %s", name)
	}
	var n int
	_, err = fmt.Sscanf(string(rest), "%d kB", &n)
	return n, err
}
