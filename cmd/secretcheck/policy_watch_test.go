package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// watched is what a command has written, while it runs.
type watched struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *watched) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// waits until something was watched that many times.
func (s *watched) waits(t *testing.T, what string, times int) {
	t.Helper()
	for range 600 {
		s.mu.Lock()
		n := strings.Count(s.text.String(), what)
		s.mu.Unlock()
		if n >= times {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%q was not watched %d times:\n%s", what, times, s.text.String())
}

// CHK-1218: a change runs the tests again, one that does not compile too, and nothing but the end of the command ends it.
func TestPolicyTestWatches(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("data.json", `{"secrets": {"services": {}}}`)
	put("a_test.rego", "package secrets.load_test\n\ntest_a if true\n")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var out watched
	cmd := newPolicyTest()
	cmd.SetArgs([]string{dir, "--watch"})
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	out.waits(t, "1 tests, 1 passed in both evaluators\n", 1)
	put("a_test.rego", "package secrets.load_test\n\ntest_a if 1 == 2\n")
	out.waits(t, "1 tests, 0 passed in both evaluators, 1 failed\n", 1)
	put("a_test.rego", "package secrets.load_test\n\nnonsense\n")
	out.waits(t, "a_test.rego:3:1: ", 1)
	put("a_test.rego", "package secrets.load_test\n\ntest_b if true\n")
	out.waits(t, "1 tests, 1 passed in both evaluators\n", 2)
	select {
	case err := <-ended:
		t.Fatalf("it ended: %v", err)
	default:
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}
