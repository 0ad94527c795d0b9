package sandbox

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// The controls: the same guests where nothing of this package is between them and wazero. They show that the attacks are
// attacks, and that it is the sandbox which stops them.

// plainFor is how long a control lets a guest run that goes on for ever. wazero can end it at a loop header, nowhere else.
const plainFor = 150 * time.Millisecond

// plainPages is the memory that the controls offer, far more than a sandbox would.
const plainPages = 8192

// plainRun is what a guest did where nobody stopped it.
type plainRun struct {
	err     error // of its instantiation or of the evaluation
	took    time.Duration
	result  uint32
	memory  []byte
	calls   int    // of host functions
	alloc   uint64 // bytes that the process allocated meanwhile
	next    string // what the same instance answers to an honest request afterwards
	abiHeap uint32 // what it takes for its heap
}

// plain instantiates a guest of so many pages by wazero alone and evaluates a hostile input, then an honest one. After a
// time wazero is to end it.
func plain(t testing.TB, module []byte, pages uint32, end time.Duration, more ...func(context.Context, wazero.Runtime) error) (r plainRun) {
	t.Helper()
	rt := plainRuntime(t, t.Context(), pages, &r.calls)
	for _, f := range more {
		if err := f(t.Context(), rt); err != nil {
			t.Fatal(err)
		}
	}
	code, err := rt.CompileModule(t.Context(), module)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), end)
	defer cancel()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	mod, err := rt.InstantiateModule(ctx, code, wazero.NewModuleConfig().WithName("guest"))
	if err == nil {
		r.result, err = plainEval(ctx, mod, longInput+1)
	}
	r.err, r.took = err, time.Since(start)
	runtime.ReadMemStats(&after)
	r.alloc = after.TotalAlloc - before.TotalAlloc
	r.memory = bytes.Clone(view(rt.Module(envModule).ExportedMemory(memoryImport)))
	if mod != nil && !mod.IsClosed() {
		if at, err := plainEval(ctx, mod, 2); err == nil {
			r.next = readText(mod.Memory(), at, 1<<20)
		}
		if heap, err := mod.ExportedFunction("opa_heap_ptr_get").Call(ctx); err == nil {
			r.abiHeap = uint32(heap[0])
		}
	}
	return r
}

func view(mem api.Memory) []byte {
	b, _ := mem.Read(0, mem.Size())
	return b
}

func plainEval(ctx context.Context, mod api.Module, input uint64) (uint32, error) {
	results, err := mod.ExportedFunction("opa_eval").Call(ctx, 0, 0, 1, addrHeap, input, addrHeap+input, formatJSON)
	if err != nil {
		return 0, err
	}
	return uint32(results[0]), nil
}

// plainRuntime offers a memory and the functions of OPA's ABI, which do nothing but count.
func plainRuntime(t testing.TB, ctx context.Context, pages uint32, calls *int) wazero.Runtime { //nolint:revive // t comes first in tests
	t.Helper()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCloseOnContextDone(true))
	t.Cleanup(func() { rt.Close(context.Background()) })
	offer(t, ctx, rt, max(1, pages), plainPages, calls)
	return rt
}

// offer instantiates what guests import.
func offer(t testing.TB, ctx context.Context, rt wazero.Runtime, pages, most uint32, calls *int) { //nolint:revive // t comes first in tests
	t.Helper()
	host := rt.NewHostModuleBuilder("host")
	for name, s := range hostImports {
		host.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) {
			*calls++
			if s.results == 1 {
				stack[0] = 0
			}
		}), i32s(s.params), i32s(s.results)).Export(name)
	}
	if _, err := host.Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.InstantiateWithConfig(ctx, envGlue(pages, most), wazero.NewModuleConfig().WithName(envModule)); err != nil {
		t.Fatal(err)
	}
}

func i32s(n int) []byte { return bytes.Repeat([]byte{typeI32}, n) }

// envGlue is a module that exports a memory and the functions of "host": wazero's host modules have no memory.
func envGlue(pages, most uint32) []byte {
	var types, imports, exports [][]byte
	for i, name := range slices.Sorted(maps.Keys(hostImports)) {
		s := hostImports[name]
		types = append(types, funcTypeOf(s.params, s.results))
		imports = append(imports, append(appendName(appendName(nil, "host"), name), kindFunc, byte(i)))
		exports = append(exports, append(appendName(nil, name), kindFunc, byte(i)))
	}
	exports = append(exports, append(appendName(nil, memoryImport), kindMemory, 0))
	out := appendBytes(append(slices.Clone(wasmHeader), byte(secType)), vec(types...))
	out = appendBytes(append(out, byte(secImport)), vec(imports...))
	out = appendBytes(append(out, byte(secMemory)), appendU32(appendU32([]byte{1, 1}, pages), most))
	return appendBytes(append(out, byte(secExport)), vec(exports...))
}

