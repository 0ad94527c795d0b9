package secrettest

import (
	"bytes"
	"crypto/rand"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/secret"
)

// Encoder is a way out of the process that [Check] tries, besides those of the standard library: a format such as YAML,
// or a logger.
type Encoder struct {
	Name   string
	Encode func(v any) ([]byte, error)
}

// canarySize is the length of a Canary in characters.
const canarySize = 32

// Canary returns a secret of 32 random letters, which the test closes at its end. No part of it occurs anywhere by
// chance, so that [Check] makes no mistakes with it.
func Canary(tb testing.TB) *secret.Secret {
	tb.Helper()
	s, err := secret.New(canarySize, func(buf []byte) (int, error) {
		_, _ = rand.Read(buf) // never returns an error: crypto/rand
		for i, b := range buf {
			buf[i] = 'a' + b%26
			if b >= 128 {
				buf[i] = 'A' + b%26
			}
		}
		return len(buf), nil
	})
	if err != nil {
		tb.Fatalf("secrettest: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("secrettest: %v", err)
		}
	})
	return s
}

// Check fails the test for each way in which v, a value that holds s, shows s: fmt with every verb and flag, slog,
// encoding/json, xml, gob and the marshalers for text and binary, more encoders if they are given, and a walk by
// reflection through pointers and unexported fields. A part of [MinRun] bytes counts, as it is or in hex, base64, decimal
// and the other forms in which fmt prints bytes. Encoders may refuse v, and should; a panic of one is a failure, too: a
// struct that embeds a *secret.Secret has its methods, which panic while it is nil.
//
// It cannot look inside functions, channels, unsafe pointers (atomic.Pointer and sync.Map have some) and what a value
// refers to by a name or a number, and takes no number of more than a byte apart. Methods with a pointer receiver are
// tried on v, not on what lies inside it: check those types too. A value that refers to itself is not given to xml and gob,
// which end the process on one, but is to each of more; through a slice or a map alone, fmt would, and the test fails.
//
// s must not be closed and must have [MinRun] bytes or more; use a [Canary], since of an ordinary word a part may well occur
// elsewhere. Messages name the way and the form, and never what was found.
func Check(tb testing.TB, v any, s *secret.Secret, more ...Encoder) {
	tb.Helper()
	for _, problem := range problems(v, s, more) {
		tb.Errorf("secrettest: %T: %s", v, problem)
	}
}

// problems returns what Check complains of.
func problems(v any, s *secret.Secret, more []Encoder) []string {
	var found []string
	err := s.Use(func(content []byte) error {
		if len(content) < MinRun {
			return fmt.Errorf("a secret of %d bytes is too short to look for, want %d", len(content), MinRun)
		}
		if loops(v, false) {
			return errors.New("it refers to itself through a slice or a map, and fmt never ends on it: not checked")
		}
		search := newSearch(content)
		defer search.wipe()
		shown := map[string][]string{} // the ways, by the form in which they show it
		for _, v := range withPointer(v) {
			for _, way := range append(ways(v), more...) {
				text, panicked := try(way, v)
				if panicked {
					found = append(found, way.Name+" panics; does it embed a secret that is nil?")
				}
				if form := search.in(text); form != "" && !slices.Contains(shown[form], way.Name) {
					shown[form] = append(shown[form], way.Name)
				}
			}
		}
		for _, form := range slices.Sorted(maps.Keys(shown)) {
			found = append(found, fmt.Sprintf("a part of the secret (%s) is shown by %s", form, some(shown[form])))
		}
		for _, place := range search.walk(v) {
			found = append(found, "a copy of a part of the secret lies in "+place)
		}
		return nil
	})
	if err != nil {
		found = append(found, err.Error())
	}
	return found
}

// withPointer is v and, if v is not a pointer itself, a pointer to it: methods with a pointer receiver, such as a String
// that says too much, are only found there.
func withPointer(v any) []any {
	if v == nil || reflect.TypeOf(v).Kind() == reflect.Pointer {
		return []any{v}
	}
	p := reflect.New(reflect.TypeOf(v))
	p.Elem().Set(reflect.ValueOf(v))
	return []any{v, p.Interface()}
}

// some names the first few.
func some(names []string) string {
	if more := len(names) - 3; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), more)
	}
	return strings.Join(names, ", ")
}

// try returns what a way gives out, its error and its panic included: those are printed, too.
func try(way Encoder, v any) (text []byte, panicked bool) {
	defer func() {
		if r := recover(); r != nil {
			text, panicked = fmt.Append(text, r), true
		}
	}()
	text, err := way.Encode(v)
	if err != nil {
		text = fmt.Append(text, "\n", err)
	}
	return text, false
}

// ways is fmt, slog and the encoders of the standard library.
func ways(v any) []Encoder {
	all := []Encoder{
		{"slog's text handler", logged(func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) })},
		{"slog's JSON handler", logged(func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) })},
		{"encoding/json", json.Marshal},
		{"fmt.Sprintln", func(v any) ([]byte, error) { return fmt.Appendln(nil, v, v), nil }},
		{"fmt.Errorf", func(v any) ([]byte, error) { return nil, fmt.Errorf("%w: %v", errors.ErrUnsupported, v) }},
	}
	if !loops(v, true) { // they never end on it, and end the process: nobody sends it that way
		all = append(all, Encoder{"encoding/xml", encodeXML}, Encoder{"encoding/gob", encodeGob})
	}
	if m, ok := v.(interface{ MarshalText() ([]byte, error) }); ok {
		all = append(all, Encoder{"MarshalText", func(any) ([]byte, error) { return m.MarshalText() }})
	}
	if m, ok := v.(interface{ MarshalBinary() ([]byte, error) }); ok {
		all = append(all, Encoder{"MarshalBinary", func(any) ([]byte, error) { return m.MarshalBinary() }})
	}
	for _, flags := range []string{"", "+", "#", " ", "-", "0", "#+", "# ", "60", ".7"} {
		for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
			format := "%" + flags + string(verb)
			all = append(all, Encoder{format, func(v any) ([]byte, error) { return fmt.Appendf(nil, format, v), nil }})
		}
	}
	return all
}

func logged(handler func(*bytes.Buffer) slog.Handler) func(any) ([]byte, error) {
	return func(v any) ([]byte, error) {
		var b bytes.Buffer
		slog.New(handler(&b)).With("with", v).Info(fmt.Sprint(v), "value", v, slog.Group("group", "value", v))
		return b.Bytes(), nil
	}
}

func encodeXML(v any) ([]byte, error) {
	var b bytes.Buffer
	err := xml.NewEncoder(&b).EncodeElement(v, xml.StartElement{Name: xml.Name{Local: "value"}})
	return b.Bytes(), err
}

func encodeGob(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}
