package sandbox

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// Errors of a [Program], for errors.Is.
var (
	ErrModule     = errors.New("invalid policy module")    // refused before any of it ran
	ErrEvaluation = errors.New("policy evaluation failed") // the guest trapped, aborted or gave no result
	ErrLimit      = errors.New("policy exceeded a limit")  // deadline, fuel, memory, stack, input or result
	ErrClosed     = errors.New("policy program is closed") // or was never opened
)

// Config says how a module is run.
type Config struct {
	Limits      Limits   // resolved
	Interpreter bool     // do not compile to machine code, even where that is possible
	Entrypoints []string // that the module must have, and that can be asked; none stands for all that it has
	Parts       []string // members of the input that come apart, each as a JSON array of names; see parts.go
	Fresh       bool     // no instance is used twice

	// Proven says that this very module is known to be valid and to compile: it is not validated once more, and wazero may
	// compile it on all processors, where a panic of its own would end the process; for any other module it is an error.
	Proven bool

	// Builtins are the functions of the host that a module may ask for, by the names that Rego has for them; one that asks
	// for any other is refused. They are called by as many goroutines as there are instances.
	Builtins map[string]Builtin

	// Lenient makes a builtin that fails undefined, as OPA's evaluator has it unless it is told to be strict; else it stops
	// the guest. It is for tools that compare with OPA.
	Lenient bool
}

// Program is a module that is ready to be asked, with its data and a fixed number of places for instances. It is safe
// for concurrent use.
type Program struct {
	config  Config
	engine  string
	runtime wazero.Runtime
	code    wazero.CompiledModule
	data    []byte
	slots   chan *Instance // nil is a place whose instance has yet to be made
	closed  chan struct{}
}

// features are what OPA's runtime is compiled to. Everything else, bulk memory with its unmetered lengths first, stays
// invalid.
const features = api.CoreFeatureMutableGlobal

// Open validates, rewrites and compiles a module. It runs none of it: the first instance is made by the first
// [Program.Acquire]. The error matches ErrModule or ErrLimit. ctx bounds the opening only.
func Open(ctx context.Context, module, data []byte, c Config) (*Program, error) {
	if len(module) > c.Limits.ModuleBytes {
		return nil, fmt.Errorf("%w: the module has %d bytes, at most %d are allowed", ErrLimit, len(module), c.Limits.ModuleBytes)
	}
	metered, plain, err := rewrite(module, c.Limits)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	if c.Proven {
		return compiled(ctx, metered, data, c)
	}
	valid := make(chan error, 1)
	go func() { valid <- validate(ctx, plain) }() // while the copy is compiled; neither runs anything of the module
	p, err := compiled(ctx, metered, data, c)
	if invalid := <-valid; invalid != nil {
		if p != nil {
			p.Close()
		}
		return nil, invalid
	}
	return p, err
}

// compiled makes a program of a rewritten module.
func compiled(ctx context.Context, metered, data []byte, c Config) (*Program, error) {
	p := &Program{
		config: c, engine: "compiler", data: data, slots: make(chan *Instance, c.Limits.Instances), closed: make(chan struct{}),
	}
	for range c.Limits.Instances {
		p.slots <- nil
	}
	config := wazero.NewRuntimeConfigInterpreter()
	if c.Interpreter || !canCompile() {
		p.engine = "interpreter"
	} else {
		config = wazero.NewRuntimeConfigCompiler()
	}
	p.runtime = wazero.NewRuntimeWithConfig(ctx, config.WithCoreFeatures(features).WithMemoryLimitPages(c.Limits.maxPages()))
	if err := p.compile(ctx, metered); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// validate lets wazero judge the module as it came: only there are indices one past the guest's own an error, which
// in the rewritten one address what was appended.
func validate(ctx context.Context, module []byte) error {
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
	defer rt.Close(ctx) //nolint:errcheck // nothing was instantiated
	err := guard(func() error {
		_, err := rt.CompileModule(ctx, module)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: %.300q", ErrModule, err.Error())
	}
	return nil
}

// guard makes an error of a panic: wazero asserts by panics what it believes of its own state while it reads, compiles and
// instantiates, and where a module proves it wrong, that module is refused and the process lives on.
func guard(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("wazero gave up: %v", r)
		}
	}()
	return do()
}

func (p *Program) compile(ctx context.Context, metered []byte) error {
	if err := instantiateHost(ctx, p.runtime); err != nil {
		return err
	}
	err := ctx.Err()
	if err != nil {
		return err
	}
	if p.config.Proven {
		ctx = experimental.WithCompilationWorkers(ctx, runtime.GOMAXPROCS(0))
	}
	err = guard(func() (err error) {
		p.code, err = p.runtime.CompileModule(ctx, metered)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: after metering: %.300q", ErrModule, err.Error())
	}
	return nil
}

// Engine is "compiler" or "interpreter".
func (p *Program) Engine() string { return p.engine }

// Acquire borrows an instance; every call is followed by one of [Program.Release]. It waits for a free one as long as ctx
// allows. The error matches ErrClosed, ErrLimit, ErrEvaluation (the guest failed while it was made) or the context's.
func (p *Program) Acquire(ctx context.Context) (*Instance, error) {
	var inst *Instance
	select {
	case <-p.closed:
		return nil, ErrClosed
	default:
	}
	select {
	case inst = <-p.slots:
	case <-p.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if inst != nil {
		return inst, nil
	}
	inst, err := newInstance(ctx, p)
	if err != nil {
		p.slots <- nil
	}
	return inst, err
}

// Release gives an instance back. One that did anything but what it should is thrown away: a new one costs little, and
// what is in its memory cannot be known.
func (p *Program) Release(inst *Instance, good bool) {
	switch {
	case good && !p.config.Fresh:
		inst.forget()
		p.slots <- inst
	case good:
		inst.close()
		p.slots <- nil
	default: // one that was stopped at its deadline may hold much, and who asked has waited long enough
		go func() {
			inst.close()
			p.slots <- nil
		}()
	}
}

// Close waits for evaluations that are under way and frees the guests. It must be called once.
func (p *Program) Close() {
	close(p.closed)
	for range p.config.Limits.Instances {
		if inst := <-p.slots; inst != nil {
			inst.close()
		}
	}
	_ = p.runtime.Close(context.Background()) // frees code; guests hold nothing that could fail to close
}
