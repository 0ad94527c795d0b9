package builtins

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/llorch/secrets-management/policy/internal/value"
)

// maxPrinted bounds what sprintf may come to, counted by the worst that its format and its arguments allow: a width of
// 1,000,000 or a long text printed over and over is a few bytes in a policy.
const maxPrinted = 1 << 20

var errPrintsTooMuch = fmt.Errorf("the format and its values can give more than %d bytes", maxPrinted)

// sprintf prints as Go does.
func sprintf(args []value.Value) (value.Value, error) {
	format, ok := args[0].(string)
	if !ok {
		return nil, errType(0, "string", args[0])
	}
	values, ok := args[1].(value.Array)
	if !ok {
		return nil, errType(1, "array", args[1])
	}
	printed, longest := make([]any, len(values)), 0
	total := len(format)
	for i, v := range values {
		var size int
		printed[i], size = printable(v)
		total, longest = total+size+unusedBytes, max(longest, size)
	}
	if total+expansion(format, values, longest) > maxPrinted {
		return nil, errPrintsTooMuch
	}
	return fmt.Sprintf(format, printed...), nil
}

// printable is what Go prints for a value, and how long its text is.
func printable(v value.Value) (any, int) {
	switch v := v.(type) {
	case string:
		return v, len(v)
	case value.Number:
		return number(string(v)), len(v)
	}
	s := value.Text(v)
	return s, len(s)
}

// number is an integer of any size, or a float; the text decides which.
func number(s string) any {
	if strings.ContainsAny(s, ".eE") {
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return f
		}
		return s
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	if n, ok := new(big.Int).SetString(s, 10); ok {
		return n
	}
	return s
}

// What a verb can add beyond its widths: a float has up to 310 digits before the point, and every two bytes of a text
// can become six that are escaped, every three of them ten bits, every one five ("0x61 ").
const (
	verbBytes = 400
	perByte   = 6
)

// unusedBytes is what a value that no verb takes can add to its own text: its type, and what a float is longer than the
// shortest way to write it ("float64=1e+09, ").
const unusedBytes = 32

// expansion is the most that the verbs of a format can add to it.
func expansion(format string, values value.Array, longest int) int {
	total := 0
	for rest := format; ; {
		_, after, found := strings.Cut(rest, "%")
		if !found || total > maxPrinted {
			return total
		}
		var widths int
		widths, rest = spec(after, values)
		total += widths + verbBytes + perByte*longest
	}
}

// spec reads flags, widths and precision of a verb, and returns the sum of its numbers and what is behind them. Which
// number is a width and which the index of an argument makes no difference to a bound.
func spec(s string, values value.Array) (widths int, rest string) {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '*':
			widths, i = widths+widest(values), i+1
		case c >= '0' && c <= '9':
			end := i
			for end < len(s) && s[end] >= '0' && s[end] <= '9' {
				end++
			}
			widths, i = widths+clamp(s[i:end]), end
		case strings.IndexByte("+-# .[]", c) >= 0:
			i++
		default:
			return widths, s[i:]
		}
	}
	return widths, ""
}

// widest is the largest number among the values, which an asterisk takes as a width.
func widest(values value.Array) int {
	most := 0
	for _, v := range values {
		if n, ok := v.(value.Number); ok {
			most = max(most, clamp(strings.TrimPrefix(string(n), "-")))
		}
	}
	return most
}

// clamp reads digits as a number of at most maxPrinted+1.
func clamp(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0 // a fraction is no width
	}
	if err != nil || n > maxPrinted {
		return maxPrinted + 1
	}
	return n
}
