// Package builtins has the functions of Rego that services offer to policies beside those that OPA compiles into the
// module: a short list that authors reach for, without a clock, without randomness, and bounded in time and memory
// whatever they are given. They do what OPA's own do, down to the words of their errors.
package builtins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/llorch/secrets-management/policy/internal/sandbox"
	"github.com/llorch/secrets-management/policy/internal/value"
)

// All returns the functions by the names that Rego has for them.
func All() map[string]sandbox.Builtin {
	return map[string]sandbox.Builtin{
		"semver.compare":        {Arity: 2, Call: pure(semverCompare)},
		"sprintf":               {Arity: 2, Call: pure(sprintf)},
		"time.parse_rfc3339_ns": {Arity: 1, Call: pure(parseRFC3339)},
		"units.parse_bytes":     {Arity: 1, Call: pure(parseBytes)},
	}
}

// maxText bounds each text that a function reads, but for the values that sprintf prints.
const maxText = 1 << 10

var errTooLong = fmt.Errorf("a text is longer than %d bytes", maxText)

// pure wraps a function of its arguments alone.
func pure(f func(args []value.Value) (value.Value, error)) func(context.Context, []value.Value) (value.Value, error) {
	return func(_ context.Context, args []value.Value) (value.Value, error) { return f(args) }
}

// text is the argument at a place, which must be a short string.
func text(args []value.Value, at int) (string, error) {
	s, ok := args[at].(string)
	switch {
	case !ok:
		return "", errType(at, "string", args[at])
	case len(s) > maxText:
		return "", errTooLong
	}
	return s, nil
}

func errType(at int, want string, got value.Value) error {
	return fmt.Errorf("operand %d must be %s but got %s", at+1, want, value.Type(got))
}

var errTimeRange = errors.New("time outside of valid range")

// parseRFC3339 is time.parse_rfc3339_ns: nanoseconds since 1970, for the years that 64 bits can tell.
func parseRFC3339(args []value.Value) (value.Value, error) {
	s, err := text(args, 0)
	if err != nil {
		return nil, err
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return nil, err
	}
	if ns := t.UnixNano(); time.Unix(0, ns).Equal(t) { // it wraps around outside of the range
		return value.Int(ns), nil
	}
	return nil, errTimeRange
}
