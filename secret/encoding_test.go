package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// The key that all spellings below mean, with bytes that need both characters in which the alphabets differ.
var spelledKey = append([]byte{0xfb, 0xff, 0xbf, 0x00}, []byte("a key of thirty-two bytes...")...)

func TestDecodeKeyEncodings(t *testing.T) {
	std, url := base64.StdEncoding.EncodeToString(spelledKey), base64.URLEncoding.EncodeToString(spelledKey)
	if len(spelledKey) != KeySize || !strings.ContainsAny(std, "+/") || !strings.ContainsAny(url, "-_") {
		t.Fatal("the example shows nothing")
	}
	loose := std[:42] + string(std[42]+1) // the same bytes to a lenient decoder, since the last bits belong to none
	tests := []struct {
		name string
		e    Encoding
		in   string
		ok   bool
	}{
		{"hex as base64", Base64, hex.EncodeToString(spelledKey), false},
		{"base64 as hex", Hex, std, false},
		{"URL alphabet as standard", Base64, url, false},
		{"standard alphabet as URL", Base64URL, std, false},
		{"bits behind the last byte", Base64, loose, false},
		{"bits behind the last byte, padded", Base64, loose + "=", false},
		{"another padding", Base64, std[:43] + "-", false},
		{"padding only", Base64, strings.Repeat("=", 44), false},
		{"padding in the middle", Base64, std[:20] + "=" + std[21:], false},
		{"twice padded", Base64, std + "=", false},
		{"42 characters", Base64, std[:42], false},
		{"43 characters and a line feed", Base64, std[:43] + "\n", false},
		{"a line feed inside", Base64, std[:20] + "\n" + std[21:], false},
		{"a space first", Base64, " " + std[1:], false},
		{"not ASCII", Base64, strings.Repeat("é", 22), false},
		{"33 bytes", Base64, base64.StdEncoding.EncodeToString(append(spelledKey, 1)), false},
		{"31 bytes", Base64URL, base64.URLEncoding.EncodeToString(spelledKey[1:]), false},
		{"an unknown encoding", "base32", std, false},
		{"an unknown spelling of the encoding", "HEX", hex.EncodeToString(spelledKey), false},

		{"no encoding named", "", hex.EncodeToString(spelledKey), true},
		{"hex", Hex, strings.ToUpper(hex.EncodeToString(spelledKey)), true},
		{"base64", Base64, std, true},
		{"base64 without padding", Base64, std[:43], true},
		{"base64url", Base64URL, url, true},
		{"base64url without padding", Base64URL, url[:43], true},
	}
	for _, tt := range tests {
		t.Run("SM-LOAD-4001 "+tt.name, func(t *testing.T) {
			s := mustSecret(t, tt.in)
			before := liveSlots()
			k, err := DecodeKey(s, tt.e)
			if tt.ok != (err == nil) || tt.ok != (k != nil) || err != nil && !errors.Is(err, ErrInvalidFormat) {
				t.Fatalf("error %v", err)
			}
			if !tt.ok {
				if strings.Contains(err.Error(), tt.in[:4]) || liveSlots() > before+1 { // 1: a hasher
					t.Errorf("SM-TYPE-3003: the error contains content, or a slot is lost: %d, %d before", liveSlots(), before)
				}
				return
			}
			err = k.Use(func(b []byte) error {
				if !bytes.Equal(b, spelledKey) {
					t.Error("another key")
				}
				return nil
			})
			if err := errors.Join(err, k.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	for _, s := range []*Secret{nil, {}, closed(t)} {
		if k, err := DecodeKey(s, Base64); k != nil || !errors.Is(err, ErrClosed) {
			t.Errorf("nil, zero or closed: %v", err)
		}
	}
}

// TestDecodeBase64Lengths: SM-LOAD-4001. Only the length of a key is decoded, into room for one.
func TestDecodeBase64Lengths(t *testing.T) {
	text := base64.StdEncoding.EncodeToString(spelledKey)
	for _, tt := range []struct {
		room int
		text string
		ok   bool
	}{{KeySize - 1, text, false}, {KeySize + 1, text, false}, {0, "", false}, {KeySize, text[:42], false}, {KeySize, text + "=", false}, {KeySize, text, true}} {
		dst := make([]byte, tt.room)
		if err := decodeBase64Std(dst, []byte(tt.text)); (err == nil) != tt.ok || !tt.ok && (!errors.Is(err, ErrInvalidFormat) || !isZero(dst)) {
			t.Errorf("SM-LOAD-4001 %d characters into %d bytes: error %v", len(tt.text), tt.room, err)
		}
	}
}

// TestSextetAgrees: every byte at every place, against encoding/base64.
func TestSextetAgrees(t *testing.T) {
	for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		char62, char63 := byte('+'), byte('/')
		if alphabet == base64.URLEncoding {
			char62, char63 = '-', '_'
		}
		valid := 0
		for c := range 256 {
			v, ok := sextet(byte(c), char62, char63)
			want, err := alphabet.DecodeString(string([]byte{byte(c), 'A', '=', '='}))
			if c == '\n' || c == '\r' { // which encoding/base64 skips
				err = errFill
			}
			if (ok == 1) != (err == nil) || err == nil && want[0] != byte(v<<2) || ok == 0 && v != 0 {
				t.Errorf("SEC-SECRET-003: %#02x: value %d, ok %d", c, v, ok)
			}
			valid += int(ok)
		}
		if valid != 64 {
			t.Errorf("%d characters are valid", valid)
		}
	}
}
