// Package auditlog keeps a log of JSON lines whose entries are chained by hashes, so that an entry that was changed, taken
// out, moved or cut off shows. It knows nothing of what an entry says.
//
// A line is the members of the entry between those of the chain:
//
//	{"seq":7,"prev":"…64 hex…", …the entry… ,"hash":"…64 hex…"}
//
// The hash is the SHA-256 of "secrets-audit/v1", a line feed, and the line as it is written up to `,"hash"`: there is no
// second form of an entry that somebody would have to agree on. "prev" is the hash of the entry before, zeros in the
// first; "seq" counts from 1. An entry before which a write went wrong says how many bytes that left: "torn".
//
// The hash has no key. Who can write the log can write a whole new one: only a head kept elsewhere shows that.
package auditlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxLine bounds a line, in bytes.
const MaxLine = 8 << 20

const domain = "secrets-audit/v1\n"

// Hash is the hash of an entry.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Head says how far a log goes: the number of its last entry, and that entry's hash. The zero Head is that of an empty log.
type Head struct {
	Seq  uint64
	Hash Hash
}

// String is the number, a colon, and the hash in hexadecimal, as [ParseHead] takes it.
func (h Head) String() string { return strconv.FormatUint(h.Seq, 10) + ":" + h.Hash.String() }

// ParseHead reads what Head.String writes.
func ParseHead(s string) (Head, error) {
	var h Head
	seq, hash, ok := strings.Cut(s, ":")
	n, err := strconv.ParseUint(seq, 10, 64)
	if !ok || err != nil || n == 0 || seq != strconv.FormatUint(n, 10) || !parseHash(&h.Hash, []byte(hash)) {
		return Head{}, errors.New("a head is a number, a colon and 64 hexadecimal digits")
	}
	h.Seq = n
	return h, nil
}

// parseHash takes 64 digits in lower case.
func parseHash(h *Hash, digits []byte) bool {
	if len(digits) != hex.EncodedLen(len(h)) || bytes.ContainsAny(digits, "ABCDEF") {
		return false
	}
	_, err := hex.Decode(h[:], digits)
	return err == nil
}

// seal makes the line of an entry that follows another. entry is a JSON object with at least one member, valid UTF-8 on
// one line, as encoding/json gives it.
func seal(entry []byte, after Head, torn int64) ([]byte, Head, error) {
	inner, ok := bytes.CutPrefix(entry, []byte(`{"`))
	if !ok || !bytes.HasSuffix(inner, []byte("}")) || bytes.ContainsAny(inner, "\n\r") {
		return nil, Head{}, errors.New("an entry is a JSON object that says something")
	}
	head := Head{Seq: after.Seq + 1}
	line := make([]byte, 0, len(entry)+200)
	line = append(line, `{"seq":`...)
	line = strconv.AppendUint(line, head.Seq, 10)
	line = append(hex.AppendEncode(append(line, `,"prev":"`...), after.Hash[:]), `",`...)
	if torn > 0 {
		line = append(strconv.AppendInt(append(line, `"torn":`...), torn, 10), ',')
	}
	line = append(append(line, '"'), ASCII(inner[:len(inner)-1])...)
	head.Hash = hashOf(line)
	line = append(hex.AppendEncode(append(line, hashMember...), head.Hash[:]), "\"}\n"...)
	if len(line) > MaxLine {
		return nil, Head{}, fmt.Errorf("the entry has %d bytes, at most %d are allowed", len(line), MaxLine)
	}
	return line, head, nil
}

const hashMember = `,"hash":"`

func hashOf(body []byte) Hash {
	d := sha256.New()
	d.Write([]byte(domain))
	d.Write(body)
	return Hash(d.Sum(nil))
}

// ASCII escapes what is not printable ASCII in JSON: such as control characters beyond ASCII, which some terminals obey, and
// marks that turn the direction of writing. In valid JSON they stand in strings only, where an escape is always legal. The
// result is text itself where there is nothing to escape.
func ASCII(text []byte) []byte {
	plain := unprintable(text)
	if plain < 0 {
		return text
	}
	line := make([]byte, 0, 2*len(text))
	for ; plain >= 0; plain = unprintable(text) {
		line, text = append(line, text[:plain]...), text[plain:]
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
			line = fmt.Appendf(line, `\u%04x\u%04x`, hi, lo)
		} else {
			line = fmt.Appendf(line, `\u%04x`, r)
		}
	}
	return append(line, text...)
}

// unprintable is the first place of what is not printable ASCII, or negative.
func unprintable(text []byte) int {
	return slices.IndexFunc(text, func(c byte) bool { return c >= 0x7f })
}

// link is what a line says of its place in the chain.
type link struct {
	Head // of this entry, as the line says
	prev Hash
	torn int64
	sum  Hash // what the hash should be
}

func (l link) sound() bool { return l.Hash == l.sum }

// parse reads the members of the chain, from where they stand and again as JSON: nobody may see others than are checked. It
// reports false for what is no entry. line has no line feed.
func parse(line []byte) (link, bool) {
	var l link
	at := len(line) - len(hashMember) - hex.EncodedLen(len(l.Hash)) - len(`"}`)
	if at < 0 || !bytes.HasPrefix(line[at:], []byte(hashMember)) || !bytes.HasSuffix(line, []byte(`"}`)) ||
		!parseHash(&l.Hash, line[at+len(hashMember):len(line)-len(`"}`)]) {
		return link{}, false
	}
	var m struct {
		Seq  json.Number `json:"seq"`
		Prev string      `json:"prev"`
		Torn int64       `json:"torn"`
	}
	if json.Unmarshal(line, &m) != nil || !parseHash(&l.prev, []byte(m.Prev)) || m.Torn < 0 {
		return link{}, false
	}
	seq, err := strconv.ParseUint(m.Seq.String(), 10, 64)
	if err != nil || seq == 0 || !bytes.HasPrefix(line, fmt.Appendf(nil, `{"seq":%d,"prev":"%s",`, seq, m.Prev)) {
		return link{}, false
	}
	l.Seq, l.torn, l.sum = seq, m.Torn, hashOf(line[:at])
	return l, true
}
