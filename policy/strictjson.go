package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// encoding/json is too forgiving for what decides about access: it takes the last of two equal members, matches names
// without regard to case, and replaces invalid UTF-8. The helpers here refuse all three.

// maxJSONDepth bounds nesting: nothing that a policy needs comes near it.
const maxJSONDepth = 100

// JSONError is a fault in a JSON document: one that the parser finds, not one of meaning. Line and Column count from 1,
// Column in bytes.
type JSONError struct {
	File         string // of a bundle; empty for a document that is none
	Line, Column int
	Reason       string
}

func (e *JSONError) Error() string {
	return fmt.Sprintf("%s, at line %d, column %d", e.Reason, e.Line, e.Column)
}

// jsonChecker reads a document token by token.
type jsonChecker struct {
	data []byte
	dec  *json.Decoder
}

// checkJSON reports whether data is exactly one JSON object, in UTF-8, without duplicate members at any level. The error
// is a *[JSONError].
func checkJSON(data []byte) error {
	c := &jsonChecker{data, json.NewDecoder(bytes.NewReader(data))}
	c.dec.UseNumber()
	if !utf8.Valid(data) {
		return c.fault(firstInvalid(data), "not UTF-8")
	}
	start := c.next()
	tok, err := c.dec.Token()
	if err != nil {
		return c.syntax(err)
	}
	if tok != json.Delim('{') {
		return c.fault(start, "not a JSON object")
	}
	if err := c.members(nil); err != nil {
		return err
	}
	end := c.next()
	if _, err := c.dec.Token(); !errors.Is(err, io.EOF) {
		return c.fault(end, "something follows the JSON object")
	}
	return nil
}

// firstInvalid is where a text stops being UTF-8.
func firstInvalid(data []byte) int {
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return len(data)
}

// next is where the next token begins.
func (c *jsonChecker) next() int {
	at := int(c.dec.InputOffset())
	return at + len(c.data[at:]) - len(bytes.TrimLeft(c.data[at:], " \t\r\n,:"))
}

// fault describes the place of a byte.
func (c *jsonChecker) fault(at int, reason string) error {
	before := c.data[:min(at, len(c.data))]
	return &JSONError{
		Line:   bytes.Count(before, []byte("\n")) + 1,
		Column: len(before) - bytes.LastIndexByte(before, '\n'),
		Reason: reason,
	}
}

// syntax places an error of the decoder, whose own offsets count from wherever its buffer began: the parser for whole
// documents finds the same fault again.
func (c *jsonChecker) syntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return c.fault(len(c.data), "the JSON ends too early")
	}
	var whole json.RawMessage
	var fault *json.SyntaxError
	if errors.As(json.Unmarshal(c.data, &whole), &fault) {
		return c.fault(int(fault.Offset)-1, fault.Error())
	}
	return c.fault(c.next(), err.Error())
}

// members reads the rest of an object whose opening brace is consumed.
func (c *jsonChecker) members(at []string) error {
	seen := map[string]bool{}
	for c.dec.More() {
		place := c.next()
		tok, err := c.dec.Token()
		if err != nil {
			return c.syntax(err)
		}
		name, ok := tok.(string)
		if !ok { // the decoder gives nothing else as a name
			return c.fault(place, "a member name is not a string")
		}
		if seen[name] {
			return c.fault(place, fmt.Sprintf("duplicate member %q", strings.Join(append(at, name), ".")))
		}
		seen[name] = true
		if err := c.value(append(at, name)); err != nil {
			return err
		}
	}
	return c.end()
}

// end reads the closing bracket of an object or a list.
func (c *jsonChecker) end() error {
	if _, err := c.dec.Token(); err != nil {
		return c.syntax(err)
	}
	return nil
}

// value reads one value of any kind.
func (c *jsonChecker) value(at []string) error {
	if len(at) > maxJSONDepth {
		return c.fault(c.next(), fmt.Sprintf("nested deeper than %d", maxJSONDepth))
	}
	tok, err := c.dec.Token()
	if err != nil {
		return c.syntax(err)
	}
	switch tok {
	case json.Delim('{'):
		return c.members(at)
	case json.Delim('['):
		for c.dec.More() {
			if err := c.value(append(at, "[]")); err != nil {
				return err
			}
		}
		return c.end()
	}
	return nil
}

// object decodes a JSON object whose members are all among names, spelt exactly so.
func object(raw json.RawMessage, names ...string) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := decode(raw, '{', &members); err != nil {
		return nil, err
	}
	for name := range members {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("unknown field %q; known: %s", name, strings.Join(names, ", "))
		}
	}
	return members, nil
}

// decode decodes raw into v, which must be of the kind that begins with first: one of { [ " t 0. A null is no value of
// any kind.
func decode(raw json.RawMessage, first byte, v any) error {
	if kindOf(raw) != first {
		return fmt.Errorf("want %s", kindName(first))
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("want %s of the right kind: %w", kindName(first), err)
	}
	return nil
}

// kindOf tells a JSON value's kind by its first byte: t for both booleans, 0 for every number.
func kindOf(raw json.RawMessage) byte {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if len(raw) == 0 {
		return 'n'
	}
	switch c := raw[0]; {
	case c == 'f':
		return 't'
	case c == '-' || c >= '0' && c <= '9':
		return '0'
	default:
		return c
	}
}

// kindName names a kind in the words of an error message.
func kindName(kind byte) string {
	switch kind {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't':
		return "a boolean"
	default:
		return "a number"
	}
}
