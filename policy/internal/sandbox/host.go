package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/llorch/secrets-management/policy/internal/value"
)

// This file holds every function that a guest can reach. Together with the memory of memory.go it is the whole
// attack surface of the host towards a policy: no WASI, no clock, no randomness, no network, no files.

// budget is what one call into a guest may still use. It belongs to one instance and is used by one goroutine.
type budget struct {
	ctx      context.Context //nolint:containedctx // the guest calls back without one of ours
	deadline time.Time
	turn     time.Time // when the guest last let others run
	fuel     int64     // not yet granted
	stop     error     // why the guest was stopped; once set, no fuel is granted any more
}

func (b *budget) arm(ctx context.Context, d time.Duration, fuel int64) {
	now := time.Now()
	*b = budget{ctx: ctx, deadline: now.Add(d), turn: now, fuel: fuel}
}

// turn is how long a guest runs before it lets other goroutines have its processor: many times a usual decision. Go's
// scheduler would wait ten times as long, and cannot interrupt native code then.
const turn = time.Millisecond

// alive decides whether there is time left.
func (b *budget) alive() bool {
	now := time.Now()
	if now.Sub(b.turn) > turn {
		runtime.Gosched()
		now = time.Now()
		b.turn = now
	}
	switch {
	case b.stop != nil:
	case b.ctx.Err() != nil:
		b.stop = b.ctx.Err()
	case now.After(b.deadline):
		b.stop = fmt.Errorf("%w: the deadline has passed", ErrLimit)
	}
	return b.stop == nil
}

// grant gives a guest another slice of its fuel, or nothing and the reason in stop.
func (b *budget) grant(slice int64) int64 {
	switch {
	case !b.alive():
	case b.fuel <= 0:
		b.stop = fmt.Errorf("%w: the fuel is used up", ErrLimit)
	default:
		slice = min(b.fuel, slice)
		b.fuel -= slice
		return slice
	}
	return 0
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
		env.NewFunctionBuilder().WithGoModuleFunction(hostFunction(name, s), params, results).Export(name)
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
	if inst == nil || !inst.bindMeter(m) || int64(inst.stack.Get()) < 0 { //nolint:gosec // G115: the global is a signed number
		return // without a meter, or with calls nested deeper than Limits.StackBytes allows
	}
	// What the last payment overdrew is taken from the new slice, so that no instruction is free.
	left := int64(inst.fuel.Get()) //nolint:gosec // G115: the global is a signed number
	for left < 0 {
		slice := inst.budget.grant(inst.slice())
		if slice == 0 {
			return
		}
		left += slice
	}
	inst.fuel.Set(uint64(left))
	stack[0] = 0
}