// accepted reports whether wazero takes a module that is not looked at before.
func accepted(features api.CoreFeatures) func(testing.TB, []byte) bool {
	return func(t testing.TB, module []byte) bool {
		rt := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
		defer rt.Close(t.Context())
		_, err := rt.CompileModule(t.Context(), module)
		if err != nil {
			t.Log(err)
		}
		return err == nil
	}
}

// outputAccepted reports whether wazero takes the rewritten copy of a module: what would be run if only that were
// validated.
func outputAccepted(t testing.TB, module []byte) bool {
	limits, err := Limits{}.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	metered, _, err := rewrite(module, limits)
	if err != nil {
		t.Fatal(err)
	}
	return accepted(features)(t, metered)
}

// unvalidated opens a program whose module nobody has validated before it was rewritten.
func unvalidated(t testing.TB, module []byte, limits Limits) *Program {
	t.Helper()
	limits, err := limits.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	metered, _, err := rewrite(module, limits)
	if err != nil {
		t.Fatal(err)
	}
	config := wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features)
	p := &Program{
		config: Config{Limits: limits, Entrypoints: []string{entrypoint}}, data: []byte("{}"),
		runtime: wazero.NewRuntimeWithConfig(t.Context(), config), slots: make(chan *Instance, 1), closed: make(chan struct{}),
	}
	p.slots <- nil
	p.config.Limits.Instances = 1
	t.Cleanup(p.Close)
	if err := p.compile(t.Context(), metered); err != nil {
		t.Fatal(err)
	}
	return p
}

// fillsItsTank: where only the output is validated, a guest that sets the global one past its own runs a hundred times
// as long as its fuel reaches.
func fillsItsTank(t testing.TB, module []byte) bool {
	const rounds = 2_000_000
	counting := cat(i32const(rounds), set(7), []byte{opLoop, typeNone}, get(7), i32const(1), []byte{opI32Sub, 0x22, 7, opBrIf, 0, opEnd})
	honest := &asmGuest{eval: cat(counting, i32const(addrAllow))}
	fill := cat([]byte{opI64Const}, appendS64(nil, 1<<62), []byte{opGlobalSet, 2}) // a loop keeps its fuel elsewhere until it calls
	cheat := &asmGuest{eval: cat(call((&asmGuest{}).fn(0)), counting, i32const(addrAllow)), extra: []asmFunc{{typ: typeVoid, body: fill}}}
	limits := Limits{Fuel: 100_000, Deadline: 10 * time.Second}
	if answer, err := evaluate(t.Context(), unvalidated(t, honest.build(), limits), hostile); !errors.Is(err, ErrLimit) {
		t.Fatalf("without cheating: %q, error %v", answer, err)
	}
	answer, err := evaluate(t.Context(), unvalidated(t, cheat.build(), limits), hostile)
	return outputAccepted(t, module) && err == nil && answer == allowJSON
}

// drawsRandomness: with WASI, the guest has random bytes in its memory.
func drawsRandomness(t testing.TB, module []byte) bool {
	r := plain(t, module, 1, time.Minute, func(ctx context.Context, rt wazero.Runtime) error {
		_, err := wasi_snapshot_preview1.Instantiate(ctx, rt)
		return err
	})
	return !bytes.Equal(r.memory[16384:16416], make([]byte, 32))
}

// wazeroPanics: an allocator that refuses the first memory of a module ends the process.
func wazeroPanics(t testing.TB, module []byte) bool {
	p := unwilling(t, module)
	allocator := experimental.MemoryAllocatorFunc(func(uint64, uint64) experimental.LinearMemory {
		return &guestMemory{limit: uint64(p.config.Limits.DataBytes)}
	})
	err := guard(func() error {
		_, err := p.runtime.InstantiateModule(experimental.WithMemoryAllocator(t.Context(), allocator), p.code, wazero.NewModuleConfig())
		return err
	})
	return err != nil && strings.Contains(err.Error(), "wazero gave up")
}

// unwilling is a program that will not give its module the memory that it starts with.
func unwilling(t testing.TB, module []byte) *Program {
	p := unvalidated(t, module, Limits{DataBytes: 1024 * mib})
	p.config.Limits.DataBytes = 64 * mib
	return p
}

// compileTime is how long wazero's compiler takes over a module.
func compileTime(t testing.TB, module []byte) time.Duration {
	rt := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features))
	defer rt.Close(t.Context())
	start := time.Now()
	if _, err := rt.CompileModule(t.Context(), module); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

// slowToCompile: it takes the compiler far longer than as many bytes of anything else.
func slowToCompile(t testing.TB, module []byte) bool {
	same := (&asmGuest{extra: []asmFunc{{typ: typeVoid, body: slices.Repeat([]byte{0x01}, len(module))}}}).build()
	plain := min(compileTime(t, same), compileTime(t, same), compileTime(t, same))
	return compileTime(t, module) > 10*plain
}

// allocates: wazero takes so much memory for it, whatever it says then.
func allocates(least uint64) func(testing.TB, []byte) bool {
	return func(t testing.TB, module []byte) bool {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		rt := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
		defer rt.Close(t.Context())
		rt.CompileModule(t.Context(), module)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc-before.TotalAlloc >= least
	}
}
