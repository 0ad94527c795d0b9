package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"go.yaml.in/yaml/v3"
)

// The content that must not be found. Every byte differs, so that any four in a row are known when seen.
const canary = "Qz7#kW9!vX2@mB5$nT8%"

// canaryForms is every four consecutive bytes of the canary in every form that a printer may give them, with its name.
var canaryForms = func() map[string]string {
	list := func(format string, v any) string { return strings.Trim(fmt.Sprintf(format, v), "[]") }
	forms := map[string]string{}
	for i := 0; i+4 <= len(canary); i++ {
		part := []byte(canary[i : i+4])
		runes := []rune(string(part))
		for name, form := range map[string]string{
			"raw":     string(part),
			"hex":     hex.EncodeToString(part),
			"HEX":     fmt.Sprintf("%X", part),
			"% x":     fmt.Sprintf("% x", part),
			"%#v":     strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", part), "[]byte{"), "}"),
			"decimal": list("%d", part),
			"list":    strings.ReplaceAll(list("%d", part), " ", ","),
			"octal":   list("%o", part),
			"binary":  list("%b", part),
			"unicode": list("%U", part),
			"quoted":  list("%q", runes),
			"chars":   list("%c", runes),
		} {
			forms[form] = name
		}
		if i%3 == 0 {
			forms[base64.RawStdEncoding.EncodeToString(part)[:5]] = "base64"
			forms[base64.RawURLEncoding.EncodeToString(part)[:5]] = "base64url"
		}
	}
	return forms
}()

// leaks returns the names of the forms in which text shows a part of the canary.
func leaks(text string) []string {
	var found []string
	for form, name := range canaryForms {
		if strings.Contains(text, form) {
			found = append(found, name)
		}
	}
	return found
}

// The ways in which callers hold a secret.
type (
	exported   struct{ S *Secret }
	unexported struct{ s *Secret }
	value      struct{ S Secret }
	hidden     struct{ s Secret }
	embedded   struct{ *Secret }
	embeddedV  struct{ Secret }
	iface      struct{ I any }
	deep       struct{ D []map[string]*exported }
	keyField   struct{ K *Key }
	hiddenKey  struct{ k Key }
)

// holder is one of them. enc says that encoders see the secret in it, print that fmt may call its methods.
type holder struct {
	name       string
	v          any
	print, enc bool
}

func holders(t *testing.T) []holder {
	s, k := mustSecret(t, canary), mustKey(t, []byte(canary))
	ps := &s
	byValue, hid, emb, hidKey := new(value), new(hidden), new(embeddedV), new(hiddenKey)
	byValue.S.handle, hid.s.handle, emb.handle, hidKey.k.handle = s.handle, s.handle, s.handle, k.handle
	return []holder{
		{"*Secret", s, true, true},
		{"Secret", copyOf(s), true, true},
		{"**Secret", ps, false, true},
		{"*Key", k, true, true},
		{"Key", copyOf(k), true, true},
		{"exported", exported{s}, true, true},
		{"*exported", &exported{s}, true, true},
		{"unexported", unexported{s}, false, false},
		{"*unexported", &unexported{s}, false, false},
		{"value", copyOf(byValue), true, true},
		{"*value", byValue, true, true},
		{"hidden value", copyOf(hid), false, false},
		{"*hidden value", hid, false, false},
		{"embedded", embedded{s}, true, true},
		{"embedded value", copyOf(emb), true, true},
		{"*embedded value", emb, true, true},
		{"slice", []*Secret{s}, true, true},
		{"slice of values", reflect.Append(reflect.ValueOf([]Secret{}), reflect.ValueOf(s).Elem()).Interface(), true, true},
		{"array", [1]*Secret{s}, true, true},
		{"map", map[string]*Secret{"a": s}, true, true},
		{"map key", map[*Secret]string{s: "a"}, true, true},
		{"interface", iface{s}, true, true},
		{"interface of value", iface{copyOf(s)}, true, true},
		{"deep", deep{[]map[string]*exported{{"a": {s}}}}, false, true},
		{"key field", keyField{k}, true, true},
		{"hidden key", copyOf(hidKey), false, false},
		{"closed", closed(t), true, true},
		{"zero", &Secret{}, true, true},
	}
}

