package policy

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Errors of an [Engine], for errors.Is. Each comes with a denying Decision; ErrRequest and ErrBundle are declared with
// what they are about.
var (
	ErrEvaluation = errors.New("policy evaluation failed")    // the guest trapped, aborted or gave no well-formed decision
	ErrLimit      = errors.New("policy exceeded a limit")     // deadline, fuel, memory, stack, input or result
	ErrClosed     = errors.New("policy engine is closed")     // or was never opened
	ErrSmoke      = errors.New("policy fails its smoke test") // the bundle cannot decide, or grants everything
)

// Options of [Open]. The zero value is right for services.
type Options struct {
	Limits Limits

	// Interpreter runs the policy without compiling it to machine code: it starts three times faster and decides 40
	// times slower, which suits a command that makes a few decisions. It is what happens anyway where the process may
	// not have executable memory, as under systemd's MemoryDenyWriteExecute=.
	Interpreter bool
}

// Info describes what an engine runs.
type Info struct {
	Engine   string // "compiler" or "interpreter"
	Revision string // of the bundle's manifest
	Digest   string // SHA-256 of policy.wasm and data.json, hex: what the audit log records as the policy in force
}

// Engine decides requests by one policy. It is safe for concurrent use. The zero Engine denies everything.
type Engine struct {
	active atomic.Pointer[activation]
}

// activation is one bundle in force: its compiled guest and a fixed number of places for instances.
type activation struct {
	runtime wazero.Runtime
	code    wazero.CompiledModule
	data    []byte
	limits  Limits
	info    Info
	slots   chan *instance // nil is a place whose instance has yet to be made
	closed  chan struct{}
}

//go:embed default.tar.gz
var defaultBundle []byte

// Default returns an engine that runs the embedded default rules over grants: JSON as [ParseGrants] takes it, `{}` for
// no grants, which denies everything. A site's own rules are not in it: those come with a bundle, for [Open]. The error
// matches ErrGrants when the data is wrong.
func Default(grants []byte) (*Engine, error) {
	b, err := DefaultBundle(grants)
	if err != nil {
		return nil, err
	}
	return Open(context.Background(), b, Options{})
}

// DefaultBundle is what [Default] opens, for a caller that sets [Options] of its own.
func DefaultBundle(grants []byte) (*Bundle, error) {
	if bytes.HasPrefix(grants, []byte{0x1f, 0x8b}) {
		return nil, fmt.Errorf("%w: this is a bundle; ReadBundle and Open run it", ErrGrants)
	}
	if _, err := ParseGrants(grants); err != nil {
		return nil, err
	}
	b, err := ReadBundle(defaultBundle)
	if err != nil {
		return nil, err
	}
	b.Data = grants
	return b, nil
}

// Open makes an engine from a bundle that the caller vouches for: one that is embedded, was just built, or whose
// signature was verified. It validates, rewrites and compiles the policy, instantiates it once, parses the data and
// asks it for a decision that must be a denial. The error matches ErrBundle, ErrLimit, ErrEvaluation or ErrSmoke.
// ctx bounds the opening only.
func Open(ctx context.Context, b *Bundle, opts Options) (*Engine, error) {
	a, err := activate(ctx, b, opts)
	if err != nil {
		return nil, err
	}
	e := new(Engine)
	e.active.Store(a)
	return e, nil
}

// features are what OPA's runtime is compiled to. Everything else, bulk memory with its unmetered lengths first, stays
// invalid.
const features = api.CoreFeatureMutableGlobal

func activate(ctx context.Context, b *Bundle, opts Options) (*activation, error) {
	limits, err := opts.Limits.resolve()
	if err != nil {
		return nil, err
	}
	if len(b.Wasm) > limits.ModuleBytes {
		return nil, fmt.Errorf("%w: policy.wasm has %d bytes, at most %d are allowed", ErrLimit, len(b.Wasm), limits.ModuleBytes)
	}
	wasm, plain, err := rewrite(b.Wasm, limits)
	if err != nil {
		return nil, fmt.Errorf("%w: policy.wasm: %w", ErrBundle, err)
	}
	if err := validate(ctx, plain); err != nil {
		return nil, err
	}
	a := &activation{
		data: dataOrNone(b.Data), limits: limits, slots: make(chan *instance, limits.Instances), closed: make(chan struct{}),
		info: Info{Engine: "compiler", Revision: b.Manifest.Revision, Digest: digest(b)},
	}
	for range limits.Instances {
		a.slots <- nil
	}
	config := wazero.NewRuntimeConfigInterpreter()
	if opts.Interpreter || !canCompile() {
		a.info.Engine = "interpreter"
	} else {
		config = wazero.NewRuntimeConfigCompiler()
	}
	a.runtime = wazero.NewRuntimeWithConfig(ctx, config.WithCoreFeatures(features).WithMemoryLimitPages(limits.maxPages()))
	if err := a.start(ctx, wasm); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// dataOrNone gives a bundle without data an empty object.
func dataOrNone(data []byte) []byte {
	if data == nil {
		return []byte("{}")
	}
	return data
}

// validate lets wazero judge the module as it came: only there are indices one past the guest's own an error, which
// in the rewritten one address what was appended.
func validate(ctx context.Context, module []byte) error {
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
	defer rt.Close(ctx) //nolint:errcheck // nothing was instantiated
	if _, err := rt.CompileModule(ctx, module); err != nil {
		return fmt.Errorf("%w: policy.wasm: %.300q", ErrBundle, err.Error())
	}
	return nil
}

func digest(b *Bundle) string {
	h := sha256.New()
	h.Write(strconv.AppendInt(nil, int64(len(b.Wasm)), 10)) // keeps the two apart
	h.Write(b.Wasm)
	h.Write(b.Data)
	return hex.EncodeToString(h.Sum(nil))
}

// start compiles the rewritten module, makes the first instance and tries it.
func (a *activation) start(ctx context.Context, wasm []byte) error {
	if err := instantiateHost(ctx, a.runtime); err != nil {
		return err
	}
	var err error
	if err = ctx.Err(); err != nil {
		return err
	}
	if a.code, err = a.runtime.CompileModule(ctx, wasm); err != nil {
		return fmt.Errorf("%w: policy.wasm after metering: %.300q", ErrBundle, err.Error())
	}
	d, err := a.decide(ctx, smokeRequest())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSmoke, err)
	}
	may, err := a.mayAsk(ctx, smokeRequest())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSmoke, err)
	}
	if d.Allowed() || may {
		return fmt.Errorf("%w: it lets a service without a name read a file without a name", ErrSmoke)
	}
	return nil
}

