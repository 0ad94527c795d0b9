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

// checkJSON reports whether data is exactly one JSON object, in UTF-8, without duplicate members at any level.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	tok, err := dec.Token()
	if err != nil {
		return jsonError(err)
	}
	if tok != json.Delim('{') {
		return errors.New("not a JSON object")
	}
	if err := checkMembers(dec, nil); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

// checkMembers reads the rest of an object whose opening brace is consumed.
func checkMembers(dec *json.Decoder, at []string) error {
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return jsonError(err)
		}
		name, ok := tok.(string)
		if !ok { // unreachable: the decoder gives nothing else as a name
			return errors.New("a member name is not a string")
		}
		if seen[name] {
			return fmt.Errorf("duplicate member %q", strings.Join(append(at, name), "."))
		}
		seen[name] = true
		if err := checkValue(dec, append(at, name)); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return jsonError(err)
}

// checkValue reads one value of any kind.
func checkValue(dec *json.Decoder, at []string) error {
	if len(at) > maxJSONDepth {
		return fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return jsonError(err)
	}
	switch tok {
	case json.Delim('{'):
		return checkMembers(dec, at)
	case json.Delim('['):
		for dec.More() {
			if err := checkValue(dec, append(at, "[]")); err != nil {
				return err
			}
		}
		_, err := dec.Token()
		return jsonError(err)
	}
	return nil
}

// jsonError gives the decoder's bare end-of-input errors a meaning.
func jsonError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON ends too early")
	}
	return err
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
