package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/strictyaml"
)

// Limits of a file. A project of real life has some hundred values, a dozen levels deep.
const (
	MaxFile   = 1 << 20 // bytes
	maxValues = 1 << 16 // after aliases were followed
	maxDepth  = 64
)

// value is a node of a file with its place: what compose-go does not keep. Its methods can be called on nil, which is a key
// that is not there.
type value struct {
	scalar, list, mapping bool
	text                  string // of a scalar, as written
	tag                   string
	items                 []*value
	fields                []field

	from         *source
	line, column int
}

type field struct {
	name      string
	line, col int
	value     *value
}

// get follows a path of keys.
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

// null reports whether nothing stands there.
func (v *value) null() bool { return v == nil || v.scalar && v.tag == "!!null" }

// string is the text of a scalar with its variables replaced.
func (v *value) string() string {
	if v == nil || !v.scalar || v.null() {
		return ""
	}
	return v.from.expand(v.text)
}

// entries lists what a mapping, or a list of NAME=VALUE, has: each name with the value's place. The value is nil where the
// name stands alone.
func (v *value) entries() []field {
	if v == nil {
		return nil
	}
	all := slices.Clone(v.fields)
	for _, i := range v.items {
		name, content, found := strings.Cut(i.text, "=")
		f := field{name: i.from.expand(name), line: i.line, col: i.column}
		if found {
			f.value = &value{scalar: true, tag: "!!str", text: content, from: i.from, line: i.line, column: i.column}
		}
		all = append(all, f)
	}
	return all
}

// all calls visit for v and everything beneath it, keys with their values.
func (v *value) all(visit func(name string, v *value)) { v.visit("", visit) }

func (v *value) visit(name string, visit func(string, *value)) {
	if v == nil {
		return
	}
	visit(name, v)
	for _, i := range v.items {
		i.visit(name, visit)
	}
	for _, f := range v.fields {
		f.value.visit(f.name, visit)
	}
}

// fault is an error at a place.
type fault struct {
	file         string
	line, column int
	message, fix string
}

func (f *fault) Error() string { return f.message }

func (v *value) fault(fix, format string, args ...any) error {
	return &fault{v.from.name, v.line, v.column, fmt.Sprintf(format, args...), fix}
}

// builder makes values of YAML nodes.
type builder struct {
	from *source
	left int
}

// parse reads the documents of a file. Compose merges them, the first first.
func (s *source) parse(data []byte) ([]*value, error) {
	if line, column := strictyaml.Invalid(data); line > 0 {
		return nil, &fault{file: s.name, line: line, column: column, message: "not UTF-8"}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	b := &builder{s, maxValues}
	var docs []*value
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, s.syntax(err)
		}
		if len(doc.Content) == 0 {
			continue
		}
		v, err := b.value(doc.Content[0], 0)
		if err != nil {
			return nil, err
		}
		if !v.mapping {
			return nil, v.fault("", "a Compose file is a mapping")
		}
		docs = append(docs, v)
	}
}

// syntax is an error of the YAML parser, without the text of its message, which can quote the file.
func (s *source) syntax(err error) error {
	return &fault{file: s.name, line: strictyaml.Line(err), column: 1, message: "not YAML"}
}

func (b *builder) at(n *yaml.Node, format string, args ...any) error {
	return &fault{file: b.from.name, line: max(n.Line, 1), column: max(n.Column, 1), message: fmt.Sprintf(format, args...)}
}

// value follows aliases as often as they are named: hence the budget.
func (b *builder) value(n *yaml.Node, depth int) (*value, error) {
	switch b.left--; {
	case b.left < 0:
		return nil, b.at(n, "more than %d values in one file, aliases followed", maxValues)
	case depth > maxDepth:
		return nil, b.at(n, "nested deeper than %d levels", maxDepth)
	case n.Kind == yaml.AliasNode:
		return b.value(n.Alias, depth+1)
	}
	v := &value{from: b.from, line: max(n.Line, 1), column: max(n.Column, 1), tag: n.ShortTag()}
	if n.Kind == yaml.ScalarNode {
		v.scalar, v.text = true, n.Value
		return v, nil
	}
	if n.Kind == yaml.SequenceNode {
		v.list = true
		for _, c := range n.Content {
			item, err := b.value(c, depth+1)
			if err != nil {
				return nil, err
			}
			v.items = append(v.items, item)
		}
		return v, nil
	}
	v.mapping = true
	return v, b.fields(v, n, depth)
}

// fields reads a mapping. A key that is given twice hides one of the two from somebody: Compose refuses it too.
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
		if key.Value == "<<" && key.ShortTag() == "!!merge" {
			merged = append(merged, child)
			continue
		}
		if seen[key.Value] {
			return b.at(n.Content[i], "key%s is given twice", quoted(key.Value))
		}
		seen[key.Value] = true
		v.fields = append(v.fields, field{key.Value, max(key.Line, 1), max(key.Column, 1), child})
	}
	return b.merge(v, merged, seen)
}

// merge adds what "<<" names, mappings or lists of them; what is there already stays.
func (b *builder) merge(v *value, merged []*value, seen map[string]bool) error {
	for len(merged) > 0 {
		m := merged[0]
		merged = merged[1:]
		switch {
		case m.list:
			merged = append(slices.Clone(m.items), merged...)
		case m.mapping:
			for _, f := range m.fields {
				if b.left--; !seen[f.name] {
					seen[f.name] = true
					v.fields = append(v.fields, f)
				}
			}
		default:
			return m.fault("", "<< is not a mapping")
		}
		if b.left < 0 {
			return m.fault("", "more than %d values in one file, aliases followed", maxValues)
		}
	}
	return nil
}

func word() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z][a-zA-Z_-]{0,39}$`) }

// quoted is a word, as a key can have been meant, behind a space. Nothing else is repeated: it may be a value.
func quoted(s string) string {
	if !word().MatchString(s) {
		return ""
	}
	return ` "` + s + `"`
}
