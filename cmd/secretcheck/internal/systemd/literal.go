package systemd

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"
)

// dropLiteral cuts a SetCredential= value off behind its first colon, and says how long it is and why systemd would refuse
// it. What is cut off is looked at here and kept nowhere. Without a colon nothing is kept: it may be the secret itself.
func dropLiteral(value string, encrypted bool) (head string, size int64, fault string) {
	i := colon(value)
	if i < 0 || i+1 == len(value) {
		return "", 0, "it is not NAME:VALUE"
	}
	head, literal := strings.Clone(value[:i+1]), value[i+1:]
	if encrypted {
		if !validBase64(literal) {
			return head, -1, "the value is not valid Base64"
		}
		return head, -1, ""
	}
	size, ok := unescaped(literal)
	if !ok {
		return head, 0, "the value has an invalid backslash escape"
	}
	return head, size, ""
}

// colon is the index of the first colon that no backslash escapes, or -1.
func colon(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ':':
			return i
		}
	}
	return -1
}

// validBase64 is systemd's unbase64mem: white space is skipped, padding is required.
func validBase64(s string) bool {
	decoder := base64.NewDecoder(base64.StdEncoding.Strict(), &skipSpace{strings.NewReader(s)})
	var scratch [256]byte
	defer clear(scratch[:])
	for {
		_, err := decoder.Read(scratch[:])
		if err != nil {
			return err.Error() == "EOF"
		}
	}
}

// skipSpace drops white space from a stream.
type skipSpace struct{ from *strings.Reader }

func (r *skipSpace) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		b, err := r.from.ReadByte()
		if err != nil {
			return n, err
		}
		if strings.IndexByte(whitespace, b) < 0 {
			p[n] = b
			n++
		}
	}
	return n, nil
}

// unescaped is the length of what systemd's cunescape, with NUL accepted, makes of s. It reports false where it refuses.
func unescaped(s string) (size int64, ok bool) {
	for i := strings.IndexByte(s, '\\'); i >= 0; i = strings.IndexByte(s, '\\') {
		width := escapeWidth(s[i+1:])
		if width == 0 {
			return 0, false
		}
		size += int64(i) + escapedSize(s[i+1:i+1+width])
		s = s[i+1+width:]
	}
	return size + int64(len(s)), true
}

// escapedSize is the number of bytes that a valid escape stands for: one, or a character in UTF-8.
func escapedSize(escape string) int64 {
	if escape[0] != 'u' && escape[0] != 'U' {
		return 1
	}
	n, _ := strconv.ParseUint(escape[1:], 16, 32)
	switch {
	case n < 0x80:
		return 1
	case n < 0x800:
		return 2
	case n < 0x10000:
		return 3
	}
	return 4
}

// escapeWidth is the length of the escape whose text follows a backslash, or 0 when it is none.
func escapeWidth(s string) int {
	if s == "" {
		return 0
	}
	switch c := s[0]; {
	case strings.IndexByte(`abfnrtv\"'s`, c) >= 0:
		return 1
	case c == 'x':
		return numberWidth(s, 1, 2, 16, 0xff)
	case c == 'u':
		return numberWidth(s, 1, 4, 16, utf8.MaxRune)
	case c == 'U':
		return numberWidth(s, 1, 8, 16, utf8.MaxRune)
	case c >= '0' && c <= '7':
		return numberWidth(s, 0, 3, 8, 0xff)
	}
	return 0
}

// numberWidth checks for exactly digits digits of the base after skip bytes, their value at most limit.
func numberWidth(s string, skip, digits int, base, limit uint64) int {
	if len(s) < skip+digits {
		return 0
	}
	var n uint64
	for _, c := range []byte(s[skip : skip+digits]) {
		d := strings.IndexByte("0123456789abcdef", c|0x20)
		if c < 'A' {
			d = strings.IndexByte("0123456789", c)
		}
		if d < 0 || uint64(d) >= base {
			return 0
		}
		n = n*base + uint64(d)
	}
	if n > limit {
		return 0
	}
	return skip + digits
}
