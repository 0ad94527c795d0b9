package builtins

import (
	"errors"
	"math/big"
	"strings"

	"github.com/llorch/secrets-management/policy/internal/value"
)

// The errors of units.parse_bytes, in OPA's words.
var (
	errNoAmount    = errors.New("units.parse_bytes: no byte amount provided")
	errAmount      = errors.New("units.parse_bytes: could not parse byte amount to a number")
	errSpaces      = errors.New("units.parse_bytes: spaces not allowed in resource strings")
	errBigExponent = errors.New("units.parse_bytes: exponent too large")
)

// maxExponent bounds the number that is built: 10^maxExponent already has more digits than a value may have.
const maxExponent = 1_000

// parseBytes is units.parse_bytes: "10GiB" is 10737418240, a fraction of a byte is cut off.
func parseBytes(args []value.Value) (value.Value, error) {
	s, err := text(args, 0)
	if err != nil {
		return nil, err
	}
	s = strings.ReplaceAll(strings.ToLower(s), `"`, "")
	if strings.Contains(s, " ") {
		return nil, errSpaces
	}
	amount, unit := cutUnit(s)
	if amount == "" {
		return nil, errNoAmount
	}
	factor, ok := unitFactor(unit)
	if !ok {
		return nil, errors.New("units.parse_bytes: byte unit " + unit + " not recognized")
	}
	if exponentTooLarge(amount) {
		return nil, errBigExponent
	}
	n, ok := new(big.Float).SetString(amount)
	if !ok {
		return nil, errAmount
	}
	whole, _ := n.Mul(n, new(big.Float).SetInt64(factor)).Int(nil)
	return value.Number(whole.String()), nil
}

// unitFactor is what a unit stands for: powers of 1000, or of 1024 where there is an i.
func unitFactor(unit string) (int64, bool) {
	if unit == "" {
		return 1, true
	}
	power := strings.IndexByte("kmgtpe", unit[0]) + 1
	base := int64(1000)
	switch unit[1:] {
	case "", "b":
	case "i", "ib":
		base = 1024
	default:
		return 0, false
	}
	factor := int64(1)
	for range power {
		factor *= base
	}
	return factor, power > 0
}

// cutUnit splits where the number ends. An e belongs to the number when digits or a sign come behind it.
func cutUnit(s string) (amount, unit string) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c == '.', c == '+', c == '-':
		case c == 'e' && i+1 < len(s) && strings.IndexByte("0123456789+-", s[i+1]) >= 0:
			i++
		default:
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// exponentTooLarge reports an exponent beyond the bound, in either direction.
func exponentTooLarge(amount string) bool {
	_, exponent, has := strings.Cut(amount, "e")
	digits := strings.TrimLeft(strings.TrimLeft(exponent, "+-"), "0")
	return has && (len(digits) > 4 || clamp(digits) > maxExponent)
}
