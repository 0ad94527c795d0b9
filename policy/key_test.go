package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// leaves lists the fields of a struct, those of structs in it too.
func leaves(v reflect.Value, name string) map[string]reflect.Value {
	all := map[string]reflect.Value{}
	for i := range v.NumField() {
		f, n := v.Field(i), name+"."+v.Type().Field(i).Name
		if f.Kind() == reflect.Struct {
			for k, l := range leaves(f, n) {
				all[k] = l
			}
			continue
		}
		all[n] = f
	}
	return all
}

// alter gives a field another value than it has.
func alter(t *testing.T, f reflect.Value) {
	t.Helper()
	switch f.Kind() {
	case reflect.String:
		f.SetString(f.String() + "x")
	case reflect.Bool:
		f.SetBool(!f.Bool())
	case reflect.Int, reflect.Int64:
		f.SetInt(f.Int() + 1<<32)
	case reflect.Uint32:
		f.SetUint(f.Uint() ^ 0o4000)
	case reflect.Slice:
		f.Set(reflect.Append(f, reflect.Zero(f.Type().Elem())))
	default:
		t.Fatalf("a field of kind %s, which no key is known to hold", f.Kind())
	}
}

// inputOf is everything that a guest would be asked.
func inputOf(t testing.TB, q question, r *Request) string {
	t.Helper()
	parts := make([][]byte, len(inputParts()))
	whole, err := appendInput(nil, parts, q, r)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %q", whole, parts)
}

// TestEveryFieldIsInTheKey: a request that differs in one field is another request, whatever the field. A field that the
// key forgot would get the verdict of another request.
func TestEveryFieldIsInTheKey(t *testing.T) {
	for _, q := range []question{judgeFacts, askReference} {
		seen, differ := map[string]string{}, 0
		base := goodInput()
		key, input := string(appendKey(nil, q, base)), inputOf(t, q, base)
		seen[key] = "nothing"
		for name := range leaves(reflect.ValueOf(base).Elem(), "") {
			r := goodInput()
			alter(t, leaves(reflect.ValueOf(r).Elem(), "")[name])
			k := string(appendKey(nil, q, r))
			if same := inputOf(t, q, r) == input; same != (k == key) {
				t.Errorf("POL-6001 %s: the key is the same: %v, what the guest sees: %v", name, k == key, same)
			}
			if k != key {
				differ++
				if other := seen[k]; other != "" {
					t.Errorf("POL-6001 %s and %s have the same key", name, other)
				}
				seen[k] = name
			}
		}
		if want := map[question]int{judgeFacts: 74, askReference: 17}[q]; differ != want {
			t.Errorf("POL-6001 question %d: %d fields are in the key, want %d", q, differ, want)
		}
	}
}

// TestNeighboursInAKey: what moves from one field to the next makes another request.
func TestNeighboursInAKey(t *testing.T) {
	for name, pair := range map[string][2]func(*Request){
		"from reader to group":  {func(r *Request) { r.Resource.File.Readers = Principals{UIDs: []int64{7}} }, func(r *Request) { r.Resource.File.Readers = Principals{GIDs: []int64{7}} }},
		"from reader to writer": {func(r *Request) { r.Resource.File.Writers.UIDs = []int64{1} }, func(r *Request) { r.Resource.File.Readers.GIDs = []int64{3, 1} }},
		"from file to origin": {
			func(r *Request) { r.Resource.File.Writers.GIDs = []int64{0} }, func(r *Request) { r.Resource.OriginFile.Type = "\x00\x00\x00\x00\x00\x00\x00\x00" },
		},
		"from one to the next":  {func(r *Request) { r.Resource.Path, r.Resource.Name = "ab", "" }, func(r *Request) { r.Resource.Path, r.Resource.Name = "a", "b" }},
		"one directory or two":  {func(r *Request) { r.Resource.Above = []string{"ab"} }, func(r *Request) { r.Resource.Above = []string{"a", "b"} }},
		"a directory or origin": {func(r *Request) { r.Resource.Above, r.Resource.Origin = []string{"/", "o"}, "" }, func(r *Request) { r.Resource.Above, r.Resource.Origin = []string{"/"}, "o" }},
	} {
		a, b := goodInput(), goodInput()
		pair[0](a)
		pair[1](b)
		if bytes.Equal(appendKey(nil, judgeFacts, a), appendKey(nil, judgeFacts, b)) {
			t.Errorf("POL-6001 %s: the keys are equal", name)
		}
	}
	if r := goodInput(); appendKey(nil, judgeFacts, r)[0] == appendKey(nil, askReference, r)[0] {
		t.Error("POL-6001 the keys of two questions begin alike")
	}
}

