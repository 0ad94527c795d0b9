package sandbox

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"pgregory.net/rapid"
)

// The rewriter must not change what a module does: what wazero takes as it came, it takes rewritten, and every export that
// is called gives the same result or the same trap, leaves the same memory, and calls the host as often.

// generous limits are those of nothing but time: a run that meets one of them says nothing.
var generous = Limits{
	Fuel: 3_000_000, Deadline: 10 * time.Second, StackBytes: 64 * mib, GrowthBytes: 4 * mib, DataBytes: 16 * mib, Instances: 1,
	LoadingBudget: 500 * time.Millisecond, // a start function has no other
}

// differs compares a module as it came with its rewritten copy in one engine. conclusive is false where a limit was met, or
// the module is none.
func differs(t testing.TB, module []byte, interpreter bool) (difference string, conclusive bool) {
	t.Helper()
	limits, err := generous.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	r, err := read(module, limits)
	if err != nil {
		return "", false
	}
	if err := validate(t.Context(), r.plain); err != nil {
		return "", false
	}
	p, err := Open(t.Context(), module, nil, Config{Limits: limits, Interpreter: interpreter})
	if err != nil {
		return fmt.Sprintf("valid as it came, and then: %v", err), true
	}
	defer p.Close()
	metered, ok := meteredTrace(t, p)
	if !ok {
		return "", false
	}
	plain, ok := plainTrace(t, r, interpreter)
	if !ok {
		return "", false
	}
	for i := range max(len(plain), len(metered)) {
		if i >= len(plain) || i >= len(metered) || plain[i] != metered[i] {
			return fmt.Sprintf("step %d\nas it came: %.300q\nrewritten:  %.300q", i, plain[min(i, len(plain)-1):], metered[min(i, len(metered)-1):]), true
		}
	}
	return "", true
}

// meteredTrace says what the rewritten module does; ok is false where a limit was met.
func meteredTrace(t testing.TB, p *Program) (trace []string, ok bool) {
	inst, err := instantiate(t.Context(), p)
	if err != nil {
		return []string{"instantiation failed"}, !strings.Contains(err.Error(), ErrLimit.Error()) && !strings.Contains(err.Error(), ErrEvaluation.Error()+": the policy")
	}
	defer inst.close()
	ok = true
	trace = calls(t, inst.mod, func(fn api.Function, args []uint64) (string, bool) {
		inst.arm(t.Context(), false)
		results, err := fn.Call(&inst.ctx, args...)
		ok = ok && inst.budget.stop == nil && !inst.memory.refused && int64(inst.stack.Get()) >= 0
		return outcome(results, err), ok
	})
	return trace, ok
}

// plainTrace says what the module does as it came.
func plainTrace(t testing.TB, r *rewriter, interpreter bool) ([]string, bool) {
	config := wazero.NewRuntimeConfigInterpreter()
	if !interpreter && canCompile() {
		config = wazero.NewRuntimeConfigCompiler()
	}
	ctx := t.Context()
	rt := wazero.NewRuntimeWithConfig(ctx, config.WithCoreFeatures(features))
	defer rt.Close(ctx)
	count := 0
	offer(t, ctx, rt, r.minMem, r.limits.maxPages(), &count)
	mod, err := rt.InstantiateWithConfig(ctx, r.plain, wazero.NewModuleConfig().WithName("guest").WithStartFunctions())
	if err != nil {
		return []string{"instantiation failed"}, !strings.Contains(err.Error(), "import memory")
	}
	return calls(t, mod, func(fn api.Function, args []uint64) (string, bool) {
		results, err := fn.Call(ctx, args...)
		return outcome(results, err), true
	}), true
}

