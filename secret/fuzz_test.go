package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// FuzzVerify: Verify is equality of bytes, whatever they are, and the content is what went in.
func FuzzVerify(f *testing.F) {
	f.Add([]byte("token"), []byte("token"))
	f.Add([]byte("token"), []byte("token\x80"))
	f.Add([]byte("token"), []byte{})
	f.Add(bytes.Repeat([]byte("a"), 320), bytes.Repeat([]byte("a"), 321))
	f.Fuzz(func(t *testing.T, content, input []byte) {
		s, err := FromBytes(bytes.Clone(content))
		if len(content) == 0 || len(content) > MaxSize {
			if err == nil {
				t.Fatal("SEC-SECRET-001: made of an impossible length")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		equal := bytes.Equal(content, input)
		if s.VerifyBytes(input) != equal || s.Verify(string(input)) != equal || !s.VerifyBytes(content) {
			t.Errorf("SM-SEC-5003: equal %v, and Verify says otherwise", equal)
		}
		if got, err := s.Expose(); err != nil || got != string(content) {
			t.Errorf("SM-TYPE-3002: the content changed (error %v)", err)
		}
		if err := s.Close(); err != nil || s.VerifyBytes(content) {
			t.Errorf("SM-SEC-5001: after Close: error %v", err)
		}
	})
}

// FuzzDecodeHexKey: what decodes re-encodes identically, but for the case; what does not is no 64 digits.
func FuzzDecodeHexKey(f *testing.F) {
	f.Add([]byte(hexKey))
	f.Add([]byte(hexKey[:63] + "g"))
	f.Add([]byte(strings.Repeat("\x00", 64)))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err := hex.DecodeString(string(text))
		fuzzDecode(t, text, Hex, err == nil && len(text) == 64, func(b []byte) bool {
			return strings.EqualFold(hex.EncodeToString(b), string(text))
		})
	})
}

// FuzzDecodeBase64Key: what decodes re-encodes identically, with or without padding; what does not is refused by the
// strict decoder of the standard library too.
func FuzzDecodeBase64Key(f *testing.F) {
	f.Add([]byte(base64.StdEncoding.EncodeToString(spelledKey)))
	f.Add([]byte(base64.RawURLEncoding.EncodeToString(spelledKey)))
	f.Add([]byte(strings.Repeat("=", 44)))
	f.Add([]byte(strings.Repeat("/", 43)))
	f.Fuzz(func(t *testing.T, text []byte) {
		for e, raw := range map[Encoding]*base64.Encoding{Base64: base64.RawStdEncoding, Base64URL: base64.RawURLEncoding} {
			padded := len(text) == 44 && text[43] == '='
			b, err := raw.Strict().DecodeString(strings.TrimSuffix(string(text), "="))
			valid := err == nil && len(b) == KeySize && (len(text) == 43 || padded) && !bytes.ContainsAny(text, "\r\n")
			fuzzDecode(t, text, e, valid, func(b []byte) bool {
				return raw.EncodeToString(b) == string(text[:43])
			})
		}
	})
}

func fuzzDecode(t *testing.T, text []byte, e Encoding, valid bool, same func(key []byte) bool) {
	t.Helper()
	s, err := FromBytes(bytes.Clone(text))
	if err != nil {
		return // no secret, no key
	}
	defer s.Close()
	k, err := DecodeKey(s, e)
	if (err == nil) != valid || err != nil && !errors.Is(err, ErrInvalidFormat) {
		t.Fatalf("SM-LOAD-4001: valid %v, error %v", valid, err)
	}
	if err != nil {
		return
	}
	err = k.Use(func(b []byte) error {
		if !same(b) {
			t.Error("SM-LOAD-4001: re-encodes to something else")
		}
		return nil
	})
	if err := errors.Join(err, k.Close()); err != nil {
		t.Error(err)
	}
}
