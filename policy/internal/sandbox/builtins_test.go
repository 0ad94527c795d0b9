package sandbox

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/policy/internal/value"
)

const (
	addrArgument = 1 << 16
	addrText     = 2 << 16 // where opa_malloc of a calling guest says that there is room
)

// caller is a guest that calls builtin 7, which it knows as "f", with a text in its memory, and answers with the result.
// Any of the functions that the host then calls back can be replaced.
type caller struct {
	argument            string
	eval                []byte
	dump, malloc, parse []byte
}

// callSeven is (call $opa_builtin1 7 0 argument).
var callSeven = cat(i32const(7), i32const(0), i32const(addrArgument), []byte{opCall, 0})

func (c caller) build() []byte {
	or := func(body, def []byte) []byte {
		if body == nil {
			return def
		}
		return body
	}
	g := &asmGuest{
		imports: []string{"opa_builtin1", "opa_builtin0"}, builtins: `{"f":7}`, pages: 8, eval: or(c.eval, callSeven),
		extra: []asmFunc{
			{typ: typeOne, body: or(c.dump, []byte{0x20, 0}), export: "opa_value_dump"},
			{typ: typeTwo, body: or(c.parse, []byte{0x20, 0}), export: "opa_value_parse"},
		},
	}
	argument := c.argument
	if argument == "" {
		argument = `"a"`
	}
	at := func(addr int64, text string) []byte {
		return cat([]byte{0}, i32const(addr), []byte{opEnd}, appendBytes(nil, []byte(text+"\x00")))
	}
	g.sections = map[sectionID][]byte{secData: vec(at(addrNone, "{}"), at(addrEntry, `{"secrets/load/decision":0}`),
		at(addrDeny, denyJSON), at(addrBuiltins, g.builtins), at(addrArgument, argument))}
	g.malloc = or(c.malloc, i32const(addrText))
	return g.build()
}

// echo gives its argument back.
var echo = map[string]Builtin{"f": {1, func(_ context.Context, args []value.Value) (value.Value, error) { return args[0], nil }}}

