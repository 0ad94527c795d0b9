package inventory

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// mapping reads a mapping that may have the given keys, each once. Aliases, anchors and merge keys are refused: they
// hide from a reader of the file what it says, and from the report where it says it.
func mapping(n *yaml.Node, keys ...string) (map[string]*yaml.Node, error) {
	if err := plain(n); err != nil {
		return nil, err
	}
	if n.Kind != yaml.MappingNode {
		return nil, at(n, "expected a mapping with the keys %s", strings.Join(keys, ", "))
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
			return nil, at(key, "unknown key %.64q; known here are %s", key.Value, strings.Join(keys, ", "))
		}
		if m[key.Value] != nil {
			return nil, at(key, "key %q is given twice", key.Value)
		}
		m[key.Value] = value
	}
	return m, nil
}

func plain(n *yaml.Node) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return at(n, "anchors and aliases are not allowed in an inventory")
	}
	return nil
}

func list(parent *yaml.Node, m map[string]*yaml.Node, key string) ([]*yaml.Node, error) {
	n := m[key]
	if n == nil {
		return nil, at(parent, "key %q is missing", key)
	}
	if n.Kind != yaml.SequenceNode {
		return nil, at(n, "%s is not a list", key)
	}
	for _, c := range n.Content {
		if err := plain(c); err != nil {
			return nil, err
		}
	}
	return n.Content, nil
}

func text(parent *yaml.Node, m map[string]*yaml.Node, key string) (string, error) {
	n := m[key]
	if n == nil {
		return "", at(parent, "key %q is missing", key)
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" || n.Value == "" {
		return "", at(n, "%s is not a text", key)
	}
	return n.Value, nil
}

func number(parent *yaml.Node, m map[string]*yaml.Node, key string) (int64, error) {
	n := m[key]
	if n == nil {
		return 0, at(parent, "key %q is missing: it is required, the number of the account that the service runs as", key)
	}
	uid, err := strconv.ParseUint(n.Value, 10, 32)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil {
		return 0, at(n, "%s is not a user id: it is required, the number of the account that the service runs as", key)
	}
	return int64(uid), nil
}
