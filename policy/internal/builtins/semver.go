package builtins

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/llorch/secrets-management/policy/internal/value"
)

// version is a Semantic Version 2.0.0 (https://semver.org). Metadata says nothing about precedence.
type version struct {
	numbers [3]int64
	pre     []string
}

// semverCompare is -1, 0 or 1.
func semverCompare(args []value.Value) (value.Value, error) {
	var v [2]version
	for i := range v {
		s, err := text(args, i)
		if err != nil {
			return nil, err
		}
		var ok bool
		if v[i], ok = parseVersion(s); !ok {
			return nil, fmt.Errorf("operand %d: string %q is not a valid SemVer", i+1, s)
		}
	}
	return value.Int(int64(v[0].compare(v[1]))), nil
}

// parseVersion reads a version, which may begin with a v.
func parseVersion(s string) (v version, ok bool) {
	s = strings.TrimPrefix(s, "v")
	s, metadata, has := strings.Cut(s, "+")
	if has && !identifiers(metadata) {
		return v, false
	}
	s, pre, has := strings.Cut(s, "-")
	if has {
		if !identifiers(pre) {
			return v, false
		}
		v.pre = strings.Split(pre, ".")
		if slices.ContainsFunc(v.pre, func(id string) bool { return isNumeric(id) && padded(id) }) {
			return v, false
		}
	}
	numbers := strings.Split(s, ".")
	if len(numbers) != len(v.numbers) {
		return v, false
	}
	for i, n := range numbers {
		var err error
		if v.numbers[i], err = strconv.ParseInt(n, 10, 64); err != nil || !isNumeric(n) || padded(n) {
			return v, false
		}
	}
	return v, true
}

// identifiers reports whether a text is a list of identifiers, none of them empty.
func identifiers(s string) bool {
	for id := range strings.SplitSeq(s, ".") {
		foreign := func(r rune) bool {
			return r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		}
		if id == "" || strings.ContainsFunc(id, foreign) {
			return false
		}
	}
	return true
}

func isNumeric(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func padded(s string) bool { return len(s) > 1 && s[0] == '0' }

func (v version) compare(o version) int {
	switch c := slices.Compare(v.numbers[:], o.numbers[:]); {
	case c != 0:
		return c
	case len(v.pre) == 0 || len(o.pre) == 0:
		return cmp.Compare(min(1, len(o.pre)), min(1, len(v.pre))) // a release is above what came before it
	}
	return slices.CompareFunc(v.pre, o.pre, compareIdentifiers)
}

// compareIdentifiers has numbers below words, and compares numbers of any length.
func compareIdentifiers(a, b string) int {
	an, bn := isNumeric(a), isNumeric(b)
	switch {
	case an && bn:
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) // neither is padded
	case an:
		return -1
	case bn:
		return 1
	}
	return strings.Compare(a, b)
}
