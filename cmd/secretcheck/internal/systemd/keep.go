package systemd

import (
	"unicode/utf8"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

// fault is a piece of a line that systemd drops, or for which it refuses the unit.
type fault struct {
	at      descriptor.Position
	message string
	refused bool
}

// maxTold bounds what is told of one line: whoever mends that many sees the rest next time.
const maxTold = 100

// fault adds one, up to the bound.
func (l locate) fault(list []fault, from, to int, message string) []fault {
	if len(list) == maxTold {
		return list
	}
	return append(list, fault{at: l(from, to), message: message})
}

// reduce keeps of a value what may be kept: where a secret can stand, names and positions.
func reduce(p *parser, a *assignment, l *logical, offset int) {
	value := a.value
	at := func(from, to int) descriptor.Position { return l.span(p.file, offset+from, offset+to) }
	switch {
	case a.key == keySet || a.key == keySetEncrypted:
		a.value, a.size, a.fault = dropLiteral(value, a.key == keySetEncrypted)
	case a.key == keyEnvironment:
		a.value = kept
		a.variables, a.faults = readEnvironment(p.unit, value, at)
	case a.key == keyPass || a.key == keyUnset:
		a.value = kept
		a.variables, a.faults = readNames(p.unit, value, a.key == keyUnset, at)
	case isExec(a.key):
		a.value = kept
		a.exposed, a.faults = readExec(p.unit, value, at)
	}
}

// kept stands for a value that is gone and was not empty.
const kept = "…"

// locate gives the position of a piece of a value, from its offsets.
type locate func(from, to int) descriptor.Position

// whole is the position of a word.
func (w word) whole(at locate) descriptor.Position { return at(w.start(), w.end()) }

// start and end are the offsets of a word.
func (w word) start() int { return w.at[0] }
func (w word) end() int   { return w.at[len(w.at)-1] }

// from is the position of a word's end, from the byte i on.
func (w word) from(i int, at locate) descriptor.Position { return at(w.at[i], w.end()) }

// validUTF8 is systemd's utf8_is_valid, which refuses what is no character too.
func validUTF8(s string) bool {
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || !validRune(uint32(r)) { //nolint:gosec // a rune of DecodeRune is not negative
			return false
		}
		i += size
	}
	return true
}

// validVariable is systemd's env_name_is_valid.
func validVariable(name string) bool {
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	for i := range len(name) {
		if name[i] != '_' && !isAlphanumeric(name[i]) {
			return false
		}
	}
	return true
}
