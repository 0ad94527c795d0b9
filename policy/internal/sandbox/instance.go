package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// The ABI of OPA's Wasm modules, version 1.2 and later: https://www.openpolicyagent.org/docs/wasm#abi-versions.

const (
	abiMajor    = 1
	abiMinMinor = 2 // brought opa_eval, the one-call evaluation

	formatJSON     = 0
	formatNotation = 1

	maxNames   = 64 << 10 // bytes of the lists of entrypoints and of builtins, as JSON
	largeBytes = 8 * mib  // of memory, which take milliseconds to copy
)

// Instance is one guest with its parsed data, ready to decide. It is used by one goroutine at a time and thrown away
// after anything but a clean result.
type Instance struct {
	mod    api.Module
	memory *guestMemory
	budget budget
	ctx    guestContext
	fuel   api.MutableGlobal
	stack  api.MutableGlobal
	eval   api.Function

	limits      Limits
	builtins    builtins
	interpreted bool
	data        uint32 // address of the parsed data
	heap        uint32 // first free byte behind it
	entrypoints map[string]uint32
	args        [7]uint64

	Input []byte // what the next evaluation is asked about: JSON, written by the host and by nobody else

	// Notation gives results in Rego's own notation, which tells a set from an array, instead of JSON. It is for tools
	// that compare with OPA.
	Notation bool
}

// newInstance instantiates the guest and parses data into it.
func newInstance(ctx context.Context, p *Program) (*Instance, error) {
	i, err := instantiate(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := i.prepare(p.data, &p.config); err != nil {
		i.close()
		return nil, i.explain(err)
	}
	i.settle()
	return i, nil
}

// instantiate makes an instance and runs its start function. That, and all that the guest runs while it is prepared, is
// metered too.
func instantiate(ctx context.Context, p *Program) (*Instance, error) {
	limits := p.config.Limits
	i := &Instance{limits: limits, memory: &guestMemory{limit: uint64(limits.DataBytes)}} //nolint:gosec // G115: positive
	i.interpreted = p.engine == "interpreter"
	i.builtins.lenient = p.config.Lenient
	i.ctx = guestContext{inst: i}
	i.arm(ctx, true)
	allocator := experimental.MemoryAllocatorFunc(func(uint64, uint64) experimental.LinearMemory { return i.memory })
	err := guard(func() (err error) {
		i.mod, err = p.runtime.InstantiateModule(experimental.WithMemoryAllocator(&i.ctx, allocator), p.code,
			wazero.NewModuleConfig().WithName("").WithStartFunctions())
		return err
	})
	if err != nil {
		return nil, i.explain(err)
	}
	if !i.bindMeter(i.mod) {
		i.close()
		return nil, i.explain(errors.New("the metering is missing"))
	}
	return i, nil
}

// bindMeter looks up the globals of the metering once; a start function that calls the host comes here first.
func (i *Instance) bindMeter(mod api.Module) bool {
	if i.fuel != nil {
		return true
	}
	fuel, ok := mod.ExportedGlobal(exportFuel).(api.MutableGlobal)
	stack, alsoOK := mod.ExportedGlobal(exportStack).(api.MutableGlobal)
	if !ok || !alsoOK {
		return false
	}
	i.fuel, i.stack = fuel, stack
	return true
}

// slice is how much the guest may execute until the next look: see meter.go.
func (i *Instance) slice() int64 {
	slice := int64(fuelSlice)
	switch n := len(i.memory.buf); {
	case n > farBytes:
		slice = fuelSliceHuge
	case n > nearBytes:
		slice = fuelSliceLarge
	}
	if i.interpreted {
		slice = min(slice, fuelSliceSlow)
	}
	return slice
}

// settle ends the loading: from here on the memory may grow by Limits.GrowthBytes. Large memory moves once more, now that
// there is time for it, to where it has room for all of that: copying it takes longer than a decision may.
func (i *Instance) settle() {
	grow := func(extra uint64) {
		i.memory.limit = uint64(len(i.memory.buf)) + extra + uint64(i.limits.GrowthBytes) //nolint:gosec // G115: positive
	}
	if len(i.memory.buf) > largeBytes {
		grow(pageBytes)
		i.memory.exact = true
		i.mod.Memory().Grow(1) // where it cannot, it is as large as it ever gets
	}
	grow(0)
}

// arm gives the instance a fresh budget: that of loading, or that of one decision.
func (i *Instance) arm(ctx context.Context, loading bool) {
	i.ctx.Context = ctx
	d, fuel := i.limits.Deadline, i.limits.Fuel
	if loading {
		// Time bounds loading: what data costs to parse grows with it, and the data has its own limit.
		d, fuel = i.limits.LoadingBudget, 1<<62
	}
	i.memory.denied = false
	i.budget.arm(ctx, d, fuel)
	if i.fuel != nil {
		i.fuel.Set(uint64(i.budget.grant(i.slice()))) //nolint:gosec // G115: positive, or 0 when the context is over
		i.stack.Set(uint64(i.limits.StackBytes))      //nolint:gosec // G115: positive
	}
}

func (i *Instance) prepare(data []byte, c *Config) error {
	if err := i.checkABI(); err != nil {
		return err
	}
	if err := i.bindBuiltins(c.Builtins); err != nil {
		return err
	}
	if err := i.readEntrypoints(c.Entrypoints); err != nil {
		return err
	}
	if err := i.parseData(data); err != nil {
		return err
	}
	i.eval = i.mod.ExportedFunction("opa_eval")
	return i.expect("opa_eval", i.eval, 7)
}

func (i *Instance) checkABI() error {
	major, minor := i.mod.ExportedGlobal("opa_wasm_abi_version"), i.mod.ExportedGlobal("opa_wasm_abi_minor_version")
	if major == nil || minor == nil {
		return errors.New("not compiled by OPA: no ABI version is exported")
	}
	if major.Get() != abiMajor || uint32(minor.Get()) < abiMinMinor { //nolint:gosec // G115: an i32
		return fmt.Errorf("ABI version %d.%d is not supported, 1.%d or later is", uint32(major.Get()), uint32(minor.Get()), abiMinMinor) //nolint:gosec // G115
	}
	return nil
}

func (i *Instance) readEntrypoints(required []string) error {
	all, err := i.namedNumbers("entrypoints")
	if err != nil {
		return err
	}
	i.entrypoints = make(map[string]uint32, len(required))
	for _, name := range required {
		id, ok := all[name]
		if !ok {
			return fmt.Errorf("entrypoint %q is missing", name)
		}
		i.entrypoints[name] = id
	}
	return nil
}

// namedNumbers calls a function without parameters that returns an object of numbers.
func (i *Instance) namedNumbers(function string) (map[string]uint32, error) {
	value, err := i.call(function)
	if err != nil {
		return nil, err
	}
	text, err := i.call("opa_json_dump", value)
	if err != nil {
		return nil, err
	}
	raw, err := i.result(text, maxNames)
	if err != nil {
		return nil, err
	}
	var m map[string]uint32
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%s() did not return names with numbers", function)
	}
	return m, nil
}

