package descriptor

import (
	"slices"
	"strings"
)

// masked stands for what a snippet does not show.
const masked = "…"

// Snippet is a line of a descriptor as far as it can be shown: what it sets, and of the value only the names and paths that
// a report names anyway. Everything else may be a secret, whatever the key says. It is empty where the line does not set
// something.
func Snippet(line string, public ...string) string {
	indent := len(line) - len(strings.TrimLeft(line, " \t-\"'{,"))
	key, separator := indent, 0
	for key < len(line) && isWord(line[key]) {
		key++
	}
	rest := strings.TrimLeft(line[key:], " \t\"'")
	if key == indent || rest == "" || rest[0] != '=' && rest[0] != ':' {
		return ""
	}
	separator = len(line) - len(rest) + 1
	return strings.TrimLeft(line[:separator], " \t") + mask(line[separator:], public)
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.' || c == '/'
}

// mask keeps punctuation and the words that are public, whole, and puts one mark in the place of the rest.
func mask(value string, public []string) string {
	var b strings.Builder
	hidden := false
	for value != "" {
		if i := slices.IndexFunc(public, func(p string) bool { return p != "" && strings.HasPrefix(value, p) && ends(value[len(p):]) }); i >= 0 && !hidden {
			b.WriteString(public[i])
			value = value[len(public[i]):]
			continue
		}
		if c := value[0]; ends(value) {
			b.WriteByte(c)
			hidden = false
		} else if !hidden {
			b.WriteString(masked)
			hidden = true
		}
		value = value[1:]
	}
	return b.String()
}

// ends reports whether a word cannot go on here.
func ends(s string) bool { return s == "" || strings.IndexByte(" \t:,\"'{}[]", s[0]) >= 0 }
