package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestCHK1155Wait: CHK-1155. What is at work is asked how far it is until it is done, and left alone when it is interrupted.
func TestCHK1155Wait(t *testing.T) {
	var ticks atomic.Int32
	asked := make(chan struct{})
	tick := func() {
		if ticks.Add(1) == 2 {
			close(asked)
		}
	}
	got, err := wait(t.Context(), tick, func() (string, error) { <-asked; return "done", nil })
	if got != "done" || err != nil || ticks.Load() < 2 {
		t.Errorf("%q %v after %d ticks", got, err, ticks.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	never := make(chan struct{})
	defer close(never)
	time.AfterFunc(20*time.Millisecond, cancel)
	if got, err := wait(ctx, func() {}, func() (string, error) { <-never; return "late", nil }); got != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("%q %v", got, err)
	}
}

// TestCHK1155Whole: CHK-1155. A report that cannot be finished leaves what was there, and nothing beside it.
func TestCHK1155Whole(t *testing.T) {
	dir := t.TempDir()
	name, link := filepath.Join(dir, "report"), filepath.Join(dir, "link")
	writing := func(text string, err error) func(io.Writer) error {
		return func(w io.Writer) error {
			if _, werr := io.WriteString(w, text); werr != nil {
				return werr
			}
			return err
		}
	}
	has := func(want string, mode os.FileMode) {
		t.Helper()
		got, err := os.ReadFile(name)
		info, serr := os.Stat(name)
		if string(got) != want || err != nil || serr != nil || info.Mode() != mode {
			t.Errorf("%q %v %v, want %q", got, info, err, want)
		}
		if all, err := os.ReadDir(dir); err != nil || len(all) > 2 {
			t.Errorf("%v %v", all, err)
		}
	}
	if err := writeReport(name, writing("ha", io.ErrShortWrite)); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("half of a report is left")
	}
	if err := writeReport(name, writing("one", nil)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o604); err != nil {
		t.Fatal(err)
	}
	if err := writeReport(name, writing("tw", io.ErrShortWrite)); err == nil {
		t.Error("no error")
	}
	has("one", 0o604)
	if err := os.Symlink("report", link); err != nil {
		t.Fatal(err)
	}
	if err := writeReport(link, writing("two", nil)); err != nil {
		t.Fatal(err)
	}
	has("two", 0o604)
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v %v", info, err)
	}
	err := writeReport(filepath.Join(dir, "nowhere", "r"), writing("x", nil))
	if err == nil || !strings.Contains(err.Error(), filepath.Join("nowhere", "r")+": ") {
		t.Errorf("%v", err)
	}
}

// TestCHK1154Hints: CHK-1154. The scripts fail on an error without a next step; what they look for would be seen.
func TestCHK1154Hints(t *testing.T) {
	for stderr, want := range map[string]bool{
		"secretcheck: x\n": true, "secretcheck: x\nhint: y\n": false, "note\nsecretcheck: x: hint: y\n": true,
		"checked p: 0 errors\n": false, "": false, "secretcheck: interrupted; there is no result\n": false,
	} {
		if unaided(stderr) != want {
			t.Errorf("%q: %v", stderr, !want)
		}
	}
	for _, err := range []error{os.ErrNotExist, &os.PathError{Err: os.ErrPermission}} {
		if nextStep(err) == "" {
			t.Errorf("no hint for %v", err)
		}
	}
	if got := nextStep(errors.New("x")); got != "" {
		t.Error(got)
	}
}

// unaided reports an error of secretcheck that says no next step: CHK-1154, in every script there is.
func unaided(stderr string) bool {
	return strings.Contains("\n"+stderr, "\nsecretcheck: ") && !strings.Contains("\n"+stderr, "\nhint: ") && !strings.Contains(stderr, "interrupted")
}
