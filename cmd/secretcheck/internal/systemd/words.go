package systemd

import (
	"strings"
	"unicode/utf8"
)

// word is one word of a setting, unquoted, with the way back: at[i] is where the byte text[i] came from, and the last
// element where the word ended, as offsets in what was split.
type word struct {
	text string
	at   []int
}

// splitting says how words are taken apart, as the flags of systemd's extract_first_word.
type splitting struct {
	unquote  bool // ' and " enclose
	unescape bool // backslashes are those of C; without it a backslash takes the next byte as it is
	relax    bool // an escape that is none stays as it is written
}

// cutter takes words off a text, one by one.
type cutter struct {
	text string
	next int // where the next word can begin
}

// done reports whether nothing is left but white space, and goes past it.
func (c *cutter) done() bool {
	for c.next < len(c.text) && isSpace(c.text[c.next]) {
		c.next++
	}
	return c.next == len(c.text)
}

func isSpace(b byte) bool { return strings.IndexByte(whitespace, b) >= 0 }

// word is systemd's extract_first_word. It reports false where quotes or escapes are not in order; the cutter then stands
// where the word began.
func (c *cutter) word(how splitting) (word, bool) {
	if c.done() {
		return word{}, false
	}
	u := unquoter{text: c.text, i: c.next, how: how}
	if !u.run() {
		return word{}, false
	}
	u.at = append(u.at, u.i)
	c.next = u.i
	c.done()
	return word{string(u.out), u.at}, true
}

// unquoter reads one word.
type unquoter struct {
	text  string
	i     int
	how   splitting
	quote byte
	out   []byte
	at    []int
}

func (u *unquoter) run() bool {
	for ; u.i < len(u.text); u.i++ {
		b := u.text[u.i]
		switch {
		case b == '\\':
			if !u.escape() {
				return false
			}
		case u.quote != 0 && b == u.quote:
			u.quote = 0
		case u.quote != 0:
			u.put(b, u.i)
		case u.how.unquote && (b == '\'' || b == '"'):
			u.quote = b
		case isSpace(b):
			return true
		default:
			u.put(b, u.i)
		}
	}
	return u.quote == 0
}

func (u *unquoter) put(b byte, from int) {
	u.out = append(u.out, b)
	u.at = append(u.at, from)
}

// escape reads what a backslash at i escapes, and leaves i on its last byte.
func (u *unquoter) escape() bool {
	from := u.i
	rest := u.text[from+1:]
	if rest == "" {
		if u.how.relax && u.quote == 0 {
			u.put('\\', from)
			return true
		}
		return false
	}
	if !u.how.unescape {
		u.put(rest[0], from)
		u.i++
		return true
	}
	out, width, ok := unescapeOne(rest)
	switch {
	case ok:
		for _, b := range out {
			u.put(b, from)
		}
		u.i += width
	case u.how.relax:
		u.put('\\', from)
		u.put(rest[0], from+1)
		u.i++
	default:
		return false
	}
	return true
}

// unescapeOne is systemd's cunescape_one without NUL: what stands behind a backslash, and how long it is.
func unescapeOne(s string) (out []byte, width int, ok bool) {
	width = escapeWidth(s)
	if width == 0 {
		return nil, 0, false
	}
	if i := strings.IndexByte(`abfnrtv\"'s`, s[0]); i >= 0 {
		return []byte{"\a\b\f\n\r\t\v\\\"' "[i]}, 1, true
	}
	n := uint32(0)
	digits, base := s[:width], uint32(8)
	if s[0] > '7' {
		digits, base = s[1:width], 16
	}
	for _, d := range []byte(digits) {
		n = n*base + uint32(digit(d))
	}
	switch {
	case n == 0, s[0] == 'U' && !validRune(n):
		return nil, 0, false
	case s[0] == 'u' || s[0] == 'U':
		return appendRune(nil, n), width, true
	}
	return []byte{byte(n)}, width, true
}

func digit(d byte) byte {
	if d >= 'A' {
		return d&^0x20 - 'A' + 10
	}
	return d - '0'
}

// validRune is systemd's unichar_is_valid.
func validRune(n uint32) bool {
	return n <= utf8.MaxRune && n&0xfffff800 != 0xd800 && (n < 0xfdd0 || n > 0xfdef) && n&0xfffe != 0xfffe
}

// appendRune is UTF-8 without Go's check for surrogates: systemd writes them, and then finds the text invalid.
func appendRune(b []byte, n uint32) []byte {
	if n&0xfffff800 == 0xd800 {
		return append(b, byte(0xe0|n>>12), byte(0x80|n>>6&0x3f), byte(0x80|n&0x3f)) //nolint:gosec // below 0xe000
	}
	return utf8.AppendRune(b, rune(n)) //nolint:gosec // at most MaxRune
}