func (i *Instance) parseData(data []byte) error {
	at, err := i.call("opa_malloc", uint32(len(data))) //nolint:gosec // G115: the bundle bounds it
	if err != nil {
		return err
	}
	if !i.mod.Memory().Write(at, data) {
		return errors.New("opa_malloc returned an address outside the memory")
	}
	if i.data, err = i.call("opa_json_parse", at, uint32(len(data))); err != nil { //nolint:gosec // G115
		return err
	}
	if i.data == 0 {
		return errors.New("the guest cannot parse data.json")
	}
	i.heap, err = i.call("opa_heap_ptr_get")
	return err
}

// call runs an exported function on i32 values. Only preparation uses it: evaluation keeps its handle.
func (i *Instance) call(function string, args ...uint32) (uint32, error) {
	fn := i.mod.ExportedFunction(function)
	if err := i.expect(function, fn, len(args)); err != nil {
		return 0, err
	}
	stack := make([]uint64, max(1, len(args)))
	for k, a := range args {
		stack[k] = uint64(a)
	}
	if err := fn.CallWithStack(&i.ctx, stack); err != nil {
		return 0, err
	}
	return uint32(stack[0]), i.budget.stop //nolint:gosec // G115: an i32
}

// expect checks that a function is there with so many i32 parameters and one i32 result.
func (i *Instance) expect(name string, fn api.Function, params int) error {
	if fn == nil {
		return fmt.Errorf("the ABI function %q is missing", name)
	}
	i32s := func(types []api.ValueType, n int) bool {
		return bytes.Equal(types, bytes.Repeat([]byte{api.ValueTypeI32}, n))
	}
	if d := fn.Definition(); !i32s(d.ParamTypes(), params) || !i32s(d.ResultTypes(), 1) {
		return fmt.Errorf("the ABI function %q has the wrong type", name)
	}
	return nil
}

