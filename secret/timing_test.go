//go:build !race

package secret

import (
	"bytes"
	"testing"

	"github.com/llorch/secrets-management/internal/timing"
)

// TestVerifyTiming: SM-SEC-5003, SEC-SECRET-030..033, and the attack case "early / late / length timing differences",
// measured with inputs of 64 bytes beside a leaky control.
func TestVerifyTiming(t *testing.T) {
	token := bytes.Repeat([]byte("0123456789abcdef"), 4)
	changed := func(i int) []byte {
		b := bytes.Clone(token)
		b[i] ^= 1
		return b
	}
	// Several of each, so that the place of a secret in memory, which caches care for, is not what is measured.
	var same, longer []func([]byte) bool
	for range 8 {
		same = append(same, mustSecret(t, string(token)).VerifyBytes)
		longer = append(longer, mustSecret(t, string(token)+"0123456789").VerifyBytes)
	}
	err := timing.Check(t.Logf,
		timing.Class{Name: "match", Input: token, Verify: same, Want: true},
		timing.Class{Name: "early mismatch", Input: changed(0), Verify: same},
		timing.Class{Name: "late mismatch", Input: changed(63), Verify: same},
		timing.Class{Name: "wrong length", Input: token, Verify: longer},
	)
	if err != nil {
		t.Errorf("SM-SEC-5003: %v", err)
	}
}
