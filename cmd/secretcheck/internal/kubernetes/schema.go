package kubernetes

import (
	_ "embed"
	"strings"
)

// schemaText is the fields of k8s.io/api's types, one type on a line, as TestSchema writes it from them. The package itself
// is not linked: its init would take a third of the time of a check, and 8 MB.
//
//go:embed schema.txt
var schemaText string

// schema is the fields of each type, and the type of each: the name of another, or one of
//
//	s text · i whole number · h one of 32 bits · b true or false · f number · q text or number (a quantity) · x text or whole number
//	* anything · [T a list · {T a mapping to T
type schema map[string]map[string]string

func parseSchema() schema {
	s := schema{}
	for line := range strings.Lines(schemaText) {
		words := strings.Fields(line)
		fields := make(map[string]string, len(words))
		for _, w := range words[1:] {
			name, kind, _ := strings.Cut(w, ":")
			fields[name] = kind
		}
		s[words[0]] = fields
	}
	return s
}

// check compares a value with a type: a wrong type is an error, as for the API server, and an unknown field a call of
// unknown, since that one drops it.
func (s schema) check(v *value, kind string, unknown func(f field)) error {
	if v.kind == null {
		return nil
	}
	switch kind[0] {
	case '*':
		return nil
	case '[':
		return s.list(v, kind[1:], unknown)
	case '{':
		return s.mapping(v, kind[1:], unknown)
	}
	if fits, name := scalarType(kind, v.kind); name != "" {
		if !fits {
			return v.fault("%s is expected here, and this is %s", name, v.kind)
		}
		if kind == "h" && v.whole != int64(int32(v.whole)) { //nolint:gosec // G115: this is the check
			return v.fault("the number is too large")
		}
		return nil
	}
	if v.kind != mapping {
		return v.fault("a mapping is expected here, and this is %s", v.kind)
	}
	fields := s[kind]
	for _, f := range v.fields {
		of, known := fields[f.name]
		if !known {
			unknown(f)
			continue
		}
		if err := s.check(f.value, of, unknown); err != nil {
			return err
		}
	}
	return nil
}

func (s schema) list(v *value, kind string, unknown func(f field)) error {
	if v.kind != list {
		return v.fault("a list is expected here, and this is %s", v.kind)
	}
	for _, item := range v.items {
		if err := s.check(item, kind, unknown); err != nil {
			return err
		}
	}
	return nil
}

func (s schema) mapping(v *value, kind string, unknown func(f field)) error {
	if v.kind != mapping {
		return v.fault("a mapping is expected here, and this is %s", v.kind)
	}
	for _, f := range v.fields {
		if err := s.check(f.value, kind, unknown); err != nil {
			return err
		}
	}
	return nil
}

// scalarType reports whether a kind of scalar fits a type, and what to call the type, "" where it is none of a scalar.
func scalarType(of string, k kind) (fits bool, name string) {
	switch of {
	case "s":
		return k == text, "a text"
	case "i", "h":
		return k == integer, "a whole number"
	case "b":
		return k == boolean, "true or false"
	case "f":
		return k == integer || k == number, "a number"
	case "q":
		return k == text || k == integer || k == number, "a quantity"
	case "x":
		return k == text || k == integer, "a text or a whole number"
	}
	return false, ""
}
