package secret

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"testing"
	"unsafe"

	"github.com/davecgh/go-spew/spew"
	"go.yaml.in/yaml/v3"
)

// TestSpew: SM-SEC-5002: go-spew follows pointers and reads unexported fields, with methods and without.
func TestSpew(t *testing.T) {
	for _, h := range holders(t) {
		t.Run("SM-SEC-5002 "+h.name, func(t *testing.T) {
			for form, text := range spewed(h.v) {
				if found := leaks(text); len(found) > 0 {
					t.Errorf("%s leaks as %v", form, found)
				}
			}
		})
	}
	type leaky struct{ b []byte }
	for form, text := range spewed(&struct{ l *leaky }{&leaky{[]byte(canary)}}) {
		if len(leaks(text)) == 0 {
			t.Errorf("control: %s of a plain field is not found", form)
		}
	}
}

func spewed(v any) map[string]string {
	deep := spew.ConfigState{Indent: " ", DisableMethods: true, DisablePointerMethods: true}
	return map[string]string{
		"dump": spew.Sdump(v), "dump without methods": deep.Sdump(v),
		"%#v": spew.Sprintf("%#v", v), "%+v without methods": deep.Sprintf("%+v", v),
	}
}

// FuzzPrinting builds types at random around a secret and a key, and looks for the content in whatever prints or encodes
// a value of that type.
func FuzzPrinting(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		recipe := make([]byte, 1+rng.IntN(12))
		for i := range recipe {
			recipe[i] = byte(rng.Uint32())
		}
		f.Add(recipe)
	}
	f.Fuzz(func(t *testing.T, recipe []byte) {
		if len(recipe) > 16 {
			return // deeper types are only slower
		}
		s, k := mustSecret(t, canary), mustKey(t, []byte(canary))
		v := wrap(reflect.ValueOf([]any{s, k, copyOf(s), copyOf(k)}[len(recipe)%4]), recipe)
		for how, text := range printed(v.Interface()) {
			if found := leaks(text); len(found) > 0 {
				t.Errorf("SM-SEC-5002 %s of %v leaks as %v", how, v.Type(), found)
			}
		}
	})
}

// TestWrapControl: the same types around plain bytes do leak, in most of the ways that are searched.
func TestWrapControl(t *testing.T) {
	ways := map[string]int{}
	for _, recipe := range [][]byte{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {8}, {1, 6}, {5, 1}, {6, 4}} {
		for _, plain := range []any{[]byte(canary), canary} {
			for how, text := range printed(wrap(reflect.ValueOf(plain), recipe).Interface()) {
				if len(leaks(text)) > 0 {
					ways[how]++
				}
			}
		}
	}
	for _, how := range []string{"%v", "%x", "%#v", "slog", "json", "xml", "yaml", "gob", "spew"} {
		if ways[how] == 0 {
			t.Errorf("%s of a plain value is never found", how)
		}
	}
}

// printed is v in every form, an encoder's error included. Encoders may panic on types of their own dislike.
func printed(v any) map[string]string {
	out := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%t", "%e", "%p", "%T"} {
		out[verb] = fmt.Sprintf(verb, v)
	}
	out["Errorf"] = fmt.Errorf("%w %v", errFill, v).Error()
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", v)
	out["slog"] = log.String()
	out["json"] = encoded(func() ([]byte, error) { return json.Marshal(v) })
	out["xml"] = encoded(func() ([]byte, error) {
		var b bytes.Buffer // most of these types have no name, hence an element with one
		err := xml.NewEncoder(&b).EncodeElement(v, xml.StartElement{Name: xml.Name{Local: "v"}})
		return b.Bytes(), err
	})
	out["yaml"] = encoded(func() ([]byte, error) { return yaml.Marshal(v) })
	out["gob"] = encoded(func() ([]byte, error) {
		var b bytes.Buffer
		err := gob.NewEncoder(&b).Encode(v)
		return b.Bytes(), err
	})
	for how, text := range spewed(v) {
		out["spew"] += how + text
	}
	return out
}

func encoded(encode func() ([]byte, error)) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = fmt.Sprint(text, r)
		}
	}()
	out, err := encode()
	return fmt.Sprint(string(out), err)
}

// wrap puts v into types as the recipe says, the innermost first.
func wrap(v reflect.Value, recipe []byte) reflect.Value {
	for i, step := range recipe {
		v = wrapOnce(v, int(step), i)
	}
	return v
}

func wrapOnce(v reflect.Value, step, depth int) reflect.Value {
	switch step % 9 {
	case 0:
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		return p
	case 1:
		return reflect.Append(reflect.MakeSlice(reflect.SliceOf(v.Type()), 0, 1), v)
	case 2:
		a := reflect.New(reflect.ArrayOf(1, v.Type())).Elem()
		a.Index(0).Set(v)
		return a
	case 3:
		m := reflect.MakeMap(reflect.MapOf(reflect.TypeFor[string](), v.Type()))
		m.SetMapIndex(reflect.ValueOf("k"), v)
		return m
	case 4: // an interface
		return field(v, reflect.StructField{Name: "I", Type: reflect.TypeFor[any]()})
	case 5:
		return field(v, reflect.StructField{Name: "F", Type: v.Type()})
	case 6:
		return field(v, reflect.StructField{Name: "f", PkgPath: "example.com/caller", Type: v.Type()})
	case 7:
		if !v.Comparable() { // of the value: an interface may hold a slice
			return v
		}
		m := reflect.MakeMap(reflect.MapOf(v.Type(), reflect.TypeFor[int]()))
		m.SetMapIndex(v, reflect.ValueOf(depth))
		return m
	default:
		return embed(v)
	}
}

// embed makes a struct that embeds v where reflect can make one, as callers do by mistake.
func embed(v reflect.Value) (out reflect.Value) {
	defer func() {
		if recover() != nil {
			out = v // not implemented by reflect for this type
		}
	}()
	return field(v, reflect.StructField{Name: "Secret", Type: v.Type(), Anonymous: true})
}

// field returns a struct whose only field, exported or not, is v.
func field(v reflect.Value, f reflect.StructField) reflect.Value {
	s := reflect.New(reflect.StructOf([]reflect.StructField{f})).Elem()
	at := s.Field(0)
	reflect.NewAt(at.Type(), unsafe.Pointer(at.UnsafeAddr())).Elem().Set(v)
	return s
}
