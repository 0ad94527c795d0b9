// Package linediff compares texts line by line.
package linediff

import (
	"fmt"
	"slices"
	"strings"
)

const (
	around   = 3       // lines shown about a change
	maxCells = 4 << 20 // of the table that a comparison may need; beyond it, all lines between the first and the last change go
)

// line is one of a diff: ' ' in both, '-' only before, '+' only after.
type line struct {
	mark byte
	text string
}

// Unified writes what has changed as patch(1) takes it; nothing where nothing has.
func Unified(name string, before, after []byte) string {
	lines := compare(split(before), split(after))
	var b strings.Builder
	for at := 0; at < len(lines); {
		first := at
		for first < len(lines) && lines[first].mark == ' ' {
			first++
		}
		if first == len(lines) {
			break
		}
		from := max(at, first-around)
		to := end(lines, first)
		if b.Len() == 0 {
			fmt.Fprintf(&b, "--- %s\n+++ %s\n", name, name)
		}
		hunk(&b, lines, from, to)
		at = to
	}
	return b.String()
}

// end is behind the last line of a hunk: changes that lie close together are in one.
func end(lines []line, from int) int {
	last := from
	for i := from; i < len(lines) && i <= last+2*around; i++ {
		if lines[i].mark != ' ' {
			last = i
		}
	}
	return min(last+around+1, len(lines))
}

func hunk(b *strings.Builder, lines []line, from, to int) {
	oldStart, newStart := position(lines[:from])
	oldLen, newLen := position(lines[from:to])
	fmt.Fprintf(b, "@@ -%s +%s @@\n", span(oldStart, oldLen), span(newStart, newLen))
	for _, l := range lines[from:to] {
		b.WriteByte(l.mark)
		b.WriteString(l.text)
		if !strings.HasSuffix(l.text, "\n") {
			b.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

// position counts the lines of both texts.
func position(lines []line) (before, after int) {
	for _, l := range lines {
		if l.mark != '+' {
			before++
		}
		if l.mark != '-' {
			after++
		}
	}
	return before, after
}

func span(start, length int) string {
	if length > 0 {
		start++
	}
	return fmt.Sprintf("%d,%d", start, length)
}

func split(text []byte) []string {
	lines := strings.SplitAfter(string(text), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// compare finds the longest sequence that both have, but for what is the same at both ends.
func compare(a, b []string) []line {
	var head, tail []line
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head = append(head, line{' ', a[0]})
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail = append(tail, line{' ', a[len(a)-1]})
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	slices.Reverse(tail)
	return slices.Concat(head, middle(a, b), tail)
}

func middle(a, b []string) []line {
	var out []line
	i, j := 0, 0
	if (len(a)+1)*(len(b)+1) <= maxCells {
		common := table(a, b)
		for i < len(a) && j < len(b) {
			switch {
			case a[i] == b[j]:
				out = append(out, line{' ', a[i]})
				i, j = i+1, j+1
			case common[i+1][j] >= common[i][j+1]:
				out = append(out, line{'-', a[i]})
				i++
			default:
				out = append(out, line{'+', b[j]})
				j++
			}
		}
	}
	for ; i < len(a); i++ {
		out = append(out, line{'-', a[i]})
	}
	for ; j < len(b); j++ {
		out = append(out, line{'+', b[j]})
	}
	return out
}

// table has the length of the longest common sequence of a[i:] and b[j:].
func table(a, b []string) [][]int32 {
	t := make([][]int32, len(a)+1)
	for i := range t {
		t[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				t[i][j] = t[i+1][j+1] + 1
			} else {
				t[i][j] = max(t[i+1][j], t[i][j+1])
			}
		}
	}
	return t
}
