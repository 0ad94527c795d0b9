package systemd

import (
	"iter"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

// physical is a line as systemd reads it, and where it starts.
type physical struct {
	text   string
	line   int
	column int
}

// splitLines cuts text where systemd's read_line does: at a line feed, a carriage return, or one of each in either
// order. Lines are numbered by line feeds, as editors do, so that a lone carriage return only moves the column.
func splitLines(text string) iter.Seq[physical] {
	return func(yield func(physical) bool) {
		line, column := 1, 1
		for rest := text; rest != ""; {
			end := strings.IndexAny(rest, "\r\n")
			if end < 0 {
				end = len(rest)
			}
			if !yield(physical{rest[:end], line, column}) {
				return
			}
			width := markerWidth(rest[end:])
			if marker := rest[end : end+width]; strings.Contains(marker, "\n") {
				line++
				column = 1 + len(marker[strings.IndexByte(marker, '\n')+1:])
			} else {
				column += utf8.RuneCountInString(rest[:end]) + width
			}
			rest = rest[end+width:]
		}
	}
}

// markerWidth is the length of the end-of-line marker that s starts with.
func markerWidth(s string) int {
	if len(s) > 1 && s[0] != s[1] && (s[1] == '\n' || s[1] == '\r') {
		return 2
	}
	return min(len(s), 1)
}

// logical is a line after continuations are joined, with the way back to where each part stood.
type logical struct {
	text  []byte
	spans []span
	last  struct{ span, offset, column int } // what position found last: a long line asks for many, in order
}

type span struct {
	offset       int
	line, column int
}

// add appends a physical line and reports whether the next one continues it.
func (l *logical) add(p physical) bool {
	l.spans = append(l.spans, span{len(l.text), p.line, p.column})
	l.text = append(l.text, p.text...)
	slashes := len(p.text) - len(strings.TrimRight(p.text, `\`))
	if slashes%2 == 0 {
		return false
	}
	l.text[len(l.text)-1] = ' '
	return true
}

// position finds where the byte at offset stood in the file.
func (l *logical) position(file string, offset int) descriptor.Position {
	at := descriptor.Position{File: file, Line: 1, Column: 1}
	i := sort.Search(len(l.spans), func(i int) bool { return l.spans[i].offset > offset }) - 1
	if i < 0 {
		return at
	}
	from, column := l.spans[i].offset, l.spans[i].column
	if l.last.span == i && l.last.offset > from && l.last.offset <= offset {
		from, column = l.last.offset, l.last.column
	}
	at.Line, at.Column = l.spans[i].line, column+utf8.RuneCount(l.text[from:offset])
	l.last.span, l.last.offset, l.last.column = i, offset, at.Column
	return at
}

// span is the position of the bytes from offset to end.
func (l *logical) span(file string, offset, end int) descriptor.Position {
	at := l.position(file, offset)
	// The end belongs to the last byte: behind it, the next physical line may have begun.
	_, size := utf8.DecodeLastRune(l.text[offset:end])
	last := l.position(file, end-size)
	at.EndLine, at.EndColumn = last.Line, last.Column+min(size, 1)
	return at
}