// calls calls every export of a module twice and adds what its memory is then.
func calls(t testing.TB, mod api.Module, do func(api.Function, []uint64) (string, bool)) (trace []string) {
	for round := range uint64(2) {
		for _, name := range slices.Sorted(maps.Keys(mod.ExportedFunctionDefinitions())) {
			fn := mod.ExportedFunction(name)
			args := make([]uint64, len(fn.Definition().ParamTypes()))
			for i := range args {
				args[i] = round*longInput + uint64(i) + 1 // the second time, opa_eval is asked with a long input
			}
			said, goOn := do(fn, args)
			trace = append(trace, name+": "+said)
			if !goOn {
				return trace
			}
		}
	}
	memory, ok := mod.Memory().Read(0, mod.Memory().Size())
	if !ok {
		t.Error("the memory cannot be read")
	}
	return append(trace, fmt.Sprintf("%d bytes %x", len(memory), sha256.Sum256(memory)))
}

// outcome is a result, or a trap without its trace.
func outcome(results []uint64, err error) string {
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return first
	}
	return fmt.Sprint(results)
}

// FuzzRewrite: POL-4003, from any bytes.
func FuzzRewrite(f *testing.F) {
	for _, a := range attacks() {
		f.Add(a.guest.build())
	}
	for _, r := range refusals() {
		if len(r.module) < 10_000 {
			f.Add(r.module)
		}
	}
	f.Fuzz(func(t *testing.T, module []byte) {
		if len(module) > 20_000 {
			return
		}
		for _, interpreter := range engines {
			if difference, _ := differs(t, module, interpreter); difference != "" {
				t.Errorf("interpreter %v, %s", interpreter, difference)
			}
		}
	})
}

// TestSeeds: POL-4003. The seeds are there, and they are what a fuzzer can start from.
func TestSeeds(t *testing.T) {
	files, err := filepath.Glob("testdata/fuzz/FuzzRewrite/*")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d seeds, error %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		quoted, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "go test fuzz v1\n[]byte(")
		module, err := strconv.Unquote(strings.TrimSuffix(quoted, ")"))
		if !ok || err != nil {
			t.Errorf("%s: not a seed: %v", file, err)
		}
		if difference, conclusive := differs(t, []byte(module), true); difference != "" || !conclusive {
			t.Errorf("%s: %s, conclusive %v", file, difference, conclusive)
		}
	}
}

// TestMeteringChangesNothing: POL-4003, from modules that are valid by construction.
func TestMeteringChangesNothing(t *testing.T) {
	total, conclusive := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		module := drawGuest(rt)
		for engine, interpreter := range engines {
			total++
			difference, ok := differs(t, module, interpreter)
			if ok {
				conclusive++
			}
			if difference != "" {
				rt.Fatalf("%s, %s\n%x", engine, difference, module)
			}
		}
	})
	if conclusive*10 < total*8 {
		t.Errorf("only %d of %d runs say anything", conclusive, total)
	}
}

// FuzzGenerated: POL-4003, the same, led by coverage.
func FuzzGenerated(f *testing.F) {
	f.Fuzz(func(t *testing.T, choices []byte) {
		rapid.MakeFuzz(func(rt *rapid.T) {
			if difference, _ := differs(t, drawGuest(rt), true); difference != "" {
				rt.Fatal(difference)
			}
		})(t, choices)
	})
}

// TestDifferencesAreSeen is the control: a rewriter that loses a payment's block, an index or a memory limit differs.
func TestDifferencesAreSeen(t *testing.T) {
	guest := asmGuest{eval: cat(i32const(5), []byte{opMemoryGrow, 0}), start: []byte{0x01}}
	honest := guest.build()
	if difference, conclusive := differs(t, honest, true); difference != "" || !conclusive {
		t.Fatalf("%s, conclusive %v", difference, conclusive)
	}
	limits, err := generous.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	guest.eval = cat(i32const(6), []byte{opMemoryGrow, 0})
	r, err := read(guest.build(), limits)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(t.Context(), honest, nil, Config{Limits: limits, Interpreter: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	one, ok := meteredTrace(t, p)
	other, alsoOK := plainTrace(t, r, true)
	if !ok || !alsoOK || slices.Equal(one, other) {
		t.Errorf("one page more is not seen: %v %v", ok, alsoOK)
	}
}
