package builtins

import (
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/policy/internal/value"
)

// call runs a function on arguments in Rego's notation.
func call(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	b, ok := All()[name]
	if !ok || b.Arity != len(args) {
		t.Fatalf("there is no %s of %d arguments", name, len(args))
	}
	values := make([]value.Value, len(args))
	for i, arg := range args {
		var err error
		if values[i], err = value.Parse([]byte(arg)); err != nil {
			t.Fatalf("%s: %v", arg, err)
		}
	}
	v, err := b.Call(t.Context(), values)
	if err != nil {
		return "", err
	}
	return value.Text(v), nil
}

// TestBuiltins has one of each kind; OPA's own cases and its evaluator judge the rest, in policy/rego.
func TestBuiltins(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"sprintf", []string{`"%s is %d of %v, %q"`, `["a", 12345678901234567890, {2, 1}, "b"]`}, `"a is 12345678901234567890 of {1, 2}, \"b\""`},
		{"sprintf", []string{`"%5.1f|%-4d|%%|%[1]v|%d"`, `[1.25, 7]`}, `"  1.2|7   |%|1.25|7"`},
		{"semver.compare", []string{`"1.2.3-rc.1"`, `"v1.2.3"`}, "-1"},
		{"semver.compare", []string{`"1.0.0-99999999999999999999"`, `"1.0.0-99999999999999999998"`}, "1"}, // OPA 1.22 never returns
		{"time.parse_rfc3339_ns", []string{`"1970-01-01T00:00:01.5Z"`}, "1500000000"},
		{"units.parse_bytes", []string{`"1.5KiB"`}, "1536"},
	} {
		if got, err := call(t, tt.name, tt.args...); err != nil || got != tt.want {
			t.Errorf("POL-3010: %s(%s) is %s, error %v, want %s", tt.name, strings.Join(tt.args, ", "), got, err, tt.want)
		}
	}
}

// TestBuiltinsAreBounded: what a few bytes of policy could make the host do is refused, and at once.
func TestBuiltinsAreBounded(t *testing.T) {
	quoted := func(s string) string { return `"` + s + `"` }
	long := quoted(strings.Repeat("1", maxText+1))
	for name, args := range map[string][]string{
		"sprintf a width":                   {`"%1000000000d"`, "[1]"},
		"sprintf many widths":               {quoted(strings.Repeat("%999999d", 2000)), "[1]"},
		"sprintf a precision":               {`"%.1000000000f"`, "[1]"},
		"sprintf many precisions":           {quoted(strings.Repeat("%.99999f", 2000)), "[1.5]"},
		"sprintf a width from the values":   {`"%*d"`, "[999999999999, 1]"},
		"sprintf one beyond 64 bits":        {`"%*d"`, "[99999999999999999999999, 1]"},
		"sprintf a negative one":            {`"%*d%[1]*[2]d%[1]*[2]d"`, "[-999999, 1]"},
		"sprintf a precision from them":     {`"%.*d%.*d%.*d"`, "[999999, 1, 999999, 1, 999999, 1]"},
		"sprintf a text over and over":      {quoted(strings.Repeat("%[1]s", 2000)), "[" + quoted(strings.Repeat("a", 1000)) + "]"},
		"sprintf a quoted text":             {quoted(strings.Repeat("%[1]+q", 300)), "[" + quoted(strings.Repeat("é", 1000)) + "]"},
		"sprintf a value over and over":     {quoted(strings.Repeat("%[1]v", 2000)), "[[" + quoted(strings.Repeat("a", 1000)) + "]]"},
		"sprintf a float over and over":     {quoted(strings.Repeat("%f", 3000)), "[" + strings.Repeat("1e308,", 2999) + "1e308]"},
		"sprintf many that no verb takes":   {quoted("a"), "[" + strings.Repeat("1,", 200_000) + "1]"},
		"sprintf floats that no verb takes": {quoted("a"), "[" + strings.Repeat("1e-300,", 70_000) + "1]"},
		"sprintf more values than verbs":    {quoted("a"), "[" + quoted(strings.Repeat("a", maxPrinted)) + "]"},
		"sprintf a format that is long":     {quoted(strings.Repeat("a", maxPrinted)), "[1]"},
		"sprintf no format":                 {"1", "[1]"},
		"sprintf no array":                  {`"a"`, "{1}"},
		"semver.compare first":              {long, `"1.0.0"`},
		"semver.compare second":             {`"1.0.0"`, long},
		"semver.compare beyond 64 bits":     {`"99999999999999999999.0.0"`, `"1.0.0"`},
		"semver.compare no text":            {"1", `"1.0.0"`},
		"time.parse_rfc3339_ns":             {long},
		"time.parse_rfc3339_ns year 9999":   {`"9999-01-01T00:00:00Z"`},
		"time.parse_rfc3339_ns year 0":      {`"0000-01-01T00:00:00Z"`},
		"time.parse_rfc3339_ns no text":     {"null"},
		"units.parse_bytes":                 {long},
		"units.parse_bytes exponent":        {`"1e999999"`},
		"units.parse_bytes negative one":    {`"1e-999999"`},
		"units.parse_bytes huge exponent":   {`"1e99999999999999999999"`},
		"units.parse_bytes exponent twice":  {`"1e1e1"`},
		"units.parse_bytes no text":         {"[]"},
	} {
		t.Run("POL-3011/"+name, func(t *testing.T) {
			function, _, _ := strings.Cut(name, " ")
			start := time.Now()
			if got, err := call(t, function, args...); err == nil {
				t.Errorf("%.40q of %d bytes", got, len(got))
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// FuzzSprintf: POL-3011. What is not refused is within the bound.
func FuzzSprintf(f *testing.F) {
	for _, seed := range []string{"%d %s", "%*d%.*f", "%[2]*[1]d", "%+q%# x%U%c%b%T%p", "%", "%!%%", "%9999d", "%v%[", "%-010.5d"} {
		f.Add(seed, `[1, "é", 1.5, {1}, -20]`)
	}
	f.Fuzz(func(t *testing.T, format, values string) {
		list, err := value.Parse([]byte(values))
		if err != nil {
			return
		}
		v, err := sprintf([]value.Value{format, list})
		if s, ok := v.(string); err == nil && (!ok || len(s) > maxPrinted) {
			t.Fatalf("%d bytes from %d and %d", len(s), len(format), len(values))
		}
	})
}

// TestSprintfNearTheBound: POL-3011. The worst that is not refused comes back soon.
func TestSprintfNearTheBound(t *testing.T) {
	number := "1" + strings.Repeat("0", 999)
	for name, args := range map[string][]string{
		"padded numbers": {`"` + strings.Repeat("%9999d", 60) + `"`, "[" + strings.Repeat(number+",", 59) + number + "]"},
		"padded floats":  {`"` + strings.Repeat("%.9999f", 95) + `"`, "[" + strings.Repeat("1.5e300,", 94) + "1.5e300]"},
		"bits":           {`"` + strings.Repeat("%b", 130) + `"`, "[" + strings.Repeat(number+",", 129) + number + "]"},
	} {
		start := time.Now()
		got, err := call(t, "sprintf", args...)
		if took := time.Since(start); err != nil || len(got) < 100_000 || took > time.Second {
			t.Errorf("%s: %d bytes in %v, error %v", name, len(got), took, err)
		}
	}
}
