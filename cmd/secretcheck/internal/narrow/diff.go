package narrow

import (
	"bytes"
	"fmt"
	"strings"
)

// around is how many lines a patch shows about a change.
const around = 3

// region is a run of lines that a change touches, from 0, and what stands there after it.
type region struct {
	from, to int // of the old lines; to is the first that stays
	lines    []string
}

// diff writes cuts as a unified diff, as patch(1) and git-apply(1) take it.
func diff(data []byte, cuts []cut, name string) string {
	old := splitLines(data)
	regions := touched(data, old, cuts)
	var b strings.Builder
	fmt.Fprintf(&b, "--- a/%s\n+++ b/%s\n", name, name)
	shift := 0
	for len(regions) > 0 {
		n := 1
		for n < len(regions) && regions[n].from-regions[n-1].to <= 2*around {
			n++
		}
		shift = hunk(&b, old, regions[:n], shift)
		regions = regions[n:]
	}
	return b.String()
}

// splitLines keeps the line feeds.
func splitLines(data []byte) []string {
	lines := strings.SplitAfter(string(data), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// touched groups the cuts by the lines that they touch.
func touched(data []byte, old []string, cuts []cut) (regions []region) {
	line, start := 0, 0 // the line that begins at start
	forward := func(at int) {
		for line < len(old)-1 && start+len(old[line]) <= at {
			start += len(old[line])
			line++
		}
	}
	for i := 0; i < len(cuts); {
		forward(cuts[i].from)
		r := region{from: line}
		begin := start
		var text []byte
		at := begin
		for {
			text = append(text, data[at:cuts[i].from]...)
			at = cuts[i].to
			forward(at)
			if i++; i == len(cuts) || cuts[i].from >= start+len(old[line]) {
				break
			}
		}
		text = append(text, data[at:start+len(old[line])]...)
		r.to = line + 1
		r.lines = splitLines(text)
		regions = append(regions, r.trimmed(old))
	}
	return regions
}

// trimmed leaves out the lines that are the same at both ends.
func (r region) trimmed(old []string) region {
	for r.from < r.to && len(r.lines) > 0 && old[r.from] == r.lines[0] {
		r.from, r.lines = r.from+1, r.lines[1:]
	}
	for r.from < r.to && len(r.lines) > 0 && old[r.to-1] == r.lines[len(r.lines)-1] {
		r.to, r.lines = r.to-1, r.lines[:len(r.lines)-1]
	}
	return r
}

// hunk writes regions that lie close together, and returns how far lines behind them have moved.
func hunk(b *strings.Builder, old []string, regions []region, shift int) int {
	first, last := max(regions[0].from-around, 0), min(regions[len(regions)-1].to+around, len(old))
	moved := 0
	var body bytes.Buffer
	at := first
	for _, r := range regions {
		marked(&body, ' ', old[at:r.from])
		marked(&body, '-', old[r.from:r.to])
		marked(&body, '+', r.lines)
		moved += len(r.lines) - (r.to - r.from)
		at = r.to
	}
	marked(&body, ' ', old[at:last])
	fmt.Fprintf(b, "@@ -%d,%d +%d,%d @@\n%s", first+1, last-first, first+1+shift, last-first+moved, body.String())
	return shift + moved
}

func marked(b *bytes.Buffer, mark byte, lines []string) {
	for _, l := range lines {
		b.WriteByte(mark)
		b.WriteString(l)
		if !strings.HasSuffix(l, "\n") {
			b.WriteString("\n\\ No newline at end of file\n")
		}
	}
}
