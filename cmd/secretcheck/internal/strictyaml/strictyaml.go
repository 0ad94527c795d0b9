// Package strictyaml reads YAML that people write for this program: an unknown or repeated key, an anchor, an alias or a
// second document is a [Fault] with its place. A fault repeats a key where it is a plain word, and nothing else of the text.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Fault is an error at a place.
type Fault struct {
	Line, Column int
	Message      string
}

func (f *Fault) Error() string { return f.Message }

// At is a fault at a node.
func At(n *yaml.Node, format string, args ...any) error {
	return &Fault{max(n.Line, 1), max(n.Column, 1), fmt.Sprintf(format, args...)}
}

// Document parses the one YAML document of a file into nodes, which expands no alias.
func Document(data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := decoder.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		return nil, &Fault{1, 1, "the file is empty"}
	case err != nil:
		return nil, &Fault{Line(err), 1, "not YAML"}
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &Fault{max(more.Line, 1), max(more.Column, 1), "more than one YAML document"}
	}
	return doc.Content[0], nil
}

var yamlLine = regexp.MustCompile(`line ([0-9]{1,9}): `)

// Line finds the line in a message of the YAML parser, which is the only place where it is told; 1 where it is not. The rest
// of the message can quote the file, which need not be meant for this program, and is not to be repeated.
func Line(err error) int {
	line := 1
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ = strconv.Atoi(m[1])
	}
	return max(line, 1)
}

// Invalid is the place of the first byte that is not UTF-8, line 0 where there is none.
func Invalid(data []byte) (line, column int) {
	if utf8.Valid(data) {
		return 0, 0
	}
	line, column = 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == utf8.RuneError && size == 1 {
			break
		}
		if column++; r == '\n' {
			line, column = line+1, 1
		}
		data = data[size:]
	}
	return line, column
}

var word = regexp.MustCompile(`^[a-z_]+$`)

// Quoted is a word, as it can have been meant, behind a space. Nothing else is repeated: it may be a value.
func Quoted(s string) string {
	if len(s) > 32 || !word.MatchString(s) {
		return ""
	}
	return ` "` + s + `"`
}

// Mapping reads a mapping that may have the given keys, each once. Aliases, anchors and merge keys are refused: they
// hide from a reader of the file what it says, and from the report where it says it.
func Mapping(n *yaml.Node, keys ...string) (map[string]*yaml.Node, error) {
	if err := plain(n); err != nil {
		return nil, err
	}
	if n.Kind != yaml.MappingNode {
		return nil, At(n, "expected a mapping with the keys %s", strings.Join(keys, ", "))
	}
	m := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if err := plain(key); err != nil {
			return nil, err
		}
		if err := plain(value); err != nil {
			return nil, err
		}
		if !slices.Contains(keys, key.Value) || key.Kind != yaml.ScalarNode {
			return nil, At(key, "unknown key%s; known here are %s", Quoted(key.Value), strings.Join(keys, ", "))
		}
		if m[key.Value] != nil {
			return nil, At(key, "key %q is given twice", key.Value)
		}
		m[key.Value] = value
	}
	return m, nil
}

func plain(n *yaml.Node) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return At(n, "anchors and aliases are not allowed here")
	}
	return nil
}

// List reads a list that has to be there.
func List(parent *yaml.Node, m map[string]*yaml.Node, key string) ([]*yaml.Node, error) {
	n := m[key]
	if n == nil {
		return nil, At(parent, "key %q is missing", key)
	}
	if n.Kind != yaml.SequenceNode {
		return nil, At(n, "%s is not a list", key)
	}
	for _, c := range n.Content {
		if err := plain(c); err != nil {
			return nil, err
		}
	}
	return n.Content, nil
}

// Text reads a text that has to be there and is not empty.
func Text(parent *yaml.Node, m map[string]*yaml.Node, key string) (string, error) {
	n := m[key]
	if n == nil {
		return "", At(parent, "key %q is missing", key)
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" || n.Value == "" {
		return "", At(n, "%s is not a text", key)
	}
	return n.Value, nil
}
