package systemd

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// name is a unit's name taken apart.
type name struct {
	full     string // "foo@bar.service"
	prefix   string // "foo"
	instance string // "bar"
	template bool   // "foo@.service": the instance is not known
	manager  bool   // a user's manager runs it
}

func splitName(unit string) name {
	stem := strings.TrimSuffix(unit, ".service")
	prefix, instance, at := strings.Cut(stem, "@")
	return name{full: unit, prefix: prefix, instance: instance, template: at && instance == ""}
}

// resolve replaces the specifiers that a unit's name settles. It reports false where one is left that needs the
// host, the instance of a template, or a systemd that knows it: leaving that text in place would be a guess.
func (n name) resolve(s string) (string, bool) {
	out, result := n.expand(s)
	if result != settled {
		return s, false
	}
	return out, true
}

func (n name) specifier(c byte) (string, bool) {
	switch c {
	case '%':
		return "%", true
	case 'p':
		return n.prefix, true
	case 'j':
		return n.prefix[strings.LastIndexByte(n.prefix, '-')+1:], true
	case 'n':
		return n.full, !n.template
	case 'N':
		return strings.TrimSuffix(n.full, ".service"), !n.template
	case 'i':
		return n.instance, !n.template
	case 'P':
		return unescapeName(n.prefix)
	case 'J':
		return unescapeName(n.prefix[strings.LastIndexByte(n.prefix, '-')+1:])
	case 'I':
		value, ok := unescapeName(n.instance)
		return value, ok && !n.template
	}
	return n.directory(c)
}

// directory resolves the specifiers for directories, which for the system's manager are always the same.
func (n name) directory(c byte) (string, bool) {
	if n.manager {
		return "", false
	}
	dir := map[byte]string{'t': "/run", 'S': "/var/lib", 'C': "/var/cache", 'L': "/var/log", 'E': "/etc"}[c]
	return dir, dir != ""
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// unescapeName is systemd's unit_name_unescape: dashes are slashes, and \xNN is a byte. It reports false for anything
// that it refuses, and where a NUL or what is not UTF-8 comes out.
func unescapeName(s string) (string, bool) {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '-':
			out.WriteByte('/')
		case s[i] != '\\':
			out.WriteByte(s[i])
		case i+3 < len(s) && s[i+1] == 'x':
			n, err := strconv.ParseUint(s[i+2:i+4], 16, 8)
			if err != nil || n == 0 {
				return "", false
			}
			out.WriteByte(byte(n))
			i += 3
		default:
			return "", false
		}
	}
	return out.String(), utf8.ValidString(out.String())
}

// resolution is what became of the specifiers in a text.
type resolution int

const (
	settled resolution = iota
	open               // one is left that the host, or the instance of a template, settles
	unknown            // one is none: systemd drops what holds it
)

// expand replaces the specifiers that a unit's name settles, and says what else there is. A percent sign before anything
// but a letter or digit is one that systemd leaves alone.
func (n name) expand(s string) (string, resolution) {
	var out strings.Builder
	result := settled
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		i++
		value, ok := n.specifier(s[i])
		switch {
		case ok:
			out.WriteString(value)
		case strings.IndexByte("aAbBcCdDEfgGhHiIjJlLmMnNopPqrRsStTuUvVwWyY", s[i]) >= 0:
			result = max(result, open)
			out.WriteString(s[i-1 : i+1])
		case isAlphanumeric(s[i]):
			result = unknown
		default:
			out.WriteString(s[i-1 : i+1])
		}
	}
	return out.String(), result
}
