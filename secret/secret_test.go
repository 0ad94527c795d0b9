package secret

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var errFill = errors.New("fill refused")

// TestNewRefuses: SEC-SECRET-001..005 (no panic on any size), SM-TYPE-3003 (typed errors). Nothing stays allocated.
func TestNewRefuses(t *testing.T) {
	fill := func(n int, err error) func([]byte) (int, error) {
		return func(b []byte) (int, error) {
			copy(b, "canary-canary-canary")
			return n, err
		}
	}
	tests := []struct {
		name string
		size int
		fill func([]byte) (int, error)
		want error // nil: any error
	}{
		{"no size", 0, fill(1, nil), ErrEmpty},
		{"negative size", -1, fill(1, nil), ErrEmpty},
		{"most negative size", math.MinInt, fill(1, nil), ErrEmpty},
		{"one byte over the maximum", MaxSize + 1, fill(1, nil), ErrTooLarge},
		{"largest int", math.MaxInt, fill(1, nil), ErrTooLarge},
		{"no content", 16, fill(0, nil), ErrEmpty},
		{"fill fails", 16, fill(5, errFill), errFill},
		{"fill reports a negative count", 16, fill(-1, nil), nil},
		{"fill reports more than it got", 16, fill(17, nil), nil},
		{"fill reports the slot's true size", 16, fill(144, nil), nil},
		{"no function", 16, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := liveSlots()
			s, err := New(tt.size, tt.fill)
			if s != nil || err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got secret %v, error %v; want error %v", s != nil, err, tt.want)
			}
			if after := liveSlots(); after > before {
				t.Errorf("%d slots in use, %d before", after, before)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Error("the error contains content")
			}
		})
	}
}

