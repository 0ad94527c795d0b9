package check

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// fingerprint names a finding across runs: neither its line nor any value goes in, so that it survives edits elsewhere
// in the descriptor. Each part is preceded by its length, so that no two lists of parts hash the same bytes.
func fingerprint(parts ...string) string {
	h := sha256.New()
	var size [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}
