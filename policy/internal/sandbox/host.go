package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// This file holds every function that a guest can reach. Together with the memory of memory.go it is the whole
// attack surface of the host towards a policy: no WASI, no clock, no randomness, no network, no files.

// budget is what one call into a guest may still use. It belongs to one instance and is used by one goroutine.
type budget struct {
	ctx      context.Context //nolint:containedctx // the guest calls back without one of ours
	deadline time.Time
	fuel     int64 // not yet granted
	stop     error // why the guest was stopped; once set, no fuel is granted any more
}

// arm begins a call. It returns the first slice.
func (b *budget) arm(ctx context.Context, d time.Duration, fuel int64) int64 {
	*b = budget{ctx: ctx, deadline: time.Now().Add(d), fuel: fuel}
	return b.slice()
}

// refill grants a guest that used up its slice another one, or nothing when it may not go on.
func (b *budget) refill() int64 {
	switch {
	case b.stop != nil:
	case b.ctx.Err() != nil:
		b.stop = b.ctx.Err()
	case time.Now().After(b.deadline):
		b.stop = fmt.Errorf("%w: the deadline has passed", ErrLimit)
	case b.fuel <= 0:
		b.stop = fmt.Errorf("%w: the fuel is used up", ErrLimit)
	default:
		return b.slice()
	}
	return 0
}

func (b *budget) slice() int64 {
	n := min(b.fuel, fuelSlice)
	b.fuel -= n
	return n
}

// instanceKey finds the instance in the context that wazero hands to host functions.
type instanceKey struct{}

// guestContext carries an instance without an allocation for each call.
type guestContext struct {
	context.Context //nolint:containedctx // it is one
	inst            *Instance
}

func (g *guestContext) Value(key any) any {
	if key == (instanceKey{}) {
		return g.inst
	}
	return g.Context.Value(key)
}

func fromContext(ctx context.Context) *Instance {
	inst, _ := ctx.Value(instanceKey{}).(*Instance)
	return inst
}

// instantiateHost gives the runtime the modules that guests import from.
func instantiateHost(ctx context.Context, rt wazero.Runtime) error {
	env := rt.NewHostModuleBuilder(envModule)
	for name, s := range hostImports {
		params := bytes.Repeat([]byte{api.ValueTypeI32}, s.params)
		results := bytes.Repeat([]byte{api.ValueTypeI32}, s.results)
		env.NewFunctionBuilder().WithGoModuleFunction(hostFunction(name), params, results).Export(name)
	}
	if _, err := env.Instantiate(ctx); err != nil {
		return fmt.Errorf("instantiate host functions: %w", err)
	}
	engine := rt.NewHostModuleBuilder(hookModule).NewFunctionBuilder()
	b := engine.WithGoModuleFunction(api.GoModuleFunc(refillHook), nil, []api.ValueType{api.ValueTypeI32}).Export(hookName)
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("instantiate the meter: %w", err)
	}
	return nil
}

// refillHook is called by the metering code when the fuel or the stack global is below zero. Its result stops the guest unless 0.
func refillHook(ctx context.Context, m api.Module, stack []uint64) {
	stack[0] = 1
	inst := fromContext(ctx)
	fuel, ok := m.ExportedGlobal(exportFuel).(api.MutableGlobal)
	if inst == nil || !ok || stackUsedUp(m) {
		return
	}
	// What the last payment overdrew is taken from the new slice, so that no instruction is free.
	granted := int64(fuel.Get()) //nolint:gosec // G115: the global is a signed number
	for granted < 0 {
		more := inst.budget.refill()
		if more == 0 {
			return
		}
		granted += more
	}
	fuel.Set(uint64(granted))
	stack[0] = 0
}

// stackUsedUp reports whether calls are nested deeper than Limits.StackBytes allows.
func stackUsedUp(m api.Module) bool {
	left := m.ExportedGlobal(exportStack)
	return left == nil || int64(left.Get()) < 0 //nolint:gosec // G115: the global is a signed number
}

func hostFunction(name string) api.GoModuleFunc {
	switch name {
	case "opa_abort":
		return abort
	case "opa_println":
		return func(context.Context, api.Module, []uint64) {} // what print() writes goes nowhere
	default:
		return refuseBuiltin
	}
}

// maxAbortText bounds what an error repeats of a guest's own words.
const maxAbortText = 256

// abort stops the guest. It has no way to unwind wazero's stack but a panic, which this library does not use; instead
// it takes all fuel away, so that the guest dies at its next payment, and OPA's runtime has a trap behind the call.
func abort(ctx context.Context, m api.Module, stack []uint64) {
	if inst := fromContext(ctx); inst == nil || inst.budget.stop != nil {
		return // it has been told already
	}
	text := readText(m.Memory(), uint32(stack[0]), maxAbortText) //nolint:gosec // G115: an i32 of the guest
	stopGuest(ctx, m, fmt.Errorf("%w: the policy aborted: %q", ErrEvaluation, text))
}

func refuseBuiltin(ctx context.Context, m api.Module, stack []uint64) {
	id := stack[0]
	stack[0] = 0
	stopGuest(ctx, m, fmt.Errorf("%w: the policy called host builtin %d, and none is offered", ErrEvaluation, id))
}

func stopGuest(ctx context.Context, m api.Module, why error) {
	if inst := fromContext(ctx); inst != nil && inst.budget.stop == nil {
		inst.budget.stop = why
	}
	if fuel, ok := m.ExportedGlobal(exportFuel).(api.MutableGlobal); ok {
		fuel.Set(^uint64(0)) // minus one: the next payment asks for more, and the answer is no
	}
}

// readText copies a NUL-terminated string of at most most bytes out of a guest's memory.
func readText(mem api.Memory, at uint32, most uint32) string {
	b, ok := window(mem, at, most)
	if !ok {
		return ""
	}
	if n := bytes.IndexByte(b, 0); n >= 0 {
		b = b[:n]
	}
	return string(b)
}

// window is a view of at most most bytes from at; it is only valid until the guest runs again.
func window(mem api.Memory, at, most uint32) ([]byte, bool) {
	if mem == nil || at >= mem.Size() {
		return nil, false
	}
	return mem.Read(at, min(most, mem.Size()-at))
}
