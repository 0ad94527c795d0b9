package value

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"null": "null", " true": "true", "false\n": "false", `"a\u00e9\n"`: `"aé\n"`, "[]": "[]", "{}": "{}", "set()": "set()",
		"12345678901234567890123.50": "12345678901234567890123.50", "-0": "-0", ".5": "0.5", "-.5e3": "-0.5e3", "1e400": "1e400",
		`[1,[2],{3},{"a":4}]`: `[1, [2], {3}, {"a": 4}]`,
		"{3, 1, 2, 1.0, 1e0}": "{1, 2, 3}",
		`{{1},[1],{"a":1},"a",2,true,null,set(),{},[],false}`:    `{null, false, true, 2, "a", [], [1], {}, {"a": 1}, set(), {1}}`,
		`{"b":1,"a":{},[1]:2,"b":3}`:                             `{"a": {}, "b": 3, [1]: 2}`,
		"{10, 9, -10, -9, 0.1, 0.09, 1e2, 1e-2, 0}":              "{-10, -9, 0, 1e-2, 0.09, 0.1, 9, 10, 1e2}",
		"{1e999999999999, 1e5, -1e999999999999, 1e-99999999999}": "{-1e999999999999, 1e-99999999999, 1e5, 1e999999999999}",
	} {
		t.Run("POL-3002/"+want, func(t *testing.T) {
			v, err := Parse([]byte(text))
			if err != nil || Text(v) != want {
				t.Errorf("%s: %s, error %v", text, Text(v), err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "nul", "nullx", "1 2", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "{", "{1", "{1,", "{1,}", "{1:2", "{1:}", "{1:2,}",
		"{1:2,3}", "{:1}", "{1,2:3}", "{,}", `"`, `"a`, `"\`, `"\"`, `"\x41"`, "\"\n\"", "\"\xff\"", "-", "+1", "01", "1.", "1e", "--1",
		"1.2.3", ".", "set(", "set", "]", "'a'", "NaN", "\x00", strings.Repeat("[", maxDepth+2) + strings.Repeat("]", maxDepth+2),
		strings.Repeat("9", maxNumber+1), strings.Repeat("{1:", 1_000_000),
	} {
		if v, err := Parse([]byte(text)); err == nil {
			t.Errorf("POL-3003: %.40q is %s", text, Text(v))
		}
	}
	if _, err := Parse([]byte(strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth))); err != nil {
		t.Errorf("POL-3003: just deep enough: %v", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, v := range map[string]Value{
		"nothing": nil, "a Go number": 1, "not UTF-8": "\xff", "within": Array{Set{"\xff"}}, "a key": Object{{Key: "\xff", Value: true}},
		"a member": Object{{Key: "a", Value: nil}},
	} {
		if text, err := Encode(v); err == nil {
			t.Errorf("POL-3003: %s is %s", name, text)
		}
	}
}

// FuzzParse: POL-3002. What parses is written as what parses to the same, in both ways of writing it.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.50,null],{1}:set()}`, `{"\u0000\ud83d\ude00",-1e5,.5}`, "[[[{}]]]", "{1:{2:{3:4}}}", "{"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Parse([]byte(text))
		if err != nil {
			return
		}
		encoded, err := Encode(v)
		if err != nil {
			t.Fatalf("%s: %v", Text(v), err)
		}
		again, err := Parse(encoded)
		if err != nil || Compare(v, again) != 0 || Text(v) != Text(again) {
			t.Fatalf("%s became %s: %v", Text(v), encoded, err)
		}
	})
}
