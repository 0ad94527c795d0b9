package secret

import (
	"bytes"
	"errors"
	"os"
	"testing"
)

// noHashers lets nobody have a hasher until the test ends.
func noHashers(t *testing.T) {
	t.Helper()
	drop := func() {
		hashers.New = func() any { return nil }
		for hashers.Get() != nil { // those that are not in use are for the collector
		}
	}
	before := hashers.New
	t.Cleanup(func() { drop(); hashers.New = before })
	drop()
}

// TestNoMemoryToCompute: SM-TYPE-3003, EXP-RELIABLE-8002. Without memory to hash in there is no secret, no MAC, and no yes.
func TestNoMemoryToCompute(t *testing.T) {
	s, k := mustSecret(t, content), mustKey(t, []byte(content))
	mac, err := k.Sign([]byte("m"))
	if err != nil || !k.VerifyMAC([]byte("m"), mac) || !s.Verify(content) {
		t.Fatal("control", err)
	}
	noHashers(t)
	if mac, err := k.Sign([]byte("m")); mac != nil || !errors.Is(err, ErrNoMemory) {
		t.Errorf("SM-TYPE-3003 Sign: error %v", err)
	}
	if k.VerifyMAC([]byte("m"), mac) || k.VerifyMAC(nil, nil) {
		t.Error("EXP-RELIABLE-8002: a MAC was verified")
	}
	if s.Verify(content) || s.VerifyBytes([]byte(content)) {
		t.Error("EXP-RELIABLE-8002: a secret was verified")
	}
	raw, filled := []byte(content), []byte(nil)
	if s, err := FromBytes(raw); s != nil || !errors.Is(err, ErrNoMemory) || !isZero(raw) {
		t.Errorf("SM-TYPE-3003 FromBytes: error %v", err)
	}
	pin(t, verifierSize+len(content))
	s, err = New(len(content), func(buf []byte) (int, error) { filled = buf; return copy(buf, content), nil })
	if s != nil || !errors.Is(err, ErrNoMemory) || bytes.Contains(filled, []byte(content)) {
		t.Errorf("SM-SEC-5001 New: error %v, wiped %v", err, isZero(filled))
	}
}

// TestLockedHasher: SM-SEC-5001. A secret that requires locked memory is not hashed in a hasher that is not, as long as a
// better one can be made.
func TestLockedHasher(t *testing.T) {
	if ProtectionLevel() == LevelHeap { // TestRequireLocked has a child without locked memory
		if os.Getenv("CI") == "true" {
			t.Fatal("no memory can be locked: raise ulimit -l")
		}
		t.Log("not run: raise the limit for locked memory: ulimit -l")
		return
	}
	noHashers(t)
	weak, err := newHasher(false)
	if err != nil {
		t.Fatal(err)
	}
	weak.level = LevelHeap
	hashers.New = func() any { return weak }
	if h := getHasher(false); h != weak {
		t.Error("control: another one")
	}
	h := getHasher(true)
	if h == nil || h == weak || h.level == LevelHeap || h.reserved {
		t.Fatal("SM-SEC-5001: not a new one in locked memory")
	}
	h.put()
}
