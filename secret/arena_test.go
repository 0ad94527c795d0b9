package secret

import (
	"bytes"
	"errors"
	"os"
	"testing"
)

// TestCanary: a write past the end of a slot is found, wiped and reported, without a panic.
func TestCanary(t *testing.T) {
	pin(t, 160-canarySize)
	damage := func(t *testing.T) (*Secret, []byte) {
		s, err := FromBytes([]byte(content))
		if err != nil {
			t.Fatal(err)
		}
		slot := leak(s.cell())
		slot[len(slot)-canarySize] ^= 1 // the first byte that is not the owner's
		return s, slot
	}
	t.Run("SEC-SECRET-005 reported by Close, each time", func(t *testing.T) {
		before := corruptedSlots()
		s, slot := damage(t)
		for range 2 {
			if err := s.Close(); !errors.Is(err, ErrCorrupted) {
				t.Errorf("error %v, want %v", err, ErrCorrupted)
			}
		}
		if !isZero(slot) {
			t.Error("SM-SEC-5001: not wiped")
		}
		if n := corruptedSlots() - before; n != 1 {
			t.Errorf("counted %d times", n)
		}
	})
	t.Run("SEC-SECRET-005 reported by the last use", func(t *testing.T) {
		s, slot := damage(t)
		err := s.Use(func([]byte) error {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			return errFill
		})
		if !errors.Is(err, ErrCorrupted) || !errors.Is(err, errFill) || !isZero(slot) {
			t.Errorf("error %v, wiped %v", err, isZero(slot))
		}
		if err := s.Close(); !errors.Is(err, ErrCorrupted) {
			t.Errorf("a later Close: %v", err)
		}
	})
	t.Run("SEC-SECRET-005 a copied canary is wrong", func(t *testing.T) {
		a, b := mustSecret(t, content), mustSecret(t, content)
		slotA, slotB := leak(a.cell()), leak(b.cell())
		if bytes.Equal(slotA[len(slotA)-canarySize:], slotB[len(slotB)-canarySize:]) {
			t.Error("two slots have the same canary")
		}
	})
}

// TestSlotsAreSeparate: many secrets share pages and no byte, and a freed slot is zero for its next owner.
func TestSlotsAreSeparate(t *testing.T) {
	var a arena
	var blocks []block
	for i := range 3000 {
		b, err := a.alloc(1+i*7%5000, false)
		if err != nil {
			t.Fatal(err)
		}
		if !isZero(b.mem) {
			t.Fatal("SM-SEC-5001: a slot is not zero when it is handed out")
		}
		for j := range b.mem {
			b.mem[j] = byte(i)
		}
		blocks = append(blocks, b)
		if i%3 == 2 { // one of three goes back, so that slots are used again
			victim := i * 31 % len(blocks)
			checkFill(t, blocks[victim].mem)
			if err := a.free(blocks[victim]); err != nil {
				t.Fatal(err)
			}
			blocks = append(blocks[:victim], blocks[victim+1:]...)
		}
	}
	if a.live != len(blocks) {
		t.Errorf("%d slots counted, want %d", a.live, len(blocks))
	}
	for _, b := range blocks {
		checkFill(t, b.mem)
		if err := a.free(b); err != nil {
			t.Fatal(err)
		}
	}
	for i := range a.classes {
		total := 0
		for _, c := range a.classes[i].partial {
			total += len(c.region.data)
		}
		if total != a.classes[i].bytes {
			t.Errorf("class %d counts %d bytes and has %d", i, a.classes[i].bytes, total)
		}
	}
	if a.live != 0 || a.corrupted != 0 || a.regions > len(slotSizes) {
		t.Errorf("at the end %d slots, %d damaged, %d mappings", a.live, a.corrupted, a.regions)
	}
}

func checkFill(t *testing.T, mem []byte) {
	t.Helper()
	if !bytes.Equal(mem, bytes.Repeat(mem[:1], len(mem))) {
		t.Fatal("another owner wrote into a slot")
	}
}

// TestManySecretsShareMemory: the stated size of 10,000 tokens of 64 bytes, at most 4 MiB of pages.
func TestManySecretsShareMemory(t *testing.T) {
	var a arena
	for range 10_000 {
		b, err := a.alloc(verifierSize+64, false)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := a.free(b); err != nil {
				t.Error(err)
			}
		}()
	}
	if got := a.classes[tokenClass].bytes; got > 4<<20 || got < 10_000*128 {
		t.Errorf("SM-PURPOSE-1001: %d bytes mapped, want at most 4 MiB", got)
	}
	if a.regions > 40 {
		t.Errorf("%d mappings", a.regions)
	}
	t.Logf("%d bytes in %d mappings", a.classes[tokenClass].bytes, a.regions)
}

func TestClassOf(t *testing.T) {
	tests := []struct{ n, size int }{
		{1, 64}, {48, 64}, {49, 160}, {144, 160}, {145, 256}, {4080, 4096},
	}
	for _, tt := range tests {
		if got := slotSizes[classOf(tt.n)]; got != tt.size {
			t.Errorf("%d bytes: slot of %d, want %d", tt.n, got, tt.size)
		}
	}
	if classOf(4081) != len(slotSizes) {
		t.Error("4081 bytes have a class")
	}
	for _, size := range slotSizes {
		if size%16 != 0 || size > os.Getpagesize() {
			t.Errorf("slots of %d bytes do not fit a page, or break alignment", size)
		}
	}
}

// TestShrink: a token that was read into a large buffer does not keep it.
func TestShrink(t *testing.T) {
	pin(t, 1)
	s, err := New(MaxSize, func(b []byte) (int, error) { return copy(b, content), nil })
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if size := s.cell().block.chunk.size; size != 160 && s.Level() == ProtectionLevel() {
		t.Errorf("a slot of %d bytes, want 160", size)
	}
	if !s.Verify(content) {
		t.Error("the content was lost on the way")
	}
}

func TestLevels(t *testing.T) {
	s, k := mustSecret(t, content), mustKey(t, []byte(content))
	for _, l := range []Level{ProtectionLevel(), s.Level(), k.Level()} {
		switch l {
		case LevelMemfdSecret, LevelLocked, LevelHeap:
		default:
			t.Errorf("unknown level %q", l)
		}
	}
	t.Logf("this process gets %s", ProtectionLevel())
}

// TestLargeBufferShrinks: what a large buffer does not need goes back, though it is more than the largest slot.
func TestLargeBufferShrinks(t *testing.T) { // EXP-PERF-8001
	s, err := New(1<<20, func(buf []byte) (int, error) {
		for i := range 5000 {
			buf[i] = byte(i)
		}
		return 5000, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if size := s.cell().block.chunk.size; size > 2*os.Getpagesize() {
		t.Errorf("5000 bytes hold a slot of %d", size)
	}
	if err := s.Use(func(b []byte) error {
		if len(b) != 5000 || b[4999] != byte(4999&0xff) {
			return errors.New("other content")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
