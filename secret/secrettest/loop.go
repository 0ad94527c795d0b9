package secrettest

import "reflect"

// loops reports whether a printer that goes wherever v refers to would come back to where it is, and never end: Go ends
// the process when its stack is full, and no recover helps. With pointers it is one that follows them, and exported fields
// alone, as encoding/xml and gob do; without, one that follows all fields and no pointer but the first, as fmt does.
func loops(v any, pointers bool) bool {
	at := reflect.ValueOf(v)
	if !pointers && at.Kind() == reflect.Pointer {
		at = at.Elem()
	}
	return (&loopFinder{pointers, map[node]bool{}}).in(at)
}

// node is what can refer to itself. The length tells a slice from a part of it.
type node struct {
	at  uintptr
	typ reflect.Type
	n   int
}

type loopFinder struct {
	pointers bool
	open     map[node]bool // true for those on the way to the present one, false for those behind which there is no loop
}

func (l *loopFinder) in(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
	default:
		return l.behind(v)
	}
	if v.IsNil() || v.Kind() == reflect.Pointer && !l.pointers {
		return false
	}
	key := node{at: v.Pointer(), typ: v.Type()}
	if v.Kind() == reflect.Slice {
		key.n = v.Len()
	}
	if open, seen := l.open[key]; seen {
		return open
	}
	l.open[key] = true
	found := l.behind(v)
	l.open[key] = false
	return found
}

// behind looks at what v refers to.
func (l *loopFinder) behind(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return l.in(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if (field.IsExported() || field.Anonymous || !l.pointers) && l.in(v.Field(i)) {
				return true
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if l.in(v.Index(i)) {
				return true
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if l.in(it.Key()) || l.in(it.Value()) {
				return true
			}
		}
	default: // refers to nothing that a printer follows
	}
	return false
}
