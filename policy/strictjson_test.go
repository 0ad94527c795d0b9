package policy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestBrokenJSONIsPlaced(t *testing.T) {
	t.Run("POL-1004", func(t *testing.T) {
		for _, c := range []struct {
			data         string
			line, column int
		}{
			{"{\n \"a\": 1,\n\t\t}", 3, 3},
			{"{\n  \"a\": [1 2]\n}", 2, 11},
			{"{\n  \"a\": 1\n", 3, 1},
			{"\n\n  []", 3, 3},
			{"{}\n\n {}", 3, 2},
			{"{\"a\": 1,\n  \"a\": 2}", 2, 3},
			{"{\"a\": [{\"b\": 1},\n{\"b\": 1, \"b\" : 2}]}", 2, 10},
			{"{\"a\":\n\"\xff\"}", 2, 2},
			{"{'a': 1}", 1, 2},
			{"{\"a\": truth}", 1, 10},
			{"{\n\"a\" 1}", 2, 5},
		} {
			_, err := ParseGrants([]byte(c.data))
			var at *JSONError
			if !errors.As(err, &at) || !errors.Is(err, ErrGrants) {
				t.Errorf("%q: %v", c.data, err)
			} else if at.Line != c.line || at.Column != c.column || at.Reason == "" {
				t.Errorf("%q: %v, want line %d, column %d", c.data, at, c.line, c.column)
			}
		}
	})
}

// TestFaultsThatTheDecoderDoesNotHave: POL-1004. Should it change, a document is still refused, at a place within it.
func TestFaultsThatTheDecoderDoesNotHave(t *testing.T) {
	inList := func(data string) *jsonChecker {
		c := &jsonChecker{[]byte(data), json.NewDecoder(strings.NewReader(data))}
		if _, err := c.dec.Token(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for want, err := range map[string]error{
		"a member name is not a string": inList(`[1]`).members(nil),
		"odd":                           inList(`[1]`).syntax(errors.New("odd")),
	} {
		var at *JSONError
		if !errors.As(err, &at) || *at != (JSONError{Line: 1, Column: 2, Reason: want}) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if at := firstInvalid([]byte("\u00e4")); at != 2 {
		t.Errorf("a valid text is invalid at %d", at)
	}
}