func closed(t *testing.T) *Secret {
	s := mustSecret(t, canary)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

var flags = []string{"", "+", "#", "-", " ", "0", "+#", "40", ".3", "-20.5", "# ", "+0"}

// TestPrinting: SM-SEC-5002, SM-TYPE-3001, SM-TYPE-3002, SEC-SECRET-010..014, and the attack case "printing through every
// fmt verb".
func TestPrinting(t *testing.T) {
	forms := 0
	s, k := mustSecret(t, canary), mustKey(t, []byte(canary))
	methods := holder{name: "method values", v: []any{s.Use, s.Verify, k.Sign}} // yaml panics on functions
	for _, h := range append(holders(t), methods) {
		t.Run("SM-SEC-5002 "+h.name, func(t *testing.T) {
			for verb := 'A'; verb <= 'z'; verb++ {
				if verb > 'Z' && verb < 'a' {
					continue
				}
				for _, flag := range flags {
					forms++
					out := fmt.Sprintf("%"+flag+string(verb), h.v)
					if found := leaks(out); len(found) > 0 {
						t.Errorf("%%%s%c leaks as %v", flag, verb, found)
					}
					// fmt answers %T and %p itself, and gives %w outside of Errorf to no method.
					if h.print && !strings.ContainsRune("Tpw", verb) && !strings.Contains(out, Redacted) {
						t.Errorf("%%%s%c does not say %s: %d bytes", flag, verb, Redacted, len(out))
					}
				}
			}
			for _, out := range []string{fmt.Sprint(h.v), fmt.Sprintln(h.v, h.v), fmt.Errorf("%w %v", errFill, h.v).Error()} {
				if found := leaks(out); len(found) > 0 {
					t.Errorf("leaks as %v", found)
				}
			}
		})
	}
	if want := 29 * 52 * len(flags); forms != want {
		t.Errorf("%d forms tried, want %d", forms, want)
	}
	// Exactly so for the plain types: no width, no quotes, nothing around it.
	for _, v := range []any{mustSecret(t, canary), copyOf(mustSecret(t, canary)), mustKey(t, []byte(canary))} {
		for _, form := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%40s", "%t", "%c"} {
			if got := fmt.Sprintf(form, v); got != Redacted {
				t.Errorf("%s gives %d other bytes", form, len(got))
			}
		}
	}
}

// TestSlogOfNothing: SM-SEC-5002. An optional field that was left out is logged like any other.
func TestSlogOfNothing(t *testing.T) {
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("message", "secret", (*Secret)(nil), "key", (*Key)(nil))
	}
	if text := out.String(); strings.Contains(text, "panic") || strings.Count(text, Redacted) != 4 {
		t.Errorf("logged %s", text)
	}
}

// TestWithoutPromotion: SM-SEC-5002: what the package documentation grants: where no method of a secret is called, or
// another one than usual, there is no byte all the same.
func TestWithoutPromotion(t *testing.T) {
	type both struct {
		*Secret
		*Key
	}
	s, k := mustSecret(t, canary), mustKey(t, []byte(canary))
	var two any = both{s, k}
	for how, text := range printed(two) {
		if found := leaks(text); len(found) > 0 {
			t.Errorf("%s of both embedded leaks as %v", how, found)
		}
	}
	if out, err := json.Marshal(two); err != nil || string(out) != "{}" { //nolint:staticcheck // SA9005 warns callers of just this
		t.Errorf("json of both embedded: %d bytes, error %v", len(out), err)
	}
	if out, err := json.Marshal(exported{}); err != nil || string(out) != `{"S":null}` {
		t.Errorf("json of nothing: %s, error %v", out, err)
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "s", copyOf(s))
	if text := out.String(); len(leaks(text)) > 0 || !strings.Contains(text, ErrNotSerializable.Error()) {
		t.Errorf("slog of a copied value: %d bytes", len(text))
	}
}

