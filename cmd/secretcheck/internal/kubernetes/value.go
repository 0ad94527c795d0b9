package kubernetes

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// kind is what a value is to the API server. A YAML file reaches it as JSON, so a scalar is what YAML 1.1 calls it.
type kind uint8

const (
	null kind = iota
	text
	integer
	number
	boolean
	list
	mapping
)

func (k kind) String() string {
	return [...]string{"nothing", "a text", "a whole number", "a number", "true or false", "a list", "a mapping"}[k]
}

// value is a node of a manifest with its place. Its methods can be called on nil, which is a field that is not there.
type value struct {
	kind   kind
	text   string // of a scalar
	whole  int64  // of an integer
	items  []*value
	fields []field

	line, column int
}

type field struct {
	name  string
	line  int
	col   int
	value *value
}

// get follows a path of field names.
func (v *value) get(path ...string) *value {
	for _, name := range path {
		var next *value
		if v != nil {
			for _, f := range v.fields {
				if f.name == name {
					next = f.value
				}
			}
		}
		if v = next; v == nil {
			return nil
		}
	}
	return v
}

func (v *value) string() string {
	if v == nil || v.kind != text {
		return ""
	}
	return v.text
}

func (v *value) isTrue() bool { return v != nil && v.kind == boolean && v.whole == 1 }

func (v *value) isFalse() bool { return v != nil && v.kind == boolean && v.whole == 0 }

// number is nil where there is none, which for the kubelet is something else than 0.
func (v *value) number() *int64 {
	if v == nil || v.kind != integer {
		return nil
	}
	return &v.whole
}

func (v *value) list() []*value {
	if v == nil {
		return nil
	}
	return v.items
}

func (v *value) empty() bool {
	return v == nil || v.kind == null || v.text == "" && len(v.items) == 0 && len(v.fields) == 0
}

// fault is an error at a place.
type fault struct {
	line, column int
	message      string
	fix          string
}

func (f *fault) Error() string { return f.message }

func (v *value) fault(format string, args ...any) error {
	return &fault{line: v.line, column: v.column, message: fmt.Sprintf(format, args...)}
}

// Limits of a document. A manifest of real life has some thousand values, a dozen levels deep.
const (
	maxValues = 1 << 19 // after aliases were followed; a document of 1 MiB has fewer without them
	maxDepth  = 100
)

// builder makes values of YAML nodes.
type builder struct {
	offset int // lines before the document
	left   int
}

func (b *builder) at(n *yaml.Node, format string, args ...any) error {
	return &fault{line: max(n.Line, 1) + b.offset, column: max(n.Column, 1), message: fmt.Sprintf(format, args...)}
}

// value follows aliases as the API server's reader does, as often as they are named: hence the budget.
func (b *builder) value(n *yaml.Node, depth int) (*value, error) {
	switch b.left--; {
	case b.left < 0:
		return nil, b.at(n, "more than %d values in one document, aliases followed", maxValues)
	case depth > maxDepth:
		return nil, b.at(n, "nested deeper than %d levels", maxDepth)
	}
	v := &value{line: max(n.Line, 1) + b.offset, column: max(n.Column, 1)}
	switch n.Kind {
	case yaml.AliasNode:
		return b.value(n.Alias, depth+1)
	case yaml.ScalarNode:
		return v, b.scalar(v, n)
	case yaml.SequenceNode:
		v.kind = list
		for _, c := range n.Content {
			item, err := b.value(c, depth+1)
			if err != nil {
				return nil, err
			}
			v.items = append(v.items, item)
		}
		return v, nil
	default:
		v.kind = mapping
		return v, b.fields(v, n, depth)
	}
}

// fields reads a mapping. A key that is given twice hides one of the two from somebody: kubectl refuses it too.
func (b *builder) fields(v *value, n *yaml.Node, depth int) error {
	seen := make(map[string]bool, len(n.Content)/2)
	var merged []*value
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			return b.at(n.Content[i], "a key that is no text")
		}
		child, err := b.value(n.Content[i+1], depth+1)
		if err != nil {
			return err
		}
		if key.Value == "<<" && plain(key) {
			merged = append(merged, child)
			continue
		}
		if seen[key.Value] {
			return b.at(n.Content[i], "key%s is given twice", quoted(key.Value))
		}
		seen[key.Value] = true
		v.fields = append(v.fields, field{key.Value, max(key.Line, 1) + b.offset, max(key.Column, 1), child})
	}
	return b.merge(v, merged, seen)
}

// merge adds what "<<" names, mappings or lists of them; what is there already stays.
func (b *builder) merge(v *value, merged []*value, seen map[string]bool) error {
	for len(merged) > 0 {
		m := merged[0]
		merged = merged[1:]
		switch m.kind {
		case list:
			merged = append(slices.Clone(m.items), merged...)
		case mapping:
			for _, f := range m.fields {
				if b.left--; !seen[f.name] {
					seen[f.name] = true
					v.fields = append(v.fields, f)
				}
			}
		default:
			return m.fault("<< is not a mapping")
		}
		if b.left < 0 {
			return m.fault("more than %d values in one document, aliases followed", maxValues)
		}
	}
	return nil
}

func plain(n *yaml.Node) bool {
	return n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0
}

// scalar resolves a scalar as go.yaml.in/yaml/v2 does, through which manifests reach the API server: YAML 1.1, with Go's
// prefixes of numbers, so that 0644 and 0o644 are the same mode.
func (b *builder) scalar(v *value, n *yaml.Node) error {
	v.kind, v.text = text, n.Value
	tag := n.ShortTag()
	if tag == "!!binary" {
		raw, err := base64.StdEncoding.DecodeString(n.Value)
		if v.text = string(raw); err != nil {
			return v.fault("not Base64")
		}
		return nil
	}
	if !plain(n) && tag != "!!int" && tag != "!!bool" && tag != "!!null" && tag != "!!float" {
		return nil
	}
	if !plain(n) && n.Style&yaml.TaggedStyle == 0 {
		return nil
	}
	switch n.Value {
	case "", "~", "null", "Null", "NULL":
		v.kind = null
		return nil
	case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		v.kind, v.whole = boolean, 1
		return nil
	case "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		v.kind = boolean
		return nil
	}
	if notJSON(n.Value) {
		return v.fault("not a number that JSON has")
	}
	digits := strings.ReplaceAll(n.Value, "_", "")
	if !strings.ContainsRune("0123456789+-.", rune(n.Value[0])) {
		return nil
	}
	if whole, err := strconv.ParseInt(digits, 0, 64); err == nil && n.Value[0] != '.' {
		v.kind, v.whole = integer, whole
		return nil
	}
	if float, err := strconv.ParseFloat(digits, 64); err == nil && strings.Trim(digits, "0123456789+-.eE") == "" {
		if v.kind, v.whole = number, int64(float); float == float64(v.whole) {
			v.kind = integer // as JSON writes it
		}
	}
	return nil
}

// notJSON reports whether a scalar is a number that JSON has none of.
func notJSON(s string) bool {
	switch strings.TrimLeft(s, "+-") {
	case ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF":
		return true
	}
	return false
}

// quoted is a word, as a name of a field can have been meant, behind a space. Nothing else is repeated: it may be a
// value.
func quoted(s string) string {
	if len(s) > 40 || s == "" || strings.ContainsFunc(s, func(r rune) bool { return r|0x20 < 'a' || r|0x20 > 'z' }) {
		return ""
	}
	return ` "` + s + `"`
}
