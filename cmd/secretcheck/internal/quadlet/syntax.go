package quadlet

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
	"github.com/llorch/secrets-management/policy"
)

const whitespace = " \t\n\r"

// assignment is a line key=value, with a way to the place of each part of the value.
type assignment struct {
	section, key, value string
	offset              int
	line                *systemd.Line
}

func (a *assignment) at(offset int) descriptor.Position { return a.line.At(a.offset + offset) }

// parse reads a file. What does not parse is one finding: the generator makes no unit of it.
func parse(f systemd.File) ([]assignment, *descriptor.Finding) {
	var all []assignment
	section := ""
	lines := systemd.Lines(f.Name, f.Data)
	for i := range lines {
		l := &lines[i]
		text := strings.Trim(l.Text, whitespace)
		start := strings.Index(l.Text, text)
		switch {
		case text == "":
		case strings.ContainsRune(text, 0) || !utf8.ValidString(text):
			return nil, refused(l.At(start), "not UTF-8, or a NUL byte")
		case text[0] == '[':
			if !strings.HasSuffix(text, "]") || len(text) < 3 {
				return nil, refused(l.At(start), `section header without a name or "]"`)
			}
			section = text[1 : len(text)-1]
		case section == "":
			return nil, refused(l.At(start), "assignment before any section")
		default:
			key, value, found := strings.Cut(text, "=")
			if !found || strings.Trim(key, whitespace) == "" {
				return nil, refused(l.At(start), `line without a key or "="`)
			}
			offset := start + len(key) + 1 + len(value) - len(strings.TrimLeft(value, whitespace))
			all = append(all, assignment{section, strings.Trim(key, whitespace), strings.Trim(value, whitespace), min(offset, len(l.Text)), l})
		}
	}
	return all, nil
}

// refused never quotes the line: a continuation gone wrong can hold part of a secret.
func refused(at descriptor.Position, message string) *descriptor.Finding {
	return &descriptor.Finding{
		Rule: descriptor.RuleUnparsable, Severity: policy.SeverityError, Message: message, Position: at,
		Fix: "correct it: podman's generator makes no unit of the file, so nothing of it was judged",
	}
}

// inForce is the lines of a key that count: an empty one takes back those before it.
func inForce(all []assignment, section, key string) []assignment {
	var list []assignment
	for _, a := range all {
		switch {
		case a.section != section || a.key != key:
		case a.value == "":
			list = nil
		default:
			list = append(list, a)
		}
	}
	return list
}

// last is the line of a key that counts where only one does; nil for none.
func last(all []assignment, section, key string) *assignment {
	for _, a := range slices.Backward(all) {
		if a.section == section && a.key == key {
			return &a
		}
	}
	return nil
}

// word is a part of a value.
type word struct {
	text   string
	offset int
}

// words takes a value apart as the generator does: at white space, with quotes and backslashes. A quote that is not closed
// ends with the line.
func words(s string) []word {
	var all []word
	var out strings.Builder
	var quote byte
	start, open := 0, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s):
			if !open {
				start, open = i, true
			}
			text, width := escaped(s[i+1:])
			i += width
			out.WriteString(text)
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				out.WriteByte(c)
			}
		case c == '"' || c == '\'':
			if !open {
				start, open = i, true
			}
			quote = c
		case strings.IndexByte(whitespace, c) >= 0:
			if open {
				all = append(all, word{out.String(), start})
				out.Reset()
				open = false
			}
		default:
			if !open {
				start, open = i, true
			}
			out.WriteByte(c)
		}
	}
	if open {
		all = append(all, word{out.String(), start})
	}
	return all
}

// escaped is what a backslash makes of the text behind it, and how much of that it takes.
func escaped(s string) (text string, width int) {
	if s[0] == 'x' && len(s) > 2 {
		if n, err := strconv.ParseUint(s[1:3], 16, 8); err == nil {
			return string([]byte{byte(n)}), 3
		}
	}
	if i := strings.IndexByte("abfnrtvs", s[0]); i >= 0 {
		return string("\a\b\f\n\r\t\v "[i]), 1
	}
	return s[:1], 1
}
