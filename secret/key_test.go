package secret

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const hexKey = "00112233445566778899aabbccddeeffFFEEDDCCBBAA9988776655443322110f"

func TestNewKey(t *testing.T) {
	t.Run("SM-TYPE-3001 exactly 32 bytes", func(t *testing.T) {
		k, err := NewKey(func(b []byte) error {
			if len(b) != KeySize || cap(b) != KeySize {
				t.Errorf("fill got %d bytes, capacity %d", len(b), cap(b))
			}
			copy(b, "abc")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		err = k.Use(func(b []byte) error {
			if len(b) != KeySize || cap(b) != KeySize || string(b) != "abc"+strings.Repeat("\x00", 29) {
				t.Error("not the key that was filled in")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		slot := leak(k.cell())
		pin(t, KeySize)
		if err := k.Close(); err != nil || !isZero(slot) {
			t.Errorf("SM-SEC-5001: error %v, wiped %v", err, isZero(slot))
		}
		if err := k.Use(func([]byte) error { return nil }); !errors.Is(err, ErrClosed) {
			t.Errorf("use after close: %v", err)
		}
	})
	t.Run("SM-SEC-5001 fill fails", func(t *testing.T) {
		before := liveSlots()
		k, err := NewKey(func(b []byte) error { b[0] = 1; return errFill })
		if k != nil || !errors.Is(err, errFill) || liveSlots() > before {
			t.Errorf("error %v, %d slots lost", err, liveSlots()-before)
		}
		if _, err := NewKey(nil); err == nil {
			t.Error("nil fill: no error")
		}
	})
}

func TestDecodeHexKey(t *testing.T) {
	tests := []struct {
		name, in string
		want     error
	}{
		{"63 digits", hexKey[1:], ErrInvalidFormat},
		{"65 digits", hexKey + "0", ErrInvalidFormat},
		{"62 digits", hexKey[2:], ErrInvalidFormat},
		{"128 digits", hexKey + hexKey, ErrInvalidFormat},
		{"one digit", "0", ErrInvalidFormat},
		{"no hex", strings.Repeat("zy", 32), ErrInvalidFormat},
		{"last digit wrong", hexKey[:63] + "g", ErrInvalidFormat},
		{"first digit wrong", "x" + hexKey[1:], ErrInvalidFormat},
		{"white space", " " + hexKey[2:] + "\n", ErrInvalidFormat},
		{"0x", "0x" + hexKey[2:], ErrInvalidFormat},
		{"not ASCII", strings.Repeat("é", 32), ErrInvalidFormat},
		{"mixed case", hexKey, nil},
		{"zeros", strings.Repeat("0", 64), nil},
	}
	for _, tt := range tests {
		t.Run("SM-LOAD-4001 "+tt.name, func(t *testing.T) {
			s := mustSecret(t, tt.in)
			k, err := DecodeHexKey(s)
			if !errors.Is(err, tt.want) || (k == nil) != (err != nil) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), tt.in[len(tt.in)/2:]) && len(tt.in) > 1 {
				t.Error("SM-TYPE-3003: the error contains content")
			}
			if !s.Verify(tt.in) {
				t.Error("the secret is not as it was")
			}
			if tt.want == nil {
				checkKey(t, k, tt.in)
			}
		})
	}
	for _, s := range []*Secret{nil, {}, closed(t)} {
		if k, err := DecodeHexKey(s); k != nil || !errors.Is(err, ErrClosed) {
			t.Errorf("nil, zero or closed: %v", err)
		}
	}
}

func checkKey(t *testing.T, k *Key, digits string) {
	t.Helper()
	want, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	err = k.Use(func(b []byte) error {
		if !bytes.Equal(b, want) {
			t.Error("decodes to other bytes")
		}
		return nil
	})
	if err := errors.Join(err, k.Close()); err != nil {
		t.Error(err)
	}
}

// TestDecodeHexAgrees: decoding is the same function as encoding/hex, on all byte pairs and on random strings.
func TestDecodeHexAgrees(t *testing.T) {
	agree := func(digits []byte) bool {
		got, want := make([]byte, len(digits)/2), make([]byte, len(digits)/2)
		err := decodeHex(got, digits)
		_, wantErr := hex.Decode(want, digits)
		return (err == nil) == (wantErr == nil) && (err != nil || bytes.Equal(got, want))
	}
	for i := range 1 << 16 {
		if !agree([]byte{byte(i >> 8), byte(i)}) {
			t.Fatalf("differs on %#04x", i)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		if !agree(rapid.SliceOf(rapid.SampledFrom([]byte("09afAF/:@G`g\x00\xff"))).Draw(t, "digits")) {
			t.Error("differs")
		}
	})
}

// TestSign: RFC 4231 with keys up to 32 bytes; a shorter key padded with zeros is the same HMAC key (RFC 2104).
func TestSign(t *testing.T) {
	tests := []struct{ name, key, msg, mac string }{
		{
			"case 1", strings.Repeat("\x0b", 20), "Hi There",
			"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
		},
		{
			"case 2", "Jefe", "what do ya want for nothing?",
			"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
		},
		{
			"case 3", strings.Repeat("\xaa", 20), strings.Repeat("\xdd", 50),
			"773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
		},
	}
	for _, tt := range tests {
		t.Run("SM-TYPE-3001 RFC 4231 "+tt.name, func(t *testing.T) {
			k := mustKey(t, []byte(tt.key))
			got, err := k.Sign([]byte(tt.msg))
			if err != nil || hex.EncodeToString(got) != tt.mac {
				t.Errorf("another MAC than the RFC's (error %v)", err)
			}
		})
	}
}

// TestSignAgrees: Sign is the HMAC of the standard library, and VerifyMAC accepts that and nothing else.
func TestSignAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), KeySize, KeySize).Draw(t, "key")
		msg := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "msg")
		std := hmac.New(sha256.New, key)
		std.Write(msg)
		want := std.Sum(nil)

		k, err := NewKey(func(b []byte) error { copy(b, key); return nil })
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		}()
		got, err := k.Sign(msg)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("another MAC than crypto/hmac (error %v)", err)
		}
		if !k.VerifyMAC(msg, got) {
			t.Error("its own MAC does not verify")
		}
		got[rapid.IntRange(0, MACSize-1).Draw(t, "at")] ^= rapid.ByteRange(1, 255).Draw(t, "mask")
		if k.VerifyMAC(msg, got) || k.VerifyMAC(append(msg, 0), want) {
			t.Error("a changed MAC or message verifies")
		}
		for _, mac := range [][]byte{nil, {}, want[:31], append(bytes.Clone(want), 0)} {
			if k.VerifyMAC(msg, mac) {
				t.Errorf("a MAC of %d bytes verifies", len(mac))
			}
		}
	})
}

func TestTrimSpace(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{" \t\n\v\f\r", ""},
		{"a", "a"},
		{"a\n", "a"},
		{" a b\t", "a b"},
		{"\r\n\v\fsecret\f\v\r\n ", "secret"},
		{"\u00a0a\u0085", "\u00a0a\u0085"}, // white space in Unicode alone stays
		{"\x00 a \x00", "\x00 a \x00"},
		{" \xff ", "\xff"},
	}
	for _, tt := range tests {
		buf := []byte(tt.in)
		n := TrimSpace(buf)
		if string(buf[:n]) != tt.want {
			t.Errorf("SM-LOAD-4004 %q: %q, want %q", tt.in, buf[:n], tt.want)
		}
		if !isZero(buf[n:]) {
			t.Errorf("SM-SEC-5001 %q: the tail is not wiped", tt.in)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOf(rapid.SampledFrom([]byte(" \t\n\v\f\rab\x00\x85"))).Draw(t, "in")
		buf := bytes.Clone(in)
		n := TrimSpace(buf)
		if want := bytes.Trim(in, " \t\n\v\f\r"); !bytes.Equal(buf[:n], want) || !isZero(buf[n:]) {
			t.Errorf("%q: %q, want %q", in, buf[:n], want)
		}
	})
}
