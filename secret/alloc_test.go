//go:build !race

package secret

import (
	"strconv"
	"testing"
	"unsafe"
)

// TestCellHasItsOwnCacheLines: EXP-PERF-8001: neighbours on the Go heap do not share a line that both write.
func TestCellHasItsOwnCacheLines(t *testing.T) {
	if size := unsafe.Sizeof(cell{}); strconv.IntSize == 64 && size != 128 {
		t.Errorf("a cell of %d bytes, want 128: change the padding", size)
	}
}

// TestNoAllocations: EXP-PERF-8001. Under the race detector sync.Pool drops entries at random, hence the build tag.
func TestNoAllocations(t *testing.T) {
	s := mustSecret(t, token64)
	k := mustKey(t, []byte("k"))
	input, msg := []byte(token64), []byte("a message")
	mac, err := k.Sign(msg)
	if err != nil {
		t.Fatal(err)
	}
	if !k.VerifyMAC(msg, mac) {
		t.Fatal("the MAC does not verify")
	}
	for name, f := range map[string]func(){
		"Use":         func() { _ = s.Use(func([]byte) error { return nil }) },
		"Verify":      func() { s.Verify(token64) },
		"VerifyBytes": func() { s.VerifyBytes(input) },
		"VerifyMAC":   func() { k.VerifyMAC(msg, mac) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = k.Sign(msg) }); n != 1 {
		t.Errorf("Sign: %v allocations, want the control's 1", n)
	}
}