// smokeRequest is a request that every sane policy refuses.
func smokeRequest() *Request {
	return &Request{
		Action:   LoadSecret,
		Subject:  Subject{UID: -1, GID: -1},
		Resource: Resource{Source: SourceFile, Facts: FactsObserved},
		Context:  Context{Phase: PhaseRuntime, Memory: MemoryHeap},
	}
}

// Decide judges a request on all its facts. The Decision denies whenever the error is not nil. The error matches
// ErrRequest, ErrEvaluation, ErrLimit, ErrClosed or the context's. Limits.Deadline bounds the evaluation, ctx also the
// wait for a free instance.
func (e *Engine) Decide(ctx context.Context, r *Request) (Decision, error) {
	a := e.active.Load()
	if a == nil {
		return Decision{}, ErrClosed
	}
	return a.decide(ctx, r)
}

// MayAsk tells from subject, action and the syntactic reference alone whether a request for it makes sense, before
// anything is looked at. Errors are those of Decide, and then the answer is no.
func (e *Engine) MayAsk(ctx context.Context, r *Request) (bool, error) {
	a := e.active.Load()
	if a == nil {
		return false, ErrClosed
	}
	return a.mayAsk(ctx, r)
}

// Info describes the policy in force; it is zero when the engine is closed.
func (e *Engine) Info() Info {
	if a := e.active.Load(); a != nil {
		return a.info
	}
	return Info{}
}

// Close waits for decisions that are under way and frees the guests. Decisions after it fail with ErrClosed. Closing
// twice is allowed.
func (e *Engine) Close() {
	if a := e.active.Swap(nil); a != nil {
		a.close()
	}
}

func (a *activation) decide(ctx context.Context, r *Request) (Decision, error) {
	var d Decision
	err := a.evaluate(ctx, EntrypointDecision, r, appendDecisionInput, func(raw []byte) (err error) {
		d, err = parseDecision(raw)
		return err
	})
	return d, err
}

func (a *activation) mayAsk(ctx context.Context, r *Request) (bool, error) {
	var may bool
	err := a.evaluate(ctx, EntrypointMayAsk, r, appendAskInput, func(raw []byte) (err error) {
		may, err = parseBool(raw)
		return err
	})
	return may, err
}

// evaluate borrows an instance for one evaluation and gives it back only when everything went well.
func (a *activation) evaluate(ctx context.Context, entrypoint string, r *Request,
	encode func([]byte, *Request) ([]byte, error), read func([]byte) error,
) error {
	if err := r.validate(); err != nil {
		return err
	}
	inst, err := a.acquire(ctx)
	if err != nil {
		return err
	}
	inst.input, err = encode(inst.input[:0], r)
	if err == nil && len(inst.input) > a.limits.InputBytes {
		err = fmt.Errorf("%w: %w: the request has %d bytes, at most %d are allowed", ErrRequest, ErrLimit, len(inst.input), a.limits.InputBytes)
	}
	if err != nil {
		a.slots <- inst // the guest has not run
		return err
	}
	raw, err := inst.evaluate(ctx, entrypoint)
	if err == nil {
		if err = read(raw); err != nil {
			err = fmt.Errorf("%w: %s: %w", ErrEvaluation, entrypoint, err)
		}
	}
	if err != nil {
		inst.close()
		inst = nil
	}
	a.slots <- inst
	return err
}

// acquire waits for a place and makes its instance if it has none.
func (a *activation) acquire(ctx context.Context) (*instance, error) {
	var inst *instance
	select {
	case <-a.closed:
		return nil, ErrClosed
	default:
	}
	select {
	case inst = <-a.slots:
	case <-a.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if inst != nil {
		return inst, nil
	}
	inst, err := newInstance(ctx, a.runtime, a.code, a.data, a.limits)
	if err != nil {
		a.slots <- nil
	}
	return inst, err
}

func (a *activation) close() {
	close(a.closed)
	for range a.limits.Instances {
		if inst := <-a.slots; inst != nil {
			inst.close()
		}
	}
	_ = a.runtime.Close(context.Background()) // frees code; guests hold nothing that could fail to close
}
