package policy

import (
	"bytes"
	"encoding/base64"
	"testing"
)

// TestKeyIDAsMinisignWritesIt: POL-5003. Without zeros in front, so that one can be searched for the other.
func TestKeyIDAsMinisignWritesIt(t *testing.T) {
	raw := append([]byte("Ed\x35\x17\xdb\x7a\x22\x00\xa4\x03"), bytes.Repeat([]byte{1}, 32)...)
	k, err := ParsePublicKey(base64.StdEncoding.EncodeToString(raw))
	if err != nil || k.ID() != "3A400227ADB1735" {
		t.Errorf("key %s, error %v", k.ID(), err)
	}
}