func TestNewKeepsWhatFillWrote(t *testing.T) {
	for _, size := range []int{1, 80, 81, 4016, 4017, 4096, 70000, MaxSize} {
		kept := (size + 1) / 2
		want := bytes.Repeat([]byte{0xa5}, kept)
		s, err := New(size, func(b []byte) (int, error) {
			if len(b) != size || cap(b) != size || !isZero(b) {
				t.Errorf("size %d: fill got length %d, capacity %d, zero %v", size, len(b), cap(b), isZero(b))
			}
			for i := range b {
				b[i] = 0xa5
			}
			return kept, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Use(func(b []byte) error {
			if !bytes.Equal(b, want) || cap(b) != kept {
				t.Errorf("size %d: the content differs, or has spare capacity (%d for %d)", size, cap(b), kept)
			}
			return nil
		})
		if err != nil || !s.VerifyBytes(want) || s.VerifyBytes(append(want, 0xa5)) {
			t.Errorf("size %d: use %v, or a wrong verification", size, err)
		}
		// SM-SEC-5001: what fill wrote beyond the content is gone although the secret lives.
		if rest := leak(s.cell())[verifierSize+kept : len(leak(s.cell()))-canarySize]; !isZero(rest) {
			t.Errorf("size %d: the rest of the slot is not wiped", size)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFillPanicIsWiped(t *testing.T) {
	pin(t, 64)
	before := liveSlots()
	var slot []byte
	func() {
		defer func() {
			if recover() != "mine" {
				t.Error("the panic did not pass through")
			}
		}()
		_, _ = New(10, func(b []byte) (int, error) {
			slot = b
			copy(b, "0123456789")
			panic("mine")
		})
	}()
	if !isZero(slot) || liveSlots() > before {
		t.Error("SM-SEC-5001: the slot of a fill that panicked is not wiped and free")
	}
}

func TestFromBytes(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"nil", nil, ErrEmpty},
		{"empty", []byte{}, ErrEmpty},
		{"too large", bytes.Repeat([]byte("x"), MaxSize+1), ErrTooLarge},
		{"one byte", []byte("x"), nil},
		{"largest", bytes.Repeat([]byte("x"), MaxSize), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			content := string(tt.in)
			s, err := FromBytes(tt.in)
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if !isZero(tt.in) {
				t.Error("SEC-SECRET-015: the caller's slice is not wiped")
			}
			if tt.want == nil {
				if got, err := s.Expose(); err != nil || got != content {
					t.Errorf("expose differs from what went in (error %v)", err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestVerify: SM-TYPE-3002 and SEC-SECRET-030..033, the functional half of SM-SEC-5003: every byte and the length count.
func TestVerify(t *testing.T) {
	content := "T0ken-" + strings.Repeat("abcdefghij", 7)
	s := mustSecret(t, content)
	t.Run("SM-SEC-5003 match", func(t *testing.T) {
		if !s.Verify(content) || !s.VerifyBytes([]byte(content)) {
			t.Error("the right input does not verify")
		}
	})
	t.Run("SM-SEC-5003 every byte counts", func(t *testing.T) {
		for i := range len(content) {
			in := []byte(content)
			in[i] ^= 1
			if s.VerifyBytes(in) || s.Verify(string(in)) {
				t.Errorf("verifies with byte %d changed", i)
			}
		}
	})
	t.Run("SM-SEC-5003 every length counts", func(t *testing.T) {
		for i := range len(content) {
			if s.Verify(content[:i]) {
				t.Errorf("verifies by its first %d bytes", i)
			}
		}
		for _, more := range []string{"\x00", "\x80", "\x80\x00", "a", content} {
			if s.Verify(content + more) {
				t.Errorf("verifies with %q appended", more)
			}
		}
	})
	t.Run("SM-SEC-5003 padding after a full buffer", func(t *testing.T) {
		marks := strings.Repeat("\x80", bufBlocks*64) // as long as the hasher's buffer, which is used again after it
		if s := mustSecret(t, marks+"a"); s.Verify(marks+"a\x80") || !s.Verify(marks+"a") {
			t.Error("an earlier part of the message counts as padding")
		}
	})
	t.Run("SM-SEC-5003 too long", func(t *testing.T) {
		largest := strings.Repeat("x", MaxSize)
		l := mustSecret(t, largest)
		if !l.Verify(largest) {
			t.Error("the longest secret does not verify")
		}
		if l.Verify(largest+"x") || s.Verify(largest+"x") {
			t.Error("an input over the limit verifies")
		}
	})
	t.Run("SM-TYPE-3002 closed, zero, nil", func(t *testing.T) {
		closed := mustSecret(t, content)
		if err := closed.Close(); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*Secret{closed, {}, nil} {
			if s.Verify(content) || s.Verify("") || s.VerifyBytes(nil) {
				t.Error("verifies")
			}
		}
	})
}

// TestVerifyIsEquality is the property behind SM-SEC-5003, near the block and buffer sizes too.
func TestVerifyIsEquality(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(1, 1000), rapid.SampledFrom([]int{63, 64, 65, 127, 128, 319, 320, 321, 640})).Draw(t, "n")
		content := rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "content")
		input := bytes.Clone(content)
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			input = rapid.SliceOfN(rapid.Byte(), 0, 700).Draw(t, "input")
		case 1:
			input[rapid.IntRange(0, n-1).Draw(t, "at")] ^= rapid.ByteRange(0, 255).Draw(t, "mask")
		case 2:
			input = input[:rapid.IntRange(0, n).Draw(t, "cut")]
		case 3:
			tail := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0x80}), 0, 70).Draw(t, "tail")
			input = append(input, tail...)
		}
		want := bytes.Equal(content, input)
		s, err := FromBytes(content)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		if got := s.VerifyBytes(input); got != want {
			t.Errorf("VerifyBytes %v, equal %v", got, want)
		}
		if got := s.Verify(string(input)); got != want {
			t.Errorf("Verify %v, equal %v", got, want)
		}
	})
}

// TestVerifierIsRandom: the stored MAC must not let anybody compare two secrets, or look a short one up in a table.
func TestVerifierIsRandom(t *testing.T) {
	a, b := mustSecret(t, "the same"), mustSecret(t, "the same")
	aKey, aMAC := a.cell().verifier()
	bKey, bMAC := b.cell().verifier()
	if isZero(aKey) || bytes.Equal(aKey, bKey) || bytes.Equal(aMAC, bMAC) {
		t.Error("two secrets share a verifier key or a MAC, or the key is zero")
	}
}

// TestHasherForgets: SM-SEC-5001 for what Verify and Sign compute with. The digest is on the Go heap.
func TestHasherForgets(t *testing.T) {
	h := getHasher(false)
	if h == nil {
		t.Fatal(ErrNoMemory)
	}
	canary := "canary-canary-canary-canary"
	h.begin([]byte(canary))
	h.digest.Write([]byte(canary))
	h.end([]byte(canary))
	all := h.all
	if isZero(all) || !bytes.Contains(walk(h.digest), h.inner) {
		t.Fatal("the control finds nothing to forget")
	}
	h.put()
	fresh := getHasher(false)
	defer fresh.put()
	if !isZero(all) {
		t.Error("the scratch slot is not wiped")
	}
	if state := walk(h.digest); !bytes.Equal(state, walk(sha256.New())) {
		t.Error("the digest differs from a new one")
	}
}
