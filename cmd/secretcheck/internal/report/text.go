package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds one piece of foreign text on a line, in characters.
const maxText = 600

// Text makes foreign text fit to print: what is not printable is escaped as Go would, and the length is bounded. CI
// systems take "::" at the start of a line, "##[" and "##vso[" anywhere for commands, so these are escaped too.
func Text(s string) string {
	var out strings.Builder
	s = strings.ReplaceAll(s, "##", `#\x23`)
	if rest, ok := strings.CutPrefix(strings.TrimLeft(s, " "), "::"); ok {
		s = `\x3a:` + rest
	}
	for n := 0; s != ""; n++ {
		if n == maxText {
			out.WriteString("…")
			break
		}
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			out.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&out, `\x%02x`, r)
		case r > 0xffff:
			fmt.Fprintf(&out, `\U%08x`, r)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		s = s[size:]
	}
	return out.String()
}

// ShellWord writes s as one word of a shell, for commands that are suggested. It reports false for what could not be
// pasted: text that would have to be escaped or shortened to be printed.
func ShellWord(s string) (string, bool) {
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_./@%+,:=-", r))
	}
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		s = "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s, Text(s) == s
}

// Lines is Text for a message of several lines, each bounded by itself.
func Lines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.Join(mapText(strings.Split(l, "\t")), "  ")
	}
	return strings.Join(lines, "\n")
}

func mapText(parts []string) []string {
	for i, p := range parts {
		parts[i] = Text(p)
	}
	return parts
}
