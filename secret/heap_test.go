package secret

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

// hexByte is byte i of a content that exists nowhere as a whole: 64 hex digits, written and searched byte by byte.
func hexByte(i int) byte {
	return "0123456789abcdef"[(i*i*7+i*5+i/9+3)%16]
}

// fillHex is for New: it writes the content into the arena and nowhere else.
func fillHex(b []byte) (int, error) {
	for i := range b {
		b[i] = hexByte(i)
	}
	return len(b), nil
}

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

// TestNothingOnTheGoHeap: EXP-PERF-8001 (no needless copies), SM-THREAT-2001: whatever is done with a secret, no eight
// bytes of it are on the Go heap afterwards, nor of a key, plain or padded for HMAC.
func TestNothingOnTheGoHeap(t *testing.T) {
	runtime.GC()                                     // what an earlier test exposed
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // from here on nothing disappears
	s, err := New(64, fillHex)
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(64, fillHex)
	if err != nil {
		t.Fatal(err)
	}
	// The input comes from the arena too.
	err = other.Use(func(b []byte) error {
		if !s.VerifyBytes(b) || s.VerifyBytes(b[:63]) {
			t.Error("wrong verification")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	k, err := DecodeHexKey(s)
	if err != nil {
		t.Fatal(err)
	}
	mac, err := k.Sign([]byte("message"))
	if err != nil || !k.VerifyMAC([]byte("message"), mac) {
		t.Fatal(err)
	}
	nibbles := func(i int) byte {
		v, _ := nibble(hexByte(i))
		return byte(v)
	}
	key := func(i int) byte { return nibbles(2*i)<<4 | nibbles(2*i+1) }
	forms := map[string]pattern{
		"the end of the secret": func(i int) byte { return hexByte(56 + i) },
		"the secret":            hexByte,
		"the key":               key,
		"the end of the key":    func(i int) byte { return key(24 + i) },
		"the key with ipad":     func(i int) byte { return key(i) ^ 0x36 },
		"the key with opad":     func(i int) byte { return key(i) ^ 0x5c },
	}
	for name, n := range onGoHeap(t, forms) {
		if n != 0 {
			t.Errorf("SM-THREAT-2001: %s is there %d times", name, n)
		}
	}
	plain, err := s.Expose()
	if err != nil {
		t.Fatal(err)
	}
	controls := map[string]pattern{
		"the MAC":            func(i int) byte { return mac[i] },
		"the exposed secret": func(i int) byte { return hexByte(i) },
	}
	for name, n := range onGoHeap(t, controls) {
		if n == 0 {
			t.Errorf("control: %s is not found", name)
		}
	}
	if len(plain) != 64 || s.Close() != nil || other.Close() != nil || k.Close() != nil {
		t.Error("not closed")
	}
}