// Evaluate runs an entrypoint on Input and returns what OPA calls the result set, as JSON. It lies in guest memory: it must
// be used up before the next call. After an error the instance is of no more use: release it as bad. Limits.Deadline
// bounds the evaluation. The error matches ErrLimit, ErrEvaluation or the context's.
func (i *Instance) Evaluate(ctx context.Context, entrypoint string) ([]byte, error) {
	at, ok := i.entrypoints[entrypoint]
	if !ok {
		return nil, fmt.Errorf("%w: entrypoint %q is missing", ErrEvaluation, entrypoint)
	}
	if len(i.Input) > i.limits.InputBytes {
		return nil, fmt.Errorf("%w: the input has %d bytes, at most %d are allowed", ErrLimit, len(i.Input), i.limits.InputBytes)
	}
	i.arm(ctx, false)
	n := uint32(len(i.Input)) //nolint:gosec // G115: at most Limits.InputBytes
	mem := i.mod.Memory()
	if end, size := uint64(i.heap)+uint64(n), uint64(mem.Size()); end > size {
		pages := uint32((end - size + pageBytes - 1) / pageBytes) //nolint:gosec // G115: both are below 2^32
		if _, ok := mem.Grow(pages); !ok {
			return nil, i.explain(errors.New("no memory for the input"))
		}
	}
	if !mem.Write(i.heap, i.Input) {
		return nil, i.explain(errors.New("the heap lies outside the memory"))
	}
	format := uint64(formatJSON)
	if i.Notation {
		format = formatNotation
	}
	// opa_eval(reserved, entrypoint, data, input, input length, heap, format) returns the address of a string.
	i.args = [7]uint64{
		0, uint64(at), uint64(i.data), uint64(i.heap), uint64(n), uint64(i.heap + n), format,
	}
	if err := i.eval.CallWithStack(&i.ctx, i.args[:]); err != nil {
		return nil, i.explain(err)
	}
	if i.budget.stop != nil {
		return nil, i.explain(nil)
	}
	raw, err := i.result(uint32(i.args[0]), uint32(i.limits.ResultBytes)) //nolint:gosec // G115: an i32, at most 4 MiB
	if err != nil {
		return nil, i.explain(err)
	}
	return raw, nil
}

// result is the NUL-terminated string at an address, of at most most bytes.
func (i *Instance) result(at, most uint32) ([]byte, error) {
	b, ok := window(i.mod.Memory(), at, most+1)
	if !ok {
		return nil, errors.New("the result lies outside the memory")
	}
	n := bytes.IndexByte(b, 0)
	switch {
	case n < 0 && len(b) <= int(most):
		return nil, errors.New("the result does not end in the memory")
	case n < 0:
		return nil, fmt.Errorf("%w: the result is longer than %d bytes", ErrLimit, most)
	}
	return b[:n], nil
}

// explain says why the guest failed: a limit, its own abort, or a trap. wazero's error holds a stack trace with names
// of the guest's choosing, so only its first line is kept.
func (i *Instance) explain(err error) error {
	switch {
	case i.budget.stop != nil && !errors.Is(i.budget.stop, ErrEvaluation):
		return i.budget.stop
	case i.memory.denied: // OPA's runtime aborts then
		return fmt.Errorf("%w: the memory is used up", ErrLimit)
	case i.budget.stop != nil:
		return i.budget.stop
	case i.stack != nil && int32(i.stack.Get()) < 0: //nolint:gosec // G115: an i32
		return fmt.Errorf("%w: the call stack is used up", ErrLimit)
	case errors.Is(err, ErrLimit) || errors.Is(err, ErrEvaluation) || errors.Is(err, ErrModule):
		return err
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	if strings.HasSuffix(first, "stack overflow") { // the interpreter's own bound, in frames, can come before ours
		return fmt.Errorf("%w: the call stack is used up", ErrLimit)
	}
	return fmt.Errorf("%w: %.200q", ErrEvaluation, first)
}

// forget lets go of the context of the last call, and what hangs on it.
func (i *Instance) forget() { i.ctx.Context, i.budget.ctx = nil, nil }

func (i *Instance) close() {
	if i.mod != nil {
		_ = i.mod.Close(context.Background()) // closing a module without WASI has nothing that can fail
	}
}
