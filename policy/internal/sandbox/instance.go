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

	maxNames = 64 << 10 // bytes of the lists of entrypoints and of builtins, as JSON
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

	parts parts

	// What the next evaluation is asked about: JSON, written by the host and by nobody else.
	Input []byte
	Parts [][]byte // members that Input does not have, by Config.Parts; empty ones are not there. Nil where the guest takes none

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
	i.memory.limit = uint64(len(i.memory.buf)) + uint64(i.limits.GrowthBytes) //nolint:gosec // G115: positive
	return i, nil
}

// instantiate makes an instance and runs its start function. That, and all that the guest runs while it is prepared, is
// metered too.
func instantiate(ctx context.Context, p *Program) (*Instance, error) {
	i := &Instance{limits: p.config.Limits, memory: newGuestMemory(p.config.Limits), interpreted: p.engine == "interpreter"}
	i.ctx = guestContext{inst: i}
	i.parts.places = p.config.Parts
	i.builtins.lenient = p.config.Lenient
	i.arm(ctx, true)
	allocator := experimental.MemoryAllocatorFunc(func(uint64, uint64) experimental.LinearMemory { return i.memory })
	err := guard(func() (err error) {
		i.mod, err = p.runtime.InstantiateModule(experimental.WithMemoryAllocator(&i.ctx, allocator), p.code,
			wazero.NewModuleConfig().WithName("").WithStartFunctions())
		return err
	})
	if err != nil {
		i.memory.Free()
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

// arm gives the instance a fresh budget: that of loading, or that of one decision.
func (i *Instance) arm(ctx context.Context, loading bool) {
	i.ctx.Context = ctx
	d, fuel := i.limits.Deadline, i.limits.Fuel
	if loading {
		// Time bounds loading: what data costs to parse grows with it, and the data has its own limit.
		d, fuel = i.limits.LoadingBudget, 1<<62
	}
	i.memory.refused = false
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
	if places := i.parts.places; len(places) > 0 && i.takesParts() {
		i.Parts = make([][]byte, len(places))
		return i.prepareParts(places)
	}
	i.eval = i.mod.ExportedFunction("opa_eval")
	return i.expect("opa_eval", i.eval, 7, 1)
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
	if len(required) == 0 {
		i.entrypoints = all
		return nil
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
	var err error
	if i.data, err = i.parseForGood(data); err != nil {
		return err
	}
	if i.data == 0 {
		return errors.New("the guest cannot parse data.json")
	}
	i.heap, err = i.call("opa_heap_ptr_get")
	return err
}

// parseForGood has the guest parse a text that it keeps, and returns the address of the value, 0 when it is no JSON.
func (i *Instance) parseForGood(text []byte) (uint32, error) {
	at, err := i.call("opa_malloc", uint32(len(text))) //nolint:gosec // G115: the bundle bounds it
	if err != nil {
		return 0, err
	}
	if !i.mod.Memory().Write(at, text) {
		return 0, errors.New("opa_malloc returned an address outside the memory")
	}
	return i.call("opa_json_parse", at, uint32(len(text))) //nolint:gosec // G115: the same
}

// call runs an exported function on i32 values. Only preparation uses it: evaluation keeps its handle.
func (i *Instance) call(function string, args ...uint32) (uint32, error) {
	fn := i.mod.ExportedFunction(function)
	if err := i.expect(function, fn, len(args), 1); err != nil {
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
func (i *Instance) expect(name string, fn api.Function, params, results int) error {
	if fn == nil {
		return fmt.Errorf("the ABI function %q is missing", name)
	}
	i32s := func(types []api.ValueType, n int) bool {
		return bytes.Equal(types, bytes.Repeat([]byte{api.ValueTypeI32}, n))
	}
	if d := fn.Definition(); !i32s(d.ParamTypes(), params) || !i32s(d.ResultTypes(), results) {
		return fmt.Errorf("the ABI function %q has the wrong type", name)
	}
	return nil
}

// Evaluate runs an entrypoint on Input and Parts and returns what OPA calls the result set, as JSON. It lies in guest
// memory: it must be used up before the next call. After an error the instance is of no more use: release it as bad.
// Limits.Deadline bounds the evaluation. The error matches ErrLimit, ErrEvaluation or the context's.
func (i *Instance) Evaluate(ctx context.Context, entrypoint string) ([]byte, error) {
	number, ok := i.entrypoints[entrypoint]
	if !ok {
		return nil, fmt.Errorf("%w: entrypoint %q is missing", ErrEvaluation, entrypoint)
	}
	if n := i.InputBytes(); n > i.limits.InputBytes {
		return nil, fmt.Errorf("%w: the input has %d bytes, at most %d are allowed", ErrLimit, n, i.limits.InputBytes)
	}
	i.arm(ctx, false)
	evaluate := i.evaluateWhole
	if len(i.parts.paths) > 0 {
		evaluate = i.evaluateParts
	}
	at, err := evaluate(number)
	if err != nil {
		return nil, i.explain(err)
	}
	raw, err := i.result(at, uint32(i.limits.ResultBytes)) //nolint:gosec // G115: at most 4 MiB
	if err != nil {
		return nil, i.explain(err)
	}
	return raw, nil
}

// InputBytes is the size of Input and Parts, which Limits.InputBytes bounds.
func (i *Instance) InputBytes() int {
	n := len(i.Input)
	for _, part := range i.Parts {
		n += len(part)
	}
	return n
}

// evaluateWhole has opa_eval(reserved, entrypoint, data, input, input length, heap, format) do everything. It returns the
// address of the result's text.
func (i *Instance) evaluateWhole(entrypoint uint32) (uint32, error) {
	if err := i.place(i.heap, i.Input); err != nil {
		return 0, err
	}
	n := uint32(len(i.Input)) //nolint:gosec // G115: at most Limits.InputBytes
	format := uint32(formatJSON)
	if i.Notation {
		format = formatNotation
	}
	return i.step(i.eval, 0, entrypoint, i.data, i.heap, n, i.heap+n, format)
}

// place writes text into the guest's memory, which grows when it has to.
func (i *Instance) place(at uint32, text []byte) error {
	mem := i.mod.Memory()
	if end, size := uint64(at)+uint64(len(text)), uint64(mem.Size()); end > size {
		pages := uint32((end - size + pageBytes - 1) / pageBytes) //nolint:gosec // G115: both are below 2^32
		if _, ok := mem.Grow(pages); !ok {
			return errors.New("no memory for the input")
		}
	}
	if !mem.Write(at, text) {
		return errors.New("the heap lies outside the memory")
	}
	return nil
}

// step calls a function of the guest by its handle. All take and give i32 values.
func (i *Instance) step(fn api.Function, args ...uint32) (uint32, error) {
	i.args[0] = 0
	for k, a := range args {
		i.args[k] = uint64(a)
	}
	if err := fn.CallWithStack(&i.ctx, i.args[:max(1, len(args))]); err != nil {
		return 0, err
	}
	return uint32(i.args[0]), i.budget.stop //nolint:gosec // G115: an i32
}

// Used is the fuel that the last evaluation took, about one unit an instruction.
func (i *Instance) Used() int64 {
	return i.limits.Fuel - i.budget.fuel - int64(i.fuel.Get()) //nolint:gosec // G115: the global is a signed number
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
	case i.memory.refused: // OPA's runtime aborts then
		return fmt.Errorf("%w: the memory is used up", ErrLimit)
	case i.budget.stop != nil:
		return i.budget.stop
	case i.stack != nil && int64(i.stack.Get()) < 0: //nolint:gosec // G115: the global is a signed number
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

// forget takes away what was asked and leaves the room for it, and lets go of the context of the last call, and of what
// hangs on it.
func (i *Instance) forget() {
	i.ctx.Context, i.budget.ctx = nil, nil
	i.Input = i.Input[:0]
	for k := range i.Parts {
		i.Parts[k] = i.Parts[k][:0]
	}
}

func (i *Instance) close() {
	if i.mod != nil {
		_ = i.mod.Close(context.Background()) // closing a module without WASI has nothing that can fail
	}
}