func runWith(t testing.TB, module []byte, c Config) *Program {
	t.Helper()
	var err error
	if c.Limits, err = c.Limits.Resolve(); err != nil {
		t.Fatal(err)
	}
	c.Entrypoints = []string{entrypoint}
	p, err := Open(t.Context(), module, []byte("{}"), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// TestBuiltinIsCalled is the control of the tests below: what a guest passes arrives, and what the host answers too.
func TestBuiltinIsCalled(t *testing.T) {
	const text = `{"a": [1, 12345678901234567890.5, "\u0000é\"", null, true], "b": {false, {[]: {}}, set()}}`
	for _, interpreter := range []bool{false, true} {
		t.Run("POL-3002", func(t *testing.T) {
			p := runWith(t, caller{argument: text}.build(), Config{Builtins: echo, Interpreter: interpreter})
			for range 3 {
				if answer, err := evaluate(t.Context(), p, hostile); err != nil || answer != text {
					t.Errorf("%q, error %v", answer, err)
				}
			}
		})
	}
}

func TestHostileCallsOfBuiltins(t *testing.T) {
	never := func(context.Context, []value.Value) (value.Value, error) { return nil, errors.New("it was called") }
	give := func(v value.Value) map[string]Builtin {
		return map[string]Builtin{"f": {1, func(context.Context, []value.Value) (value.Value, error) { return v, nil }}}
	}
	tests := map[string]struct {
		guest   caller
		offered map[string]Builtin
		want    error
		says    string
	}{
		"a number that it did not name": {
			caller{eval: cat(i32const(8), i32const(0), i32const(addrArgument), []byte{opCall, 0})}, echo, ErrEvaluation, "builtin 8",
		},
		"too few arguments": {
			caller{eval: cat(i32const(7), i32const(0), []byte{opCall, 1})}, echo, ErrEvaluation, "with 0 arguments",
		},
		"argument outside memory": {caller{dump: i32const(-8)}, echo, ErrEvaluation, "outside the memory"},
		"argument without an end": {
			caller{argument: `"` + strings.Repeat("a", 9000)}, echo, ErrLimit, "longer than 8192",
		},
		"not a value":           {caller{argument: `[1,`}, echo, ErrEvaluation, "notation"},
		"two values":            {caller{argument: `1 2`}, echo, ErrEvaluation, "notation"},
		"not UTF-8":             {caller{argument: "\"\xff\""}, echo, ErrEvaluation, "notation"},
		"nested too deep":       {caller{argument: strings.Repeat("[", 8000)}, echo, ErrEvaluation, "nested deeper"},
		"sets nested too deep":  {caller{argument: strings.Repeat("{", 8000)}, echo, ErrEvaluation, "nested deeper"},
		"keys nested too deep":  {caller{argument: strings.Repeat("{{}:", 2000)}, echo, ErrEvaluation, "nested deeper"},
		"a number of 8000":      {caller{argument: strings.Repeat("9", 8000)}, echo, ErrEvaluation, "8000 characters"},
		"dump never returns":    {caller{dump: cat(loop, i32const(0))}, echo, ErrLimit, "fuel"},
		"dump recurses":         {caller{dump: cat([]byte{0x20, 0, opCall}, appendU32(nil, 2+firstDefined))}, echo, ErrLimit, "stack"},
		"dump traps":            {caller{dump: []byte{opUnreachable}}, echo, ErrEvaluation, "unreachable"},
		"dump grows the memory": {caller{dump: cat([]byte{opLoop, typeNone}, i32const(1), []byte{opMemoryGrow, 0, 0x1a, opBr, 0, opEnd}, i32const(0))}, echo, ErrLimit, "used up"},
		"dump calls a builtin":  {caller{dump: callSeven}, map[string]Builtin{"f": {1, never}}, ErrEvaluation, "from within"},
		"parse calls a builtin": {caller{parse: callSeven}, echo, ErrEvaluation, "from within"},
		"parse never returns":   {caller{parse: cat(loop, i32const(0))}, echo, ErrLimit, "fuel"},
		"parse finds no value":  {caller{parse: i32const(0)}, echo, ErrEvaluation, "cannot parse"},
		"room outside memory":   {caller{malloc: cat([]byte{0x20, 0}, i32const(3), []byte{0x46, opIf, typeI32}, i32const(-8), []byte{opElse}, i32const(addrText), []byte{opEnd})}, echo, ErrEvaluation, "outside the memory"},
		"calls without an end": {
			caller{eval: cat([]byte{opLoop, typeNone}, callSeven, []byte{0x1a, opBr, 0, opEnd}, i32const(0))}, echo, ErrLimit, "fuel",
		},
		"a result too long":     {caller{}, give(strings.Repeat("a", 9000)), ErrLimit, "9002 bytes"},
		"a result not in UTF-8": {caller{}, give("\xff"), ErrEvaluation, "UTF-8"},
		"a result of no type":   {caller{}, give(struct{}{}), ErrEvaluation, "no value"},
		"a builtin that panics": {caller{}, map[string]Builtin{"f": {1, func(_ context.Context, args []value.Value) (value.Value, error) {
			return args[len(args)], nil
		}}}, ErrEvaluation, "index out of range"},
	}
	for name, tt := range tests {
		for _, interpreter := range []bool{false, true} {
			t.Run("POL-3003/"+name, func(t *testing.T) {
				p := runWith(t, tt.guest.build(), Config{Builtins: tt.offered, Interpreter: interpreter, Limits: Limits{
					Instances: 1, ResultBytes: 8192, GrowthBytes: 1 << 20, Deadline: 5 * time.Second, Fuel: 5_000_000,
				}})
				for range 2 {
					if _, err := evaluate(t.Context(), p, hostile); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
						t.Errorf("error %v, want %v that says %q", err, tt.want, tt.says)
					}
					if answer, err := evaluate(t.Context(), p, honest); err != nil || answer != denyJSON {
						t.Errorf("the next honest request: %q, error %v", answer, err)
					}
				}
			})
		}
	}
}

// TestBytesAcrossTheBoundaryCostFuel: the work of the host is paid for, so that calls with long arguments come to an end
// as soon as those with short ones.
func TestBytesAcrossTheBoundaryCostFuel(t *testing.T) {
	calls := func(argument string) (n int) {
		count := map[string]Builtin{"f": {1, func(context.Context, []value.Value) (value.Value, error) {
			n++
			return value.Null{}, nil
		}}}
		endless := caller{argument: argument, eval: cat([]byte{opLoop, typeNone}, callSeven, []byte{0x1a, opBr, 0, opEnd}, i32const(0))}
		p := runWith(t, endless.build(), Config{Builtins: count, Limits: Limits{Deadline: 10 * time.Second, Fuel: 20_000_000}})
		if _, err := evaluate(t.Context(), p, hostile); !errors.Is(err, ErrLimit) {
			t.Fatal(err)
		}
		return n
	}
	short, long := calls(`"a"`), calls(`"`+strings.Repeat("a", 10_000)+`"`)
	if short > 20_000_000/hostCost || long > short/20 || long < 10 {
		t.Errorf("POL-3003: %d short calls and %d long ones", short, long)
	}
}

func TestFailingBuiltin(t *testing.T) {
	said := "\x1b[31m" + strings.Repeat("x", 1000)
	fails := func(err error) map[string]Builtin {
		return map[string]Builtin{"f": {1, func(context.Context, []value.Value) (value.Value, error) { return nil, err }}}
	}
	undefined := caller{eval: cat(callSeven, []byte{opIf, typeI32}, i32const(addrArgument), []byte{opElse}, i32const(addrDeny), []byte{opEnd})}
	for name, tt := range map[string]struct {
		offered map[string]Builtin
		lenient bool
		stops   bool
	}{
		"stops the guest":            {fails(errors.New(said)), false, true},
		"is undefined where lenient": {fails(errors.New(said)), true, false},
		"halts even there":           {fails(errors.Join(ErrHalt, errors.New(said))), true, true},
		"nothing is undefined":       {fails(nil), false, false},
	} {
		t.Run("POL-3004/"+name, func(t *testing.T) {
			p := runWith(t, undefined.build(), Config{Builtins: tt.offered, Lenient: tt.lenient})
			answer, err := evaluate(t.Context(), p, hostile)
			switch {
			case !tt.stops:
				if err != nil || answer != denyJSON {
					t.Errorf("%q, error %v", answer, err)
				}
			case !errors.Is(err, ErrEvaluation) || !strings.Contains(err.Error(), `builtin "f"`) || len(err.Error()) > 400 ||
				strings.Contains(err.Error(), "\x1b"):
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestBuiltinsWhileLoading: POL-3003. Before the guest has said what it needs, there is nothing to call.
func TestBuiltinsWhileLoading(t *testing.T) {
	guest := &asmGuest{imports: []string{"opa_builtin1"}, builtins: `{"f":7}`, start: cat(callSeven, []byte{0x1a})}
	_, err := start(t.Context(), guest.build(), false, Limits{})
	if !errors.Is(err, ErrEvaluation) || !strings.Contains(err.Error(), "builtin 7") {
		t.Errorf("error %v", err)
	}
}

// TestUnknownBuiltinsAreRefused: POL-3001. One that is not offered keeps the guest from being asked anything.
func TestUnknownBuiltinsAreRefused(t *testing.T) {
	for offered, says := range map[string]string{"f": "", "g": `needs builtins that no service offers: "f"`} {
		p := runWith(t, caller{}.build(), Config{Builtins: map[string]Builtin{offered: echo["f"]}})
		_, err := evaluate(t.Context(), p, honest)
		if (says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s is offered: error %v", offered, err)
		}
	}
}

// TestBuiltinHonoursTheContext: POL-3003. What is canceled while the host works stops the guest when it comes back.
func TestBuiltinHonoursTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := runWith(t, caller{}.build(), Config{Builtins: map[string]Builtin{"f": {1, func(ctx context.Context, _ []value.Value) (value.Value, error) {
		cancel()
		return nil, ctx.Err()
	}}}})
	if _, err := evaluate(ctx, p, hostile); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
