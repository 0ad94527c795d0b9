package systemd

import (
	"bytes"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

const (
	whitespace = " \t\n\r" // systemd's WHITESPACE
	bom        = "\uFEFF"
)

// assignment is one "key=value" that systemd would act on. The value of a literal credential is cut off: only what
// stands before its first colon is kept.
type assignment struct {
	section string
	key     string
	value   string
	fault   string // why systemd would refuse the literal that was cut off
	size    int64  // of that literal, -1 where only systemd can decrypt it
	at      descriptor.Position

	variables []variable // of an environment, without their values
	exposed   []exposure // what a command line shows
	faults    []fault
}

// parser reads one unit file or drop-in.
type parser struct {
	file        string
	section     string
	known       bool // the section is one that systemd reads in a service
	assignments []assignment
	bad         *descriptor.Finding

	unit name
	keep func(p *parser, a *assignment, l *logical, offset int) // what of a value goes on
}

// parse reads a unit file as systemd's config_parse does. A file with a fault that systemd would log or refuse the
// unit for gives that one finding and no assignments: half a unit is not judged.
func parse(unit name, file string, data []byte) ([]assignment, *descriptor.Finding) {
	return (&parser{file: file, unit: unit, keep: reduce}).parse(data)
}

func (p *parser) parse(data []byte) ([]assignment, *descriptor.Finding) {
	if i := bytes.IndexByte(data, 0); i >= 0 {
		var last physical
		for last = range splitLines(string(data[:i]) + "?") {
		}
		column := last.column + utf8.RuneCountInString(last.text) - 1
		p.refuse(descriptor.Position{File: p.file, Line: last.line, Column: column}, "NUL byte")
		return nil, p.bad
	}
	p.run(splitLines(string(data)))
	if p.bad != nil {
		return nil, p.bad
	}
	return p.assignments, nil
}

func (p *parser) run(lines iter.Seq[physical]) {
	var line logical
	continued, bomSeen := false, false
	for l := range lines {
		if isComment(l.text) { // inside a continuation too, where it does not end it
			continue
		}
		if !bomSeen && strings.HasPrefix(l.text, bom) {
			bomSeen = true
			l.text = l.text[len(bom):]
		}
		if continued = line.add(l); continued {
			continue
		}
		p.line(&line)
		if p.bad != nil {
			return
		}
		line = logical{}
	}
	if continued {
		p.line(&line)
	}
}

// isComment is systemd's test: a comment is a physical line, so a backslash at its end continues nothing.
func isComment(text string) bool {
	text = strings.TrimLeft(text, whitespace)
	return text != "" && (text[0] == '#' || text[0] == ';')
}

// line handles one logical line.
func (p *parser) line(l *logical) {
	text := strings.TrimRight(string(l.text), whitespace)
	start := len(text) - len(strings.TrimLeft(text, whitespace))
	text = text[start:]
	at := l.position(p.file, start)
	switch {
	case text == "":
	case !validUTF8(text):
		p.refuse(at, "line is not valid UTF-8")
	case text[0] == '[':
		p.header(text, at)
	case p.section == "" && isComment(text): // a comment behind a byte order mark
	case p.section == "":
		p.refuse(at, "assignment before any section")
	case p.known:
		p.assign(l, text, start)
	}
}

func (p *parser) header(text string, at descriptor.Position) {
	if !strings.HasSuffix(text, "]") || len(text) < 2 {
		p.refuse(at, `section header without "]"`)
		return
	}
	if strings.ContainsFunc(text, unsafe) {
		p.refuse(at, "section header with a quote, a backslash or a control character")
		return
	}
	p.section = text // with its brackets, so that "[]" is a section like any other unknown one
	p.known = p.section == "[Unit]" || p.section == "[Service]" || p.section == "[Install]"
}

// unsafe is systemd's string_is_safe, which section headers have to be.
func unsafe(r rune) bool { return r < ' ' || strings.ContainsRune("\"'\\\x7f", r) }

func (p *parser) assign(l *logical, text string, start int) {
	key, value, found := strings.Cut(text, "=")
	if !found {
		p.refuse(l.position(p.file, start), `line without "="`)
		return
	}
	if key == "" {
		p.refuse(l.position(p.file, start), `no key before "="`)
		return
	}
	offset := start + len(key) + 1
	offset += len(value) - len(strings.TrimLeft(value, whitespace))
	a := assignment{section: p.section, key: strings.Trim(key, whitespace), value: strings.Trim(value, whitespace)}
	if !wanted(a.section, a.key) {
		if mistaken(a.section, a.key) {
			a.value, a.at = "", l.span(p.file, start, start+len(a.key))
			p.assignments = append(p.assignments, a)
		}
		return
	}
	if a.value == "" {
		offset = start
	}
	a.at = l.span(p.file, offset, start+len(text))
	if a.value != "" {
		p.keep(p, &a, l, offset)
	}
	p.assignments = append(p.assignments, a)
}

// refuse records the fault. It never quotes the line: a continuation gone wrong can hold part of a secret.
func (p *parser) refuse(at descriptor.Position, message string) {
	p.bad = &descriptor.Finding{
		Rule: descriptor.RuleUnparsable, Severity: policy.SeverityError, Message: message,
		Fix: "correct the unit; systemd-analyze verify shows what systemd makes of it", Position: at,
	}
}

// NamesCredentials reports whether a unit of any type has a line about credentials. It may err on the side of yes.
func NamesCredentials(data []byte) bool {
	for l := range splitLines(string(data)) {
		if !isComment(l.text) && strings.Contains(l.text, "Credential") {
			return true
		}
	}
	return false
}

// Activates reads from a socket, timer or path which service it starts: "" for that of its own name, and whether a socket
// starts an instance of a template for each connection.
func Activates(data []byte) (unit string, each bool) {
	for l := range splitLines(string(data)) {
		key, value, _ := strings.Cut(l.text, "=")
		value = strings.Trim(value, whitespace)
		switch strings.Trim(key, whitespace) {
		case "Service", "Unit":
			unit = value
		case "Accept":
			each = isTrue(value)
		}
	}
	return unit, each
}
