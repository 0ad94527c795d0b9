// Package value is Rego's values as they cross between a guest and a function of the host: in the notation of OPA's
// opa_value_dump and opa_value_parse, which is JSON with sets, with keys of any kind and with numbers of any precision.
// What a guest writes is bounded in depth and in the length of numbers; the caller bounds the text.
package value

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Value is nil for undefined, or one of Null, bool, Number, string, Array, Object and Set.
type Value any

type (
	// Null is the null of JSON.
	Null struct{}

	// Number is a number as it is written in JSON: no digit is lost.
	Number string

	// Array is a list of values.
	Array []Value

	// Object is a list of members, sorted by their keys, which are all different.
	Object []Member

	// Set is a list of values, sorted and all different.
	Set []Value
)

// Member is a key with its value.
type Member struct{ Key, Value Value }

// Int is a number.
func Int(n int64) Number { return Number(strconv.FormatInt(n, 10)) }

// Type is Rego's name for what a value is.
func Type(v Value) string {
	names := [...]string{"undefined", "null", "boolean", "number", "string", "array", "object", "set", "unknown"}
	return names[rank(v)]
}

// Text writes a value the way Rego prints it.
func Text(v Value) string { return string(write(nil, v, strconv.AppendQuote)) }

// Encode writes a value the way a guest reads it. It fails for a string that is not UTF-8, which a guest cannot have, and
// for what is no value.
func Encode(v Value) ([]byte, error) {
	if err := check(v); err != nil {
		return nil, err
	}
	return write(nil, v, quoteJSON), nil
}

var (
	errUTF8    = errors.New("a string is not UTF-8")
	errNoValue = errors.New("no value of Rego")
)

func check(v Value) error {
	switch v := v.(type) {
	case Null, bool, Number:
		return nil
	case string:
		if !utf8.ValidString(v) {
			return errUTF8
		}
		return nil
	case Array:
		return checkAll(v)
	case Set:
		return checkAll(v)
	case Object:
		for _, m := range v {
			if err := errors.Join(check(m.Key), check(m.Value)); err != nil {
				return err
			}
		}
		return nil
	}
	return errNoValue
}

func checkAll(list []Value) error {
	for _, v := range list {
		if err := check(v); err != nil {
			return err
		}
	}
	return nil
}

func write(b []byte, v Value, quote func([]byte, string) []byte) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(b, v)
	case Number:
		return append(b, v...)
	case string:
		return quote(b, v)
	case Array:
		return append(writeAll(append(b, '['), v, quote), ']')
	case Set:
		if len(v) == 0 {
			return append(b, "set()"...)
		}
		return append(writeAll(append(b, '{'), v, quote), '}')
	case Object:
		b = append(b, '{')
		for i, m := range v {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = write(append(write(b, m.Key, quote), ": "...), m.Value, quote)
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

func writeAll(b []byte, list []Value, quote func([]byte, string) []byte) []byte {
	for i, v := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = write(b, v, quote)
	}
	return b
}

// quoteJSON escapes what a guest escapes, and nothing else: it reads every other byte as it is.
func quoteJSON(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// NewSet sorts values into a set. It keeps the list.
func NewSet(list []Value) Set {
	slices.SortFunc(list, Compare)
	return slices.CompactFunc(list, func(a, b Value) bool { return Compare(a, b) == 0 })
}

// newObject sorts members into an object; of two with one key it keeps the last. It keeps the list.
func newObject(list []Member) Object {
	slices.SortStableFunc(list, func(a, b Member) int { return Compare(a.Key, b.Key) })
	kept := list[:0]
	for _, m := range list {
		if n := len(kept); n > 0 && Compare(kept[n-1].Key, m.Key) == 0 {
			kept[n-1] = m
			continue
		}
		kept = append(kept, m)
	}
	return kept
}

// Compare is Rego's order of all values.
func Compare(a, b Value) int {
	if c := cmp.Compare(rank(a), rank(b)); c != 0 {
		return c
	}
	switch a := a.(type) {
	case bool:
		return compareAs(a, b, func(a, b bool) int { return cmp.Compare(btoi(a), btoi(b)) })
	case Number:
		return compareAs(a, b, compareNumbers)
	case string:
		return compareAs(a, b, strings.Compare)
	case Array:
		return compareAs(a, b, compareLists[Array])
	case Set:
		return compareAs(a, b, compareLists[Set])
	case Object:
		return compareAs(a, b, compareObjects)
	}
	return 0
}

func compareAs[T any](a T, b Value, compare func(a, b T) int) int {
	other, _ := b.(T) // of the same rank, so of the same type
	return compare(a, other)
}

func compareLists[L ~[]Value](a, b L) int { return slices.CompareFunc(a, b, Compare) }

func compareObjects(a, b Object) int {
	return slices.CompareFunc(a, b, func(a, b Member) int {
		return cmp.Or(Compare(a.Key, b.Key), Compare(a.Value, b.Value))
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func rank(v Value) int {
	switch v.(type) {
	case nil:
		return 0
	case Null:
		return 1
	case bool:
		return 2
	case Number:
		return 3
	case string:
		return 4
	case Array:
		return 5
	case Object:
		return 6
	case Set:
		return 7
	}
	return 8
}

// compareNumbers compares exactly, whatever the exponents: as signs, places of the point and digits.
func compareNumbers(a, b Number) int {
	x, y := split(a), split(b)
	c := cmp.Compare(x.sign, y.sign)
	if c != 0 || x.sign == 0 {
		return c
	}
	return x.sign * cmp.Or(cmp.Compare(x.point, y.point), bytes.Compare(x.digits, y.digits))
}

// decimal is sign × 0.digits × 10^point, its first digit and its last not zero.
type decimal struct {
	sign   int
	digits []byte
	point  int
}

func split(n Number) decimal {
	d := decimal{sign: 1}
	text := string(n)
	if rest, negative := strings.CutPrefix(text, "-"); negative {
		d.sign, text = -1, rest
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		exponent, _ := strconv.ParseInt(text[i+1:], 10, 32) // out of range it is the end of the range
		d.point, text = int(exponent), text[:i]
	}
	whole, fraction, _ := strings.Cut(text, ".")
	d.point += len(whole)
	digits := whole + fraction
	trimmed := strings.TrimLeft(digits, "0")
	d.point -= len(digits) - len(trimmed)
	d.digits = []byte(strings.TrimRight(trimmed, "0"))
	if len(d.digits) == 0 {
		return decimal{}
	}
	return d
}
