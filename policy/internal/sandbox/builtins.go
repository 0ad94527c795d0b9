package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/llorch/secrets-management/policy/internal/value"
)

// Builtin is a function of Rego that the host offers.
type Builtin struct {
	Arity int // at most 4

	// Call gets Arity values. Nil without an error is undefined. Nothing interrupts it, so it must come back soon whatever
	// it is given. What it says in an error is quoted and cut.
	Call func(ctx context.Context, args []value.Value) (value.Value, error)
}

// ErrHalt in the error of a builtin stops the guest even where Config.Lenient is set.
var ErrHalt = errors.New("evaluation halted")

// hostByteCost is the fuel that a byte between guest and host costs: what the host does with it takes as long.
const hostByteCost = 32

// maxErrorText bounds what an error repeats of a builtin's words, which can hold the guest's.
const maxErrorText = 256

// builtins are those of one instance, by the numbers that its guest has for them.
type builtins struct {
	byID                map[uint32]namedBuiltin
	lenient             bool
	busy                bool // one is being called: a guest that calls another one meanwhile is not of OPA's making
	dump, malloc, parse api.Function
}

type namedBuiltin struct {
	Builtin
	name string
}

// bindBuiltins looks up what the guest needs of its host, and fails for a function that is not offered.
func (i *Instance) bindBuiltins(offered map[string]Builtin) error {
	needs, err := i.namedNumbers("builtins")
	if err != nil || len(needs) == 0 {
		return err
	}
	var unknown []string
	i.builtins.byID = make(map[uint32]namedBuiltin, len(needs))
	for name, id := range needs {
		b, ok := offered[name]
		if !ok {
			unknown = append(unknown, fmt.Sprintf("%.64q", name))
		}
		i.builtins.byID[id] = namedBuiltin{b, name}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("%w: needs builtins that no service offers: %.512s", ErrModule, strings.Join(unknown, ", "))
	}
	i.builtins.dump = i.mod.ExportedFunction("opa_value_dump")
	i.builtins.malloc = i.mod.ExportedFunction("opa_malloc")
	i.builtins.parse = i.mod.ExportedFunction("opa_value_parse")
	return errors.Join(
		i.expect("opa_value_dump", i.builtins.dump, 1, 1),
		i.expect("opa_malloc", i.builtins.malloc, 1, 1),
		i.expect("opa_value_parse", i.builtins.parse, 2, 1),
	)
}
