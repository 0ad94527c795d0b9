package systemd

import "github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"

// Line is a line of a unit file after continuations are joined; comments are gone.
type Line struct {
	Text string

	file string
	from logical
}

// At is the place of the byte at offset.
func (l *Line) At(offset int) descriptor.Position { return l.from.position(l.file, offset) }

// Lines reads the syntax that systemd shares with programs that make units of files like them.
func Lines(file string, data []byte) []Line {
	var all []Line
	var line logical
	continued, first := false, true
	for l := range splitLines(string(data)) {
		if isComment(l.text) {
			continue
		}
		if first && len(l.text) >= len(bom) && l.text[:len(bom)] == bom {
			l.text = l.text[len(bom):]
		}
		first = false
		if continued = line.add(l); continued {
			continue
		}
		all = append(all, Line{string(line.text), file, line})
		line = logical{}
	}
	if continued {
		all = append(all, Line{string(line.text), file, line})
	}
	return all
}
