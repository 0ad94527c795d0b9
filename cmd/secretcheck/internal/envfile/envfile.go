// Package envfile reads environment files as systemd does (load_env_file in env-file.c of 257), which is neither a shell
// nor the parser of unit files: there are no specifiers and no references to variables. It keeps names and places; a value
// is looked at and dropped.
package envfile

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/secretname"
)

// Variable is one assignment.
type Variable struct {
	Name    string // "" where it is none that a variable can have: systemd passes over the assignment
	Literal bool   // the value is neither empty nor the place of something

	// From the name to the end of the value, in characters; the end is where the next one would stand.
	Line, Column, EndLine, EndColumn int
}

// ErrUnreadable says that systemd does not read the file at all, and does not start the service unless the file may be
// missing.
var ErrUnreadable = errors.New("a NUL byte, or a key or value that is not UTF-8")

// Parse lists the assignments of a file, of one name the last. 252 goes on with a comment behind a backslash at its end,
// 257 does not: what stands there is taken for an assignment.
func Parse(data []byte) ([]Variable, error) {
	p := parser{data: data, line: 1, column: 1}
	for i := range data {
		if data[i] == 0 {
			return nil, ErrUnreadable
		}
		p.byte(data[i])
		p.advance(data[i])
	}
	if p.state != preKey && p.state != key && p.state != comment && p.state != commentEscape {
		p.push()
	}
	clear(p.value[:cap(p.value)])
	if p.bad {
		return nil, ErrUnreadable
	}
	return p.last(), nil
}

type state int

const (
	preKey state = iota
	key
	preValue
	value
	valueEscape
	singleQuoted
	doubleQuoted
	doubleQuotedEscape
	comment
	commentEscape
)

// parser is systemd's state machine.
type parser struct {
	data  []byte
	state state

	name  []byte
	value []byte
	trim  int // length of the value without white space at its end, -1 where there is none

	line, column int // of the byte at hand
	at           Variable
	all          []Variable
	bad          bool
}

const (
	whitespace = " \t\n\r"
	newline    = "\n\r"
	comments   = "#;"
	escapable  = "\"\\`$"
)

func in(set string, b byte) bool { return strings.IndexByte(set, b) >= 0 }

// advance counts lines as editors do, and characters.
func (p *parser) advance(b byte) {
	switch {
	case b == '\n':
		p.line, p.column = p.line+1, 1
	case utf8.RuneStart(b):
		p.column++
	}
}

func (p *parser) byte(b byte) {
	switch p.state {
	case preKey:
		p.preKey(b)
	case key:
		p.key(b)
	case preValue, value:
		p.inValue(b)
	case valueEscape:
		p.state = value
		if !in(newline, b) {
			p.add(b)
		}
	case singleQuoted, doubleQuoted, doubleQuotedEscape:
		p.quoted(b)
	case comment:
		if b == '\\' {
			p.state = commentEscape
		} else if in(newline, b) {
			p.state = preKey
		}
	case commentEscape:
		p.state = comment
		if in(newline, b) {
			p.state = preKey
		}
	}
}

func (p *parser) preKey(b byte) {
	switch {
	case in(comments, b):
		p.state = comment
	case !in(whitespace, b):
		p.state, p.name = key, append(p.name[:0], b)
		p.at = Variable{Line: p.line, Column: p.column}
	}
}

func (p *parser) key(b byte) {
	switch {
	case in(newline, b):
		p.state = preKey
	case b == '=':
		p.state, p.value, p.trim = preValue, p.value[:0], -1
	default:
		p.name = append(p.name, b)
	}
}

func (p *parser) inValue(b byte) {
	switch {
	case in(newline, b):
		p.push()
		p.state = preKey
	case b == '\\':
		p.state, p.trim = valueEscape, -1
	case p.state == preValue && b == '\'':
		p.state = singleQuoted
	case p.state == preValue && b == '"':
		p.state = doubleQuoted
	case p.state == preValue && in(whitespace, b):
	default:
		p.state = value
		if !in(whitespace, b) {
			p.trim = -1
		} else if p.trim < 0 {
			p.trim = len(p.value)
		}
		p.add(b)
	}
}

func (p *parser) quoted(b byte) {
	switch {
	case p.state == singleQuoted && b == '\'', p.state == doubleQuoted && b == '"':
		p.state = preValue
	case p.state == doubleQuoted && b == '\\':
		p.state = doubleQuotedEscape
	case p.state == doubleQuotedEscape:
		p.state = doubleQuoted
		if in(escapable, b) {
			p.add(b)
		} else if b != '\n' {
			p.add('\\')
			p.add(b)
		}
	default:
		p.add(b)
	}
}

func (p *parser) add(b byte) { p.value = append(p.value, b) }

// push ends an assignment. Its place ends before the byte at hand.
func (p *parser) push() {
	if p.state == value && p.trim >= 0 {
		p.value = p.value[:p.trim]
	}
	name := strings.TrimRight(string(p.name), whitespace)
	if !utf8.ValidString(name) || !utf8.Valid(p.value) {
		p.bad = true
	}
	v := p.at
	v.EndLine, v.EndColumn = p.line, p.column
	v.Literal = secretname.Literal(string(p.value))
	if valid(name) {
		v.Name = name
	}
	p.all = append(p.all, v)
}

// valid is systemd's env_name_is_valid.
func valid(name string) bool {
	for i := range len(name) {
		b := name[i]
		digit := b >= '0' && b <= '9'
		if b != '_' && !digit && (b|0x20 < 'a' || b|0x20 > 'z') || digit && i == 0 {
			return false
		}
	}
	return name != ""
}

// last drops assignments whose name comes again.
func (p *parser) last() []Variable {
	final := map[string]int{}
	for i, v := range p.all {
		final[v.Name] = i
	}
	var list []Variable
	for i, v := range p.all {
		if v.Name == "" || final[v.Name] == i {
			list = append(list, v)
		}
	}
	return list
}
