package secret

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestFIPS: verification, MACs and decoding work where only approved cryptography is allowed (GODEBUG=fips140=only).
func TestFIPS(t *testing.T) {
	if strings.Contains(os.Getenv("GODEBUG"), "fips140=only") {
		return // this is the child
	}
	cmd := exec.Command(os.Args[0], "-test.run=^(TestVerify|TestSign|TestSignAgrees|TestDecodeKeyEncodings)$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Count(out, []byte("\n--- PASS")) != 4 {
		t.Errorf("SEC-SECRET-040: %v\n%s", err, out)
	}
}