func hostFunction(name string, s signature) api.GoModuleFunc {
	switch name {
	case "opa_abort":
		return abort
	case "opa_println":
		return func(context.Context, api.Module, []uint64) {} // what print() writes goes nowhere
	default:
		return builtinHook(s.params - 2)
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

// builtinHook is opa_builtinN: the number of a builtin, a context that is of no use, and N addresses of arguments. Its
// result is the address of a value, 0 for undefined.
func builtinHook(arguments int) api.GoModuleFunc {
	return func(ctx context.Context, m api.Module, stack []uint64) {
		id, addresses := uint32(stack[0]), stack[2:2+arguments] //nolint:gosec // G115: an i32 of the guest
		inst := fromContext(ctx)
		if inst == nil {
			stack[0] = 0
			return
		}
		at, err := inst.callBuiltin(id, addresses)
		stack[0] = uint64(at)
		if err != nil {
			stopGuest(ctx, m, err)
		}
	}
}

// callBuiltin runs a builtin on values of the guest. Reading them and writing the result runs the guest again, on the
// fuel and the stack that are left.
func (i *Instance) callBuiltin(id uint32, addresses []uint64) (uint32, error) {
	b, ok := i.builtins.byID[id]
	switch {
	case !i.budget.alive():
		return 0, i.budget.stop
	case !ok:
		return 0, fmt.Errorf("%w: the policy called host builtin %d, and none is offered", ErrEvaluation, id)
	case b.Arity != len(addresses):
		return 0, fmt.Errorf("%w: the policy called builtin %q with %d arguments", ErrEvaluation, b.name, len(addresses))
	case i.builtins.busy:
		return 0, fmt.Errorf("%w: the policy called builtin %q from within another one", ErrEvaluation, b.name)
	}
	i.builtins.busy = true
	defer func() { i.builtins.busy = false }()
	args := make([]value.Value, len(addresses))
	for k, at := range addresses {
		var err error
		if args[k], err = i.readValue(uint32(at)); err != nil { //nolint:gosec // G115: an i32 of the guest
			return 0, fmt.Errorf("argument %d of builtin %q: %w", k+1, b.name, err)
		}
	}
	v, err := b.Call(&i.ctx, args)
	switch {
	case !i.budget.alive(): // also when the builtin failed for want of time
		return 0, i.budget.stop
	case err != nil && i.builtins.lenient && !errors.Is(err, ErrHalt), err == nil && v == nil:
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("%w: builtin %q: %.*q", ErrEvaluation, b.name, maxErrorText, err.Error())
	}
	at, err := i.writeValue(v)
	if err != nil {
		return 0, fmt.Errorf("result of builtin %q: %w", b.name, err)
	}
	return at, nil
}

// readValue copies a value out of the guest.
func (i *Instance) readValue(at uint32) (value.Value, error) {
	text, err := i.reenter(i.builtins.dump, at)
	if err != nil {
		return nil, err
	}
	raw, err := i.result(text, uint32(i.limits.ResultBytes)) //nolint:gosec // G115: at most 4 MiB
	if err != nil {
		return nil, i.explain(err)
	}
	i.charge(len(raw))
	v, err := value.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvaluation, err)
	}
	return v, nil
}

// writeValue puts a value into the guest. Its text stays there: the guest's numbers point into it.
func (i *Instance) writeValue(v value.Value) (uint32, error) {
	raw, err := value.Encode(v)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrEvaluation, err)
	}
	if len(raw) > i.limits.ResultBytes {
		return 0, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrLimit, len(raw), i.limits.ResultBytes)
	}
	i.charge(len(raw))
	n := uint32(len(raw)) //nolint:gosec // G115: at most Limits.ResultBytes
	text, err := i.reenter(i.builtins.malloc, n)
	if err != nil {
		return 0, err
	}
	if !i.mod.Memory().Write(text, raw) {
		return 0, fmt.Errorf("%w: opa_malloc returned an address outside the memory", ErrEvaluation)
	}
	at, err := i.reenter(i.builtins.parse, text, n)
	if err == nil && at == 0 {
		err = fmt.Errorf("%w: the guest cannot parse it", ErrEvaluation)
	}
	return at, err
}

// reenter calls the guest while it waits for the host. Fuel and stack are globals of the guest, so that this call uses
// up what the one that waits has left.
func (i *Instance) reenter(fn api.Function, args ...uint32) (uint32, error) {
	var stack [2]uint64
	for k, a := range args {
		stack[k] = uint64(a)
	}
	if err := fn.CallWithStack(&i.ctx, stack[:]); err != nil {
		return 0, i.explain(err)
	}
	return uint32(stack[0]), i.budget.stop //nolint:gosec // G115: an i32
}

// charge takes fuel for work of the host. What is overdrawn the next payment of the guest settles, or it dies of it.
func (i *Instance) charge(bytes int) {
	i.fuel.Set(uint64(int64(i.fuel.Get()) - hostByteCost*int64(bytes))) //nolint:gosec // G115: the global is a signed number
}

func stopGuest(ctx context.Context, m api.Module, why error) {
	inst := fromContext(ctx)
	if inst == nil || !inst.bindMeter(m) {
		return
	}
	if inst.budget.stop == nil {
		inst.budget.stop = why
	}
	inst.fuel.Set(^uint64(0)) // minus one: the next payment asks for more, and the answer is no
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