func TestSlog(t *testing.T) {
	for _, h := range holders(t) {
		t.Run("SM-SEC-5002 "+h.name, func(t *testing.T) {
			var out bytes.Buffer
			for _, handler := range []slog.Handler{
				slog.NewTextHandler(&out, nil),
				slog.NewJSONHandler(&out, nil),
			} {
				l := slog.New(handler)
				l.Info("message", "secret", h.v)
				l.With("secret", h.v).WithGroup("g").Info("message", slog.Group("h", "secret", h.v))
				l.Info(fmt.Sprint(h.v))
			}
			if found := leaks(out.String()); len(found) > 0 {
				t.Errorf("leaks as %v", found)
			}
			if lines := strings.Count(out.String(), "\n"); lines != 6 {
				t.Errorf("%d lines, want 6", lines)
			}
		})
	}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "s", mustSecret(t, canary), "k", mustKey(t, []byte(canary)))
	if n := strings.Count(out.String(), Redacted); n != 2 {
		t.Errorf("%d times %s, want 2", n, Redacted)
	}
}

func TestEncoding(t *testing.T) {
	encoders := map[string]func(any) (string, error){
		"json": func(v any) (string, error) {
			out, err := json.Marshal(v)
			return string(out), err
		},
		"xml": func(v any) (string, error) {
			out, err := xml.Marshal(v)
			return string(out), err
		},
		"yaml": func(v any) (string, error) {
			out, err := yaml.Marshal(v)
			return string(out), err
		},
		"gob": func(v any) (string, error) {
			var out bytes.Buffer
			err := gob.NewEncoder(&out).Encode(v)
			return out.String(), err
		},
	}
	// What an encoder refuses for a reason of its own before it asks the secret.
	foreign := map[string]bool{
		"xml map": true, "xml map key": true,
		"json map key":  true,                                 // asks the secret, but does not wrap its error
		"gob interface": true, "gob interface of value": true, // unregistered type
		"xml deep": true,
	}
	for format, encode := range encoders {
		for _, h := range holders(t) {
			t.Run("SM-SEC-5002 "+format+" "+h.name, func(t *testing.T) {
				out, err := encode(h.v)
				if found := leaks(out); len(found) > 0 {
					t.Errorf("leaks as %v", found)
				}
				if err != nil && len(leaks(err.Error())) > 0 {
					t.Error("the error leaks")
				}
				if !h.enc {
					return
				}
				if foreign[format+" "+h.name] {
					if err == nil {
						t.Error("no error")
					}
				} else if !errors.Is(err, ErrNotSerializable) {
					t.Errorf("error %v, want %v", err, ErrNotSerializable)
				}
			})
		}
	}
}

// TestMarshalers: each interface by itself, since encoders differ in which of them they prefer.
func TestMarshalers(t *testing.T) {
	type (
		textMarshaler   interface{ MarshalText() ([]byte, error) }
		binaryMarshaler interface{ MarshalBinary() ([]byte, error) }
		yamlMarshaler   interface{ MarshalYAML() (any, error) }
	)
	for _, v := range []any{mustSecret(t, canary), copyOf(mustSecret(t, canary)), mustKey(t, []byte(canary))} {
		for name, marshal := range map[string]func() (any, error){
			"text":   func() (any, error) { return v.(textMarshaler).MarshalText() },
			"binary": func() (any, error) { return v.(binaryMarshaler).MarshalBinary() },
			"json":   func() (any, error) { return v.(json.Marshaler).MarshalJSON() },
			"yaml":   func() (any, error) { return v.(yamlMarshaler).MarshalYAML() },
			"gob":    func() (any, error) { return v.(gob.GobEncoder).GobEncode() },
		} {
			out, err := marshal()
			if !errors.Is(err, ErrNotSerializable) || len(leaks(fmt.Sprint(out))) > 0 {
				t.Errorf("SM-SEC-5002 %s: error %v", name, err)
			}
		}
		if v.(fmt.Stringer).String() != Redacted || v.(fmt.GoStringer).GoString() != Redacted {
			t.Error("SM-SEC-5002: String or GoString says something else")
		}
	}
}

