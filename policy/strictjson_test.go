package policy

import (
	"errors"
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
