package secret

import (
	"bytes"
	"os"
	"reflect"
	"runtime"
	"testing"
	"time"
)

// TestMain runs one of the children below instead of the tests, when a test has started this binary again as one.
func TestMain(m *testing.M) {
	if name := os.Getenv(childVariable); name != "" {
		os.Exit(runChild(name))
	}
	os.Exit(m.Run())
}

const childVariable = "SECRET_TEST_CHILD"

// mustSecret makes a secret that the test closes at its end.
func mustSecret(tb testing.TB, content string) *Secret {
	tb.Helper()
	s, err := FromBytes([]byte(content))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func mustKey(tb testing.TB, content []byte) *Key {
	tb.Helper()
	k, err := NewKey(func(buf []byte) error {
		copy(buf, content)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := k.Close(); err != nil {
			tb.Error(err)
		}
	})
	return k
}

// copyOf returns a copy of what p points to, as an any. A plain copy is what go vet forbids, and what a careless caller
// does all the same.
func copyOf(p any) any {
	return reflect.ValueOf(p).Elem().Interface()
}

// leak returns the slot of c, to look at it when the secret is gone.
func leak(c *cell) []byte {
	return c.block.mem[:c.block.chunk.size]
}

func isZero(b []byte) bool {
	return len(bytes.Trim(b, "\x00")) == 0
}

// pin keeps the chunk of a slot mapped while the test looks at it: a chunk with nothing in it may be given back.
func pin(t *testing.T, n int) {
	t.Helper()
	b, err := shared.alloc(n, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reclaim(b) })
}

// eventually collects garbage until ok holds, and fails the test after ten seconds without.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
}

// liveSlots may fall at any time: what earlier tests left is reclaimed behind them. A slot is lost when it has risen.
func liveSlots() int {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if spare.hasher != nil {
		return shared.live - 1 // kept on purpose
	}
	return shared.live
}

func corruptedSlots() int {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	return shared.corrupted
}
