package main

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/llorch/secrets-management/policy"
)

// TestRun: a missed target is reported and fails, an empty selection fails, and the lines have the form that scripts read.
func TestRun(t *testing.T) {
	constant := func(v float64) func() (float64, error) { return func() (float64, error) { return v, nil } }
	tests := []struct {
		r    ratio
		line string
		met  bool
	}{
		{ratio{name: "a", limit: 0.1, measure: constant(0.1)}, "ratio a 0.1 target <= 0.1\n", true},
		{ratio{name: "a", limit: 0.1, measure: constant(0.11)}, "ratio a 0.11 target <= 0.1\n", false},
		{ratio{name: "b", atLeast: true, limit: 0.85, measure: constant(0.85)}, "ratio b 0.85 target >= 0.85\n", true},
		{ratio{name: "b", atLeast: true, limit: 0.85, measure: constant(0.8)}, "ratio b 0.8 target >= 0.85\n", false},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		value, err := tt.r.best()
		if met := tt.r.report(&out, value); err != nil || met != tt.met || out.String() != tt.line {
			t.Errorf("met %v, %q, error %v; want %v, %q", met, out.String(), err, tt.met, tt.line)
		}
	}
	var out, errs bytes.Buffer
	if code := run([]string{"^no such name$"}, &out, &errs); code != 2 {
		t.Errorf("nothing measured: exit code %d, want 2", code)
	}
	if code := run([]string{"^use_allocs$"}, &out, &errs); code != 0 || out.String() != "ratio use_allocs 0 target <= 0\n" {
		t.Errorf("exit code %d, %q", code, out.String())
	}
}

// TestLockedMemory: OPS-1004. It is a fact and no measurement, so that it can be a test.
func TestLockedMemory(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run([]string{"^secret_locked_mib_10k$"}, &out, &errs); code != 0 {
		t.Errorf("exit code %d, %s%s", code, out.String(), errs.String())
	}
}

// TestAllocations: POL-6002. It is a fact and no measurement.
func TestAllocations(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run([]string{"^(decision|memo)_allocs$"}, &out, &errs); code != 0 || bytes.Count(out.Bytes(), []byte("\n")) != 2 {
		t.Errorf("exit code %d, %s%s", code, out.String(), errs.String())
	}
}

// TestPeersAgree: every peer of a decision gives our verdict, and one that does not is found out.
func TestPeersAgree(t *testing.T) {
	var failed error
	for name, peer := range map[string]func(*policy.Request, bool, *error) (func(), error){"OPA": opaPeer, "its SDK": opaWasmPeer} {
		for _, open := range []bool{false, true} {
			decide, err := peer(request(open), !open, &failed)
			if err != nil {
				t.Fatal(err)
			}
			if decide(); failed != nil {
				t.Errorf("%s: %v", name, failed)
			}
		}
	}
	decide, err := cedarPeer(request(false), &failed)
	if err != nil {
		t.Fatal(err)
	}
	if decide(); failed != nil {
		t.Errorf("cedar: %v", failed)
	}
	if decide, err = cedarPeer(request(true), &failed); err != nil {
		t.Fatal(err)
	}
	if decide(); failed == nil {
		t.Error("a peer that denies is not found out")
	}
}

// TestMemoryChild: the process that is measured does what it says.
func TestMemoryChild(t *testing.T) {
	for _, args := range [][]string{{"0", "6"}, {"1", "6"}} {
		if mib, err := child(args); err != nil || mib == "0" || mib == "" {
			t.Errorf("%q: %q, error %v", args, mib, err)
		}
	}
	if _, err := child([]string{"one"}); err == nil {
		t.Error("it measures without being told what")
	}
}

// TestSpeedUpSeesSerialWork: the scaling of work behind a lock is far from that of arithmetic.
func TestSpeedUpSeesSerialWork(t *testing.T) {
	lock := make(chan struct{}, 1)
	serial, err := scaling(func(int) {
		lock <- struct{}{}
		arithmetic()
		<-lock
	})
	if errors.Is(err, errBusy) && os.Getenv("CI") != "true" {
		t.Logf("not run: %v", err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if serial > 0.8 {
		t.Errorf("serial work scales by %.2f of the control", serial)
	}
}
