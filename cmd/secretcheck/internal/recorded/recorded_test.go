package recorded

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llorch/secrets-management/policy"
)

// anyRequest draws a request of which every field may hold anything that JSON can say.
func anyRequest(t *rapid.T) *policy.Request {
	return rapid.Custom(func(t *rapid.T) *policy.Request {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab/\"\\\u0000\u2028é<")), 0, 4, -1)
		r := &policy.Request{}
		fill(t, reflect.ValueOf(r).Elem(), text)
		return r
	}).Draw(t, "request")
}

func fill(t *rapid.T, v reflect.Value, text *rapid.Generator[string]) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text.Draw(t, "text"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "number"))
	case reflect.Uint32:
		v.SetUint(uint64(rapid.Uint32Range(0, 0o7777).Draw(t, "mode")))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 2).Draw(t, "length"), 2))
		for i := range v.Len() {
			fill(t, v.Index(i), text)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), text)
		}
	default:
		t.Fatalf("a field of kind %v", v.Kind())
	}
}

// TestCHK1241RequestsAreReadAsTheyStand: CHK-1241. What the host writes is read as it was, whatever the escapes, and a member
// that is gone, doubled, unknown or retyped is not filled in.
func TestCHK1241RequestsAreReadAsTheyStand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyRequest(t)
		raw, err := want.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		for _, written := range [][]byte{raw, reescaped(t, raw)} {
			got, err := Request(written)
			if err != nil {
				t.Fatalf("%s: %v", written, err)
			}
			if again, err := got.MarshalJSON(); err != nil || string(again) != string(raw) {
				t.Fatalf("%s\nbecame\n%s", raw, again)
			}
		}
		spoiled := spoil(t, raw)
		if r, err := Request(spoiled); !errors.Is(err, ErrInput) {
			t.Fatalf("%s\nwas read as %+v, error %v", spoiled, r, err)
		}
	})
}

// reescaped is the same document as encoding/json writes it, with its members in another order.
func reescaped(t *rapid.T, raw []byte) []byte {
	out, err := json.Marshal(decoded(raw))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// spoil does one thing to one member.
func spoil(t *rapid.T, raw []byte) []byte {
	doc := decoded(raw)
	at, ok := doc.(map[string]any)
	for ok {
		var names []string
		for name := range at {
			names = append(names, name)
		}
		name := rapid.SampledFrom(sorted(names)).Draw(t, "member")
		inner, object := at[name].(map[string]any)
		if object && rapid.Bool().Draw(t, "deeper") {
			at = inner
			continue
		}
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			delete(at, name)
		case 1:
			at["other"] = 1
		case 2:
			at[name] = []any{[]any{nil}}
		case 3:
			text, _ := json.Marshal(doc)
			return bytes.Replace(text, []byte(`{`), []byte(`{"api":"v1",`), 1)
		}
		break
	}
	text, _ := json.Marshal(doc)
	return text
}

func sorted(list []string) []string {
	for i := range list {
		for k := range i {
			if list[i] < list[k] {
				list[i], list[k] = list[k], list[i]
			}
		}
	}
	return list
}

// TestCHK1241DerivedMembersMustFollow: CHK-1241. A log in which a mode and what follows from it differ was not written by a host.
func TestCHK1241DerivedMembersMustFollow(t *testing.T) {
	raw, err := (&policy.Request{Resource: policy.Resource{File: policy.File{Mode: 0o640}}}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for old, next := range map[string]string{
		`"mode_octal":"0640"`: `"mode_octal":"0600"`, `"group_bits":4`: `"group_bits":0`, `"api":"v1"`: `"api":"v2"`, `"mode":416`: `"mode":-1`,
		`"uid":0`: `"uid":0.5`, `"phase":""`: "\"phase\":\"\xff\"", `"gids":[]`: `"gids":null`,
	} {
		spoiled := strings.Replace(string(raw), old, next, 1)
		if spoiled == string(raw) {
			t.Fatalf("no %s in %s", old, raw)
		}
		if _, err := Request([]byte(spoiled)); !errors.Is(err, ErrInput) {
			t.Errorf("%s: %v", next, err)
		}
	}
}

// TestCHK1242QuickFindsWhatParseReads: CHK-1242. The short way never finds other parts in a line than the long one.
func TestCHK1242QuickFindsWhatParseReads(t *testing.T) {
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		line := []byte(rapid.SampledFrom([]string{
			`{"seq":1,"prev":"a","decision_id":"1","path":"secrets/load/decision","input":{"a":"}\\\"{"},"result":{"b":[1,2]},"hash":"x"}`,
			`{"decision_id":"1","path":"secrets/load/decision","input":{},"result":{},"error":"a\"b"}` + "\n",
			`{"decision_id":"1","path":"secrets/load/decision","input":{},"result":{},"outcome":"loaded"}`,
			`{"decision_id":"1","path":"a","input":{},"input":{"b":1},"result":{}}`,
			`{"decision_id":"1","path":"a","input":{},"Input":{"b":1},"result":{}}`,
			`{"decision_id":"1","path":"a","input":{},"in\u0070ut":{"b":1},"result":{}}`,
		}).Draw(t, "line"))
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			i := rapid.IntRange(0, len(line)-1).Draw(t, "at")
			line[i] = rapid.SampledFrom([]byte(`{}[]",:\a1 `)).Draw(t, "byte")
		}
		quick, ok := Quick(line)
		if !ok {
			return
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return // no answer is remembered for it: whatever has its parts was parsed once
		}
		found++
		if string(quick.Input) != string(e.Input) || string(quick.Result) != string(e.Result) || quick.Path != e.Path || string(quick.Error) != string(e.Error) {
			t.Fatalf("%s: %+v, and parsed %+v", line, quick, e)
		}
	})
	if found == 0 {
		t.Error("the short way never found anything")
	}
}

// TestCHK1240Lines: CHK-1240 CHK-1241. Lines, arrays and what is compressed give the same entries; a line too long does not hide the
// next one.
func TestCHK1240Lines(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(`[{"a":1},{"b":2}]`))
	_ = z.Close()
	long := `{"a":"` + strings.Repeat("x", MaxLine) + `"}`
	for _, tt := range []struct{ log, want string }{
		{"{\"a\":1}\n\n{\"b\":2}", `1{"a":1} 3{"b":2} `},
		{`[{"a":1},{"b":2}]`, `1{"a":1} 2{"b":2} `},
		{packed.String(), `1{"a":1} 2{"b":2} `},
		{long + "\n{\"b\":2}\n", `1too long 2{"b":2} `},
		{"", ""},
		{"[", "error"},
		{`[{"a":1}`, "error"},
		{"[" + long + strings.Repeat(" ", 2*MaxLine) + "]", "error"},
		{"\x1f\x8b\x00", "error"},
	} {
		var got strings.Builder
		err := Lines(strings.NewReader(tt.log), func(l Line) error {
			text := strings.TrimSpace(string(l.Text))
			if l.TooLong {
				text = "too long"
			}
			got.WriteString(string(rune('0'+l.Number)) + text + " ")
			return nil
		})
		if (err != nil) != (tt.want == "error") || err == nil && got.String() != tt.want {
			t.Errorf("%.40q: %.80q, error %v", tt.log, got.String(), err)
		}
	}
}
