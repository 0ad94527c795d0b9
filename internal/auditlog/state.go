package auditlog

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"strings"
)

// HeadSuffix is that of the file beside a log which remembers the log's head. Writers lock it, it survives the rotation of
// the log, and it shows when the log's end was cut off.
const HeadSuffix = ".head"

// state is what the head file says: a head, and how many bytes the log had then.
type state struct {
	Head

	size int64
}

const (
	stateFormat = "secrets-audit-head/v1 "
	stateDigits = 20 // of a number, with zeros in front: one state is as long as any other
	stateBytes  = len(stateFormat) + stateDigits + 1 + 2*sha256.Size + 1 + stateDigits + 1 + 2*crc32.Size + 1
)

// String has a checksum, since the file is overwritten in place and a power failure can leave half of it.
func (s state) String() string { return string(s.append(make([]byte, 0, stateBytes))) }

func (s state) append(b []byte) []byte {
	b = append(appendPadded(append(b, stateFormat...), s.Seq), ' ')
	b = append(hex.AppendEncode(b, s.Hash[:]), ' ')
	b = append(appendPadded(b, uint64(max(0, s.size))), ' ')
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b))
	return append(hex.AppendEncode(b, sum), '\n')
}

func appendPadded(b []byte, n uint64) []byte {
	var digits [stateDigits]byte
	for i := range digits {
		digits[len(digits)-1-i] = '0' + byte(n%10)
		n /= 10
	}
	return append(b, digits[:]...)
}

// parseState reports false for anything but what String gives.
func parseState(text string) (state, bool) {
	var s state
	fields := strings.Fields(text)
	if len(fields) != 5 || !parseHash(&s.Hash, []byte(fields[2])) {
		return state{}, false
	}
	seq, err := strconv.ParseUint(fields[1], 10, 64)
	size, err2 := strconv.ParseInt(fields[3], 10, 64)
	if err != nil || err2 != nil {
		return state{}, false
	}
	s.Seq, s.size = seq, size
	if s.String() != text {
		return state{}, false
	}
	return s, true
}

// readState gives the zero state, and false, where there is none that can be believed.
func readState(f *os.File) (state, bool, error) {
	var b [stateBytes]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return state{}, false, err
	}
	s, ok := parseState(string(b[:n]))
	return s, ok, nil
}

// RecordedHead reads the head file of a log, if text is one.
func RecordedHead(text []byte) (Head, bool) {
	s, ok := parseState(string(text))
	return s.Head, ok
}
