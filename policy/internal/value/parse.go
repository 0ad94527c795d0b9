package value

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// What a guest may write at most. Its own parser and OPA's evaluator have no such bounds.
const (
	maxDepth  = 100
	maxNumber = 1_000 // characters
)

var errSyntax = errors.New("not a value in Rego's notation")

// Parse reads the notation that a guest writes. It is strict: what is left over, a string with a bare control character or
// a number that JSON does not have is an error.
func Parse(text []byte) (Value, error) {
	p := parser{text: text}
	v, err := p.value(0)
	if err == nil && p.space() != 0 {
		err = p.fail()
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

type parser struct {
	text []byte
	i    int
}

func (p *parser) fail() error { return fmt.Errorf("%w: byte %d", errSyntax, p.i) }

// space passes over white space and returns the byte behind it, 0 at the end.
func (p *parser) space() byte {
	for ; p.i < len(p.text); p.i++ {
		if c := p.text[p.i]; c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c
		}
	}
	return 0
}

// take passes over a word if it comes next.
func (p *parser) take(word string) bool {
	if !bytes.HasPrefix(p.text[p.i:], []byte(word)) {
		return false
	}
	p.i += len(word)
	return true
}

func (p *parser) value(depth int) (Value, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("a value nested deeper than %d", maxDepth)
	}
	switch c := p.space(); {
	case c == '[':
		p.i++
		list, err := p.list(nil, ']', depth)
		return Array(list), err
	case c == '{':
		p.i++
		return p.braces(depth)
	case c == '"':
		return p.string()
	case c == '-' || c == '.' || c >= '0' && c <= '9':
		return p.number()
	case p.take("null"):
		return Null{}, nil
	case p.take("true"):
		return true, nil
	case p.take("false"):
		return false, nil
	case p.take("set()"):
		return Set(nil), nil
	}
	return nil, p.fail()
}

// list reads values up to an end, the first of which may have been read already.
func (p *parser) list(list []Value, end byte, depth int) ([]Value, error) {
	for {
		c := p.space()
		switch {
		case c == end:
			p.i++
			return list, nil
		case c == ',' && len(list) > 0:
			p.i++
		case len(list) > 0:
			return nil, p.fail()
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
}

// braces reads what is behind an opening one: an object, or a set with an element.
func (p *parser) braces(depth int) (Value, error) {
	if p.space() == '}' {
		p.i++
		return Object(nil), nil
	}
	first, err := p.value(depth + 1)
	if err != nil {
		return nil, err
	}
	if p.space() != ':' {
		list, err := p.list([]Value{first}, '}', depth)
		if err != nil {
			return nil, err
		}
		return NewSet(list), nil
	}
	return p.object(first, depth)
}

// object reads members, the key of the first of which has been read already.
func (p *parser) object(key Value, depth int) (Value, error) {
	var members []Member
	for {
		if p.space() != ':' {
			return nil, p.fail()
		}
		p.i++
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		members = append(members, Member{key, v})
		switch p.space() {
		case '}':
			p.i++
			return newObject(members), nil
		case ',':
			p.i++
		default:
			return nil, p.fail()
		}
		if key, err = p.value(depth + 1); err != nil {
			return nil, err
		}
	}
}

func (p *parser) string() (Value, error) {
	start := p.i
	for p.i++; p.i < len(p.text); p.i++ {
		switch p.text[p.i] {
		case '\\':
			p.i++
		case '"':
			p.i++
			var s string
			if !utf8.Valid(p.text[start:p.i]) || json.Unmarshal(p.text[start:p.i], &s) != nil {
				return nil, p.fail()
			}
			return s, nil
		}
	}
	return nil, p.fail()
}

func (p *parser) number() (Value, error) {
	start := p.i
	for p.i < len(p.text) && strings.IndexByte("+-.0123456789eE", p.text[p.i]) >= 0 {
		p.i++
	}
	text := string(p.text[start:p.i])
	if len(text) > maxNumber {
		return nil, fmt.Errorf("a number of %d characters, at most %d are allowed", len(text), maxNumber)
	}
	if before, after, _ := strings.Cut(text, "."); before == "" || before == "-" { // .5 is a literal of Rego
		text = before + "0." + after
	}
	if !json.Valid([]byte(text)) {
		return nil, p.fail()
	}
	return Number(text), nil
}
