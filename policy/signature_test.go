package policy

import (
	"bytes"
	"crypto/ed25519"
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

// TestKeyFilesBeginWithTheirComment: POL-5001. What stands before a key says what it is.
func TestKeyFilesBeginWithTheirComment(t *testing.T) {
	key := PublicKey{[keyIDBytes]byte{1}, [ed25519.PublicKeySize]byte{1}}
	if k, err := ParsePublicKey(commentPrefix + "x\n" + key.String() + "\n"); k != key || err != nil {
		t.Errorf("key %v, error %v", k, err)
	}
	if k, err := ParsePublicKey("trusted comment: x\n" + key.String()); k != (PublicKey{}) || err == nil {
		t.Errorf("key %v, error %v", k, err)
	}
}
