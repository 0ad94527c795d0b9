package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// Bounds of a decision; what exceeds them is not a decision.
const (
	maxReasons = 256
	maxGrants  = 1_000
	maxText    = 1_024 // bytes of a message, a fix or a grant id
	maxCode    = 64
)

var errMalformed = errors.New("malformed decision")

// parseDecision reads what opa_eval returned for the decision entrypoint. Whatever is not exactly one well-formed
// result is an error: undefined, several results, a missing, repeated or unknown member, a wrong type, an unknown
// obligation, a bad code, or an allow beside a reason of severity error.
func parseDecision(raw []byte) (Decision, error) {
	p := parser{b: raw}
	var d Decision
	if p.resultSet(func() { p.decision(&d) }); p.err != nil {
		return Decision{}, p.err
	}
	return d, nil
}

// parseBool reads what opa_eval returned for the may_ask entrypoint.
func parseBool(raw []byte) (bool, error) {
	p := parser{b: raw}
	var v bool
	if p.resultSet(func() { v = p.bool() }); p.err != nil {
		return false, p.err
	}
	return v, nil
}

// parser reads JSON of one known shape, strictly. After its first error every read gives zero.
type parser struct {
	b   []byte
	i   int
	err error
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: "+format, append([]any{errMalformed}, args...)...)
	}
	p.i = len(p.b)
}

func (p *parser) peek() byte {
	for p.i < len(p.b) {
		switch c := p.b[p.i]; c {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return c
		}
	}
	return 0
}

func (p *parser) accept(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.i++
	return true
}

func (p *parser) expect(c byte) {
	if !p.accept(c) {
		p.fail("%q expected at byte %d", c, p.i)
	}
}

// resultSet reads [{"result": value}] and nothing behind it.
func (p *parser) resultSet(value func()) {
	if !utf8.Valid(p.b) {
		p.fail("not UTF-8")
		return
	}
	p.expect('[')
	if p.accept(']') {
		p.fail("the entrypoint is undefined")
		return
	}
	p.object([]string{"result"}, func(int) { value() })
	p.expect(']')
	if p.peek() != 0 || p.i != len(p.b) {
		p.fail("more than one result")
	}
}

// object reads an object that has each of the named members once, in any order, and no other.
func (p *parser) object(members []string, read func(member int)) {
	p.expect('{')
	var seen uint
	for n := 0; p.err == nil && !p.accept('}'); n++ {
		if n > 0 {
			p.expect(',')
		}
		m := p.member(members)
		if m < 0 || seen&(1<<m) != 0 {
			p.fail("unknown or repeated member before byte %d", p.i)
			return
		}
		seen |= 1 << m
		p.expect(':')
		read(m)
	}
	if p.err == nil && seen != 1<<len(members)-1 {
		p.fail("the member %q is missing", members[bits.TrailingZeros(^seen)])
	}
}

// member reads a name and gives its place in names, or -1.
func (p *parser) member(names []string) int {
	raw := p.rawString()
	for i, n := range names {
		if string(raw) == n {
			return i
		}
	}
	return -1
}

func (p *parser) array(most int, read func()) {
	p.expect('[')
	for n := 0; p.err == nil && !p.accept(']'); n++ {
		if n > 0 {
			p.expect(',')
		}
		if n >= most {
			p.fail("more than %d items", most)
			return
		}
		read()
	}
}

func (p *parser) bool() bool {
	p.peek()
	for _, v := range [...]bool{true, false} {
		if s := strconv.FormatBool(v); len(p.b)-p.i >= len(s) && string(p.b[p.i:p.i+len(s)]) == s {
			p.i += len(s)
			return v
		}
	}
	p.fail("true or false expected at byte %d", p.i)
	return false
}

// size reads an integer from 0 up.
func (p *parser) size() int64 {
	p.peek()
	start := p.i
	for p.i < len(p.b) && p.b[p.i] >= '0' && p.b[p.i] <= '9' {
		p.i++
	}
	n, err := strconv.ParseInt(string(p.b[start:p.i]), 10, 64)
	if err != nil {
		p.fail("a whole number expected at byte %d", start)
	}
	return n
}

// rawString reads a string and gives what stands between its quotes.
func (p *parser) rawString() []byte {
	p.expect('"')
	start := p.i
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case '"':
			p.i++
			return p.b[start : p.i-1]
		case '\\':
			p.i += 2
		default:
			p.i++
		}
	}
	p.fail("a string without an end")
	return nil
}

// text reads a string of at most most bytes and copies it.
func (p *parser) text(most int) string {
	raw := p.rawString()
	if len(raw) > 6*most {
		p.fail("a string of more than %d bytes", most)
		return ""
	}
	s := string(raw)
	for _, c := range raw {
		if c == '\\' || c < 0x20 {
			if err := json.Unmarshal([]byte(`"`+s+`"`), &s); err != nil {
				p.fail("a bad escape before byte %d", p.i)
			}
			break
		}
	}
	if len(s) > most {
		p.fail("a string of more than %d bytes", most)
	}
	return s
}

func (p *parser) decision(d *Decision) {
	d.said = new(said)
	p.object([]string{"allow", "reasons", "obligations", "grants"}, func(m int) {
		switch m {
		case 0:
			d.allow = p.bool()
		case 1:
			p.array(maxReasons, func() { d.said.reasons = append(d.said.reasons, p.reason()) })
		case 2:
			p.obligations(&d.obligations)
		case 3:
			p.array(maxGrants, func() { d.said.grants = append(d.said.grants, p.text(maxText)) })
		}
	})
	for _, r := range d.said.reasons {
		if d.allow && r.Severity == SeverityError {
			p.fail("allow beside the error %q", r.Code)
		}
	}
}

func (p *parser) reason() Reason {
	var r Reason
	p.object([]string{"code", "message", "severity", "fix"}, func(m int) {
		switch m {
		case 0:
			if r.Code = p.text(maxCode); !validCode(r.Code) {
				p.fail("bad reason code %q", r.Code)
			}
		case 1:
			r.Message = p.text(maxText)
		case 2:
			r.Severity = Severity(p.text(maxCode))
			if r.Severity != SeverityError && r.Severity != SeverityWarning && r.Severity != SeverityNote {
				p.fail("bad severity %q", r.Severity)
			}
		case 3:
			r.Fix = p.text(maxText)
		}
	})
	return r
}

func validCode(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxCode
}

func (p *parser) obligations(o *Obligations) {
	p.object([]string{"max_bytes", "min_memory", "min_length"}, func(m int) {
		switch m {
		case 0:
			o.MaxBytes = p.size()
		case 1:
			o.MinMemory = Memory(p.text(maxCode))
			if !o.MinMemory.known() {
				p.fail("bad min_memory %q", o.MinMemory)
			}
		case 2:
			o.MinLength = p.size()
		}
	})
}

func (m Memory) known() bool {
	return m == "" || m == MemorySecret || m == MemoryLocked || m == MemoryHeap
}
