package rego

import (
	"bytes"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
)

// Format lays a module out as `opa fmt` does. Text that is no Rego v1 is an error, with file, line and column, as is a layout
// that would mean something else, which would be a fault of the formatter. The error matches [ErrSource].
func Format(name string, source []byte) ([]byte, error) {
	before, err := parseModule(name, string(source))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSource, positioned(&Source{}, err))
	}
	out, err := format.SourceWithOpts(name, source, format.Opts{RegoVersion: ast.RegoV1})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSource, err) // unreachable: it parses
	}
	after, err := parseModule(name, string(out))
	if err != nil || !after.Equal(before) {
		return nil, fmt.Errorf("%w: %s: the formatter would change what it means", ErrSource, name)
	}
	if again, err := format.SourceWithOpts(name, out, format.Opts{RegoVersion: ast.RegoV1}); err != nil || !bytes.Equal(again, out) {
		return nil, fmt.Errorf("%w: %s: the formatter does not come to an end", ErrSource, name)
	}
	return out, nil
}
