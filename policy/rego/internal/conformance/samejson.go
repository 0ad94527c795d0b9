package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/llorch/secrets-management/policy/internal/value"
)

// sameJSON compares the two ways in which a guest writes one result: services read JSON, in which a set is an array in any
// order, and a key that is no string is the text of one.
func sameJSON(v value.Value, raw []byte) error {
	plain, err := decode(raw)
	if err != nil {
		return fmt.Errorf("JSON %.300q: %w", raw, err)
	}
	if !same(v, plain) {
		return fmt.Errorf("JSON %s, but %s", raw, value.Text(v))
	}
	return nil
}

// decode reads one document without losing a digit.
func decode(raw []byte) (plain any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&plain); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something behind it")
	}
	return plain, nil
}

func same(v value.Value, plain any) bool {
	switch v := v.(type) {
	case value.Null:
		return plain == nil
	case value.Number:
		return plain == json.Number(v)
	case value.Array:
		list, ok := plain.([]any)
		return ok && slices.EqualFunc(v, list, same)
	case value.Set:
		list, ok := plain.([]any)
		return ok && len(v) == len(list) && sameElements(v, slices.Clone(list))
	case value.Object:
		members, ok := plain.(map[string]any)
		return ok && len(v) == len(members) && sameMembers(v, members)
	}
	return plain == v
}

// sameElements uses up a list.
func sameElements(set value.Set, list []any) bool {
	for _, v := range set {
		at := slices.IndexFunc(list, func(plain any) bool { return same(v, plain) })
		if at < 0 {
			return false
		}
		list = slices.Delete(list, at, at+1)
	}
	return true
}

func sameMembers(object value.Object, members map[string]any) bool {
	for _, m := range object {
		name, ok := m.Key.(string)
		for key := range members {
			if !ok && sameJSON(m.Key, []byte(key)) == nil {
				name = key
			}
		}
		plain, found := members[name]
		if !found || !same(m.Value, plain) {
			return false
		}
	}
	return true
}
