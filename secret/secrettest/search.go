package secrettest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"

	"github.com/llorch/secrets-management/secret"
)

// MinRun is how many consecutive bytes of a secret count as a leak.
const MinRun = 4

// search knows the parts of a secret in every form. They are on the Go heap while a check runs, which is why this is for
// tests.
type search struct {
	content []byte
	forms   []form
}

type form struct {
	name string
	text []byte
}

func newSearch(content []byte) *search {
	s := &search{content: bytes.Clone(content)}
	for i := 0; i+MinRun <= len(content); i++ {
		s.addRun(content[i : i+MinRun])
	}
	// Three bytes are four characters: each alignment has its own, and the rest at the end depends on what follows.
	for skip := range 3 {
		rest := content[skip:]
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := e.EncodeToString(rest[:len(rest)/3*3])
			for i := 0; i+8 <= len(text); i += 4 {
				s.add("base64", text[i:i+8])
			}
		}
	}
	return s
}

func (s *search) add(name, text string) { s.forms = append(s.forms, form{name, []byte(text)}) }

func (s *search) addRun(run []byte) {
	list := func(format string, v any) string { return strings.Trim(fmt.Sprintf(format, v), "[]") }
	runes := []rune(string(run))
	s.add("as it is", string(run))
	s.add("hex", hex.EncodeToString(run))
	s.add("upper-case hex", strings.ToUpper(hex.EncodeToString(run)))
	s.add("spaced hex", fmt.Sprintf("% x", run))
	s.add("Go syntax", strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", run), "[]byte{"), "}"))
	s.add("quoted", strings.Trim(fmt.Sprintf("%q", run), `"`))
	for name, verb := range map[string]string{"decimal": "%d", "octal": "%o", "binary": "%b", "Unicode": "%U"} {
		s.add(name, list(verb, run))
		s.add(name+", with commas", strings.ReplaceAll(list(verb, run), " ", ","))
	}
	s.add("characters", list("%c", runes))
	s.add("quoted characters", list("%q", runes))
}

// in returns the name of a form in which text shows a part of the secret, or "".
func (s *search) in(text []byte) string {
	for _, f := range s.forms {
		if bytes.Contains(text, f.text) {
			return f.name
		}
	}
	return ""
}

func (s *search) wipe() {
	secret.Wipe(s.content)
	for _, f := range s.forms {
		secret.Wipe(f.text)
	}
}

// maxDepth ends a walk through types that refer to themselves by value, such as nested interfaces and maps.
const maxDepth = 64

// walk returns the places in v where bytes of the secret are, through pointers and unexported fields.
func (s *search) walk(v any) []string {
	w := walker{search: s, seen: map[visit]bool{}}
	w.value(reflect.ValueOf(v), fmt.Sprintf("%T", v), 0)
	return w.found
}

type visit struct {
	at  uintptr
	typ reflect.Type
}

type walker struct {
	search *search
	seen   map[visit]bool
	found  []string
}

func (w *walker) value(v reflect.Value, place string, depth int) {
	if depth > maxDepth {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		key := visit{v.Pointer(), v.Type()}
		if !v.IsNil() && !w.seen[key] {
			w.seen[key] = true
			w.value(v.Elem(), place, depth+1)
		}
	case reflect.Interface:
		w.value(v.Elem(), place, depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			w.value(v.Field(i), place+"."+v.Type().Field(i).Name, depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			w.value(it.Key(), place+"[a key]", depth+1)
			w.value(it.Value(), place+"[a value]", depth+1)
		}
	case reflect.String:
		w.bytes([]byte(v.String()), place)
	case reflect.Slice, reflect.Array:
		w.list(v, place, depth)
	default: // numbers, functions and channels: no bytes to look at
	}
}

// list joins numbers to the bytes that they are, and walks into everything else.
func (w *walker) list(v reflect.Value, place string, depth int) {
	kind := v.Type().Elem().Kind()
	if v.Kind() == reflect.Slice {
		v = v.Slice(0, v.Cap()) // what was cut off still lies there
	}
	var text []byte
	for i := range v.Len() {
		e := v.Index(i)
		switch {
		case kind >= reflect.Int && kind <= reflect.Int64:
			text = append(text, byte(e.Int()&0xff))
		case kind >= reflect.Uint && kind <= reflect.Uintptr:
			text = append(text, byte(e.Uint()&0xff))
		default:
			w.value(e, fmt.Sprintf("%s[%d]", place, i), depth+1)
		}
	}
	w.bytes(text, place)
}

func (w *walker) bytes(text []byte, place string) {
	if form := w.search.in(text); form != "" {
		w.found = append(w.found, place+" ("+form+")")
	}
}
