package kdf

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/llorch/secrets-management/secret"
)

// pattern says which byte is searched for at place i.
type pattern func(i int) byte

// onGoHeap counts how often the first eight bytes of each pattern occur in the objects of the Go heap, those that died
// since the last collection included, and on the stacks.
func onGoHeap(t *testing.T, patterns map[string]pattern) map[string]int {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "heap"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	debug.WriteHeapDump(f.Fd())
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	size, keep := 0, 0
	buf := make([]byte, 1<<16) // the dump itself must not come onto the heap
	for {
		n, err := io.ReadFull(f, buf[keep:])
		size += n
		for name, at := range patterns {
			found[name] += occurrences(buf[:keep+n], at)
		}
		if err != nil {
			break
		}
		keep = copy(buf, buf[len(buf)-7:])
	}
	clear(buf)
	if size < 1<<16 {
		t.Fatalf("a heap dump of %d bytes", size)
	}
	return found
}

func occurrences(text []byte, at pattern) int {
	n := 0
	for start := range max(len(text)-7, 0) {
		i := 0
		for i < 8 && text[start+i] == at(i) {
			i++
		}
		if i == 8 {
			n++
		}
	}
	return n
}

// TestTokenNotOnTheGoHeap: SM-LOAD-4003, SM-THREAT-2001. Neither the start nor the end of the token stays on the Go heap,
// and of the key only what the package documentation admits: the one copy inside crypto/hkdf.
func TestTokenNotOnTheGoHeap(t *testing.T) {
	runtime.GC()                                     // what an earlier test exposed
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // from here on nothing disappears
	tokenByte := func(i int) byte { return byte(i*i*7 + i*13 + 5) }
	token, err := secret.New(50, func(b []byte) (int, error) {
		for i := range b {
			b[i] = tokenByte(i)
		}
		return len(b), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := Derive(token, SealKeyV1)
	if err != nil {
		t.Fatal(err)
	}
	err = key.Use(func(b []byte) error {
		found := onGoHeap(t, map[string]pattern{
			"token":            tokenByte,
			"end of the token": func(i int) byte { return tokenByte(42 + i) },
			"key":              func(i int) byte { return b[i] },
		})
		if found["token"] != 0 || found["end of the token"] != 0 || found["key"] > 1 {
			t.Errorf("found on the heap: %v, want at most one key", found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := token.Expose()
	if err != nil {
		t.Fatal(err)
	}
	if found := onGoHeap(t, map[string]pattern{"token": tokenByte}); found["token"] == 0 {
		t.Error("control: the exposed token is not found")
	}
	if len(plain) != 50 || token.Close() != nil || key.Close() != nil {
		t.Error("not closed")
	}
}