// TestDecoding: a decoder must not fill a secret from ordinary memory, nor quote the value in its error.
func TestDecoding(t *testing.T) {
	quoted, err := json.Marshal(canary)
	if err != nil {
		t.Fatal(err)
	}
	var e exported
	var v value
	for name, err := range map[string]error{
		"json":       json.Unmarshal([]byte(`{"S":`+string(quoted)+`}`), &e),
		"json value": json.Unmarshal([]byte(`{"S":`+string(quoted)+`}`), &v),
		"xml":        xml.Unmarshal([]byte(`<exported><S>`+canary+`</S></exported>`), &v),
		"yaml":       yaml.Unmarshal([]byte("s: "+string(quoted)), &e),
		"yaml value": yaml.Unmarshal([]byte("s: "+string(quoted)), &v),
		"text":       new(Secret).UnmarshalText([]byte(canary)),
		"binary":     new(Secret).UnmarshalBinary([]byte(canary)),
		"json alone": new(Key).UnmarshalJSON(quoted),
		"yaml alone": new(Key).UnmarshalYAML(func(any) error { return nil }),
		"gob alone":  new(Key).GobDecode([]byte(canary)),
	} {
		t.Run("SM-SEC-5002 "+name, func(t *testing.T) {
			if !errors.Is(err, ErrNotSerializable) {
				t.Errorf("error %v, want %v", err != nil, ErrNotSerializable)
			}
			if err != nil && len(leaks(err.Error())) > 0 {
				t.Error("the error quotes the value")
			}
		})
	}
}

// TestWalkers: nothing that follows pointers and reads unexported fields, as go-spew does, reaches the content.
func TestWalkers(t *testing.T) {
	for _, h := range holders(t) {
		if found := leaks(string(walk(h.v))); len(found) > 0 {
			t.Errorf("%s: leaks as %v", h.name, found)
		}
	}
}

// TestControls shows that the searches above find a type that leaks.
func TestControls(t *testing.T) {
	type leaky struct{ b []byte }
	v := struct{ l *leaky }{&leaky{[]byte(canary)}}
	if len(leaks(string(walk(v)))) == 0 {
		t.Error("the walker does not find a plain field")
	}
	for _, form := range []string{"%v", "%s", "%x", "%X", "% x", "%#v", "%d", "%o", "%b", "%q", "%c", "%U"} {
		if len(leaks(fmt.Sprintf(form, *v.l))) == 0 {
			t.Errorf("%s of a plain field is not found", form)
		}
	}
	out, err := json.Marshal([]byte(canary))
	if err != nil || len(leaks(string(out))) == 0 {
		t.Error("base64 is not found")
	}
}

// TestNoCopyMark: go vet flags copies of types with such a field.
func TestNoCopyMark(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[Secret](), reflect.TypeFor[Key]()} {
		if _, ok := reflect.New(typ.Field(0).Type).Interface().(sync.Locker); !ok {
			t.Errorf("SM-TYPE-3001 %v: no mark", typ)
		}
		if typ.Comparable() {
			t.Errorf("SM-SEC-5003 %v: comparable with ==, which is not constant time", typ)
		}
	}
}

// walk returns the bytes and strings in v, through pointers and unexported fields.
func walk(v any) []byte {
	var out bytes.Buffer
	seen := map[unsafe.Pointer]bool{}
	var visit func(reflect.Value)
	visit = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() && !seen[v.UnsafePointer()] {
				seen[v.UnsafePointer()] = true
				visit(v.Elem())
			}
		case reflect.Interface:
			visit(v.Elem())
		case reflect.Struct:
			for i := range v.NumField() {
				visit(v.Field(i))
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				visit(v.Index(i))
			}
		case reflect.Map:
			for it := v.MapRange(); it.Next(); {
				visit(it.Key())
				visit(it.Value())
			}
		case reflect.String:
			out.WriteString(v.String())
		case reflect.Uint8:
			out.WriteByte(byte(v.Uint()))
		case reflect.Uint32:
			fmt.Fprintf(&out, "%08x", v.Uint())
		default: // no bytes in there
		}
	}
	visit(reflect.ValueOf(v))
	return out.Bytes()
}