// drawRequest makes requests of few values, so that two of them are often almost or wholly equal.
func drawRequest(t *rapid.T, name string) *Request {
	r := goodInput()
	for field, f := range leaves(reflect.ValueOf(r).Elem(), "") {
		if !rapid.Bool().Draw(t, name+field) {
			continue
		}
		switch f.Kind() {
		case reflect.String:
			f.SetString(rapid.SampledFrom([]string{"", "a", "aa", "\x00", "\x01\x00\x00\x00a", `"`}).Draw(t, field))
		case reflect.Bool:
			f.SetBool(rapid.Bool().Draw(t, field))
		case reflect.Uint32:
			f.SetUint(uint64(rapid.Uint32Range(0, 0o7777).Draw(t, field)))
		case reflect.Slice:
			if f.Type().Elem().Kind() == reflect.String {
				f.Set(reflect.ValueOf(rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "\x00"}), 0, 3).Draw(t, field)))
			} else {
				f.Set(reflect.ValueOf(rapid.SliceOfN(rapid.Int64Range(-1, 1), 0, 3).Draw(t, field)))
			}
		default:
			f.SetInt(rapid.Int64Range(-1, 1).Draw(t, field))
		}
	}
	return r
}

// TestKeysAndInputsAgree: two requests have the same key exactly when the guest would see the same.
func TestKeysAndInputsAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := drawRequest(rt, "a"), goodInput()
		*b = *a
		fields := leaves(reflect.ValueOf(b).Elem(), "")
		other := leaves(reflect.ValueOf(drawRequest(rt, "b")).Elem(), "")
		for name, f := range fields {
			if rapid.IntRange(0, 30).Draw(rt, "change"+name) == 0 {
				f.Set(other[name])
			}
		}
		for _, q := range []question{judgeFacts, askReference} {
			key, input := bytes.Equal(appendKey(nil, q, a), appendKey(nil, q, b)), inputOf(t, q, a) == inputOf(t, q, b)
			if key != input {
				rt.Errorf("POL-6001 same key %v, same input %v:\n%s\n%s", key, input, inputOf(t, q, a), inputOf(t, q, b))
			}
		}
	})
}

// TestPartsMakeTheWhole: what a guest gets in parts is what the audit log says, when each is put in its place.
func TestPartsMakeTheWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := drawRequest(rt, "")
		parts := make([][]byte, len(inputParts()))
		b, err := appendInput(nil, parts, judgeFacts, r)
		if err != nil {
			rt.Fatal(err)
		}
		got := decoded(rt, b).(map[string]any)
		for k, place := range inputParts() {
			at := got
			var names []string
			if err := json.Unmarshal([]byte(place), &names); err != nil {
				rt.Fatal(err)
			}
			for _, name := range names[:len(names)-1] {
				at = at[name].(map[string]any)
			}
			last := names[len(names)-1]
			if _, ok := at[last]; ok {
				rt.Errorf("POL-6003 %s is in the input already", place)
			}
			at[last] = decoded(rt, parts[k])
		}
		whole, err := r.MarshalJSON()
		if err != nil {
			rt.Fatal(err)
		}
		if want := decoded(rt, whole); !reflect.DeepEqual(any(got), want) {
			rt.Errorf("POL-6003 %v\n%v", got, want)
		}
	})
}

func decoded(t *rapid.T, text []byte) any {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}
