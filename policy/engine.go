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
	"time"

	"github.com/llorch/secrets-management/policy/internal/sandbox"
)

// Errors of an [Engine], for errors.Is. Each comes with a denying Decision; ErrRequest and ErrBundle are declared with
// what they are about.
var (
	ErrEvaluation = sandbox.ErrEvaluation                     // the guest trapped, aborted or gave no well-formed decision
	ErrLimit      = sandbox.ErrLimit                          // deadline, fuel, memory, stack, input or result
	ErrClosed     = errors.New("policy engine is closed")     // or was never opened
	ErrSmoke      = errors.New("policy fails its smoke test") // the bundle cannot decide, or grants everything
)

// Limits bound what a policy may use. A zero field takes the default; a value outside the stated range is an error from
// [Open]. There is no way to switch a limit off.
type Limits struct {
	Deadline      time.Duration // of one decision. Default 100 ms, at most 10 s
	Fuel          int64         // of one decision, about one unit an instruction. Default 50 million, at most 10 billion
	GrowthBytes   int64         // memory growth during one decision. Default 16 MiB, at most 256 MiB
	StackBytes    int64         // call stack, counted by worst-case frames. Default 16 MiB, at most 256 MiB
	InputBytes    int           // encoded request. Default 256 KiB, at most 4 MiB
	ResultBytes   int           // encoded decision. Default 256 KiB, at most 4 MiB
	DataBytes     int64         // memory of an instance with its data, before any decision. Default 64 MiB, at most 1 GiB
	ModuleBytes   int           // the bundle's policy.wasm. Default 4 MiB, at most 16 MiB
	Instances     int           // decisions at the same time; others wait. Default GOMAXPROCS, at most 1024
	LoadingBudget time.Duration // to instantiate and to parse the data. Default 5 s, at most 60 s
}

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

// activation is one bundle in force.
type activation struct {
	program    *sandbox.Program
	info       Info
	inputBytes int // the limit
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

func activate(ctx context.Context, b *Bundle, opts Options) (*activation, error) {
	limits, err := sandbox.Limits(opts.Limits).Resolve()
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	program, err := sandbox.Open(ctx, b.Wasm, b.data(), sandbox.Config{
		Limits: limits, Interpreter: opts.Interpreter, Entrypoints: []string{EntrypointDecision, EntrypointMayAsk},
	})
	switch {
	case errors.Is(err, sandbox.ErrModule):
		return nil, fmt.Errorf("%w: %s: %w", ErrBundle, wasmFile, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", wasmFile, err)
	}
	info := Info{Engine: program.Engine(), Revision: b.Manifest.Revision, Digest: digest(b)}
	a := &activation{program, info, limits.InputBytes}
	if err := a.smoke(ctx); err != nil {
		program.Close()
		return nil, err
	}
	return a, nil
}

func digest(b *Bundle) string {
	h := sha256.New()
	h.Write(strconv.AppendInt(nil, int64(len(b.Wasm)), 10)) // keeps the two apart
	h.Write(b.Wasm)
	h.Write(b.Data)
	return hex.EncodeToString(h.Sum(nil))
}

// smoke asks a new policy what every sane one refuses.
func (a *activation) smoke(ctx context.Context) error {
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
		a.program.Close()
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
	inst, err := a.program.Acquire(ctx)
	if errors.Is(err, sandbox.ErrClosed) {
		return ErrClosed
	}
	if err != nil {
		return err
	}
	inst.Input, err = encode(inst.Input[:0], r)
	if n := len(inst.Input); err == nil && n > a.inputBytes {
		err = fmt.Errorf("%w: %w: the request has %d bytes, at most %d are allowed", ErrRequest, ErrLimit, n, a.inputBytes)
	}
	if err != nil {
		a.program.Release(inst, true) // the guest has not run
		return err
	}
	raw, err := inst.Evaluate(ctx, entrypoint)
	if err == nil {
		if err = read(raw); err != nil {
			err = fmt.Errorf("%w: %s: %w", ErrEvaluation, entrypoint, err)
		}
	}
	a.program.Release(inst, err == nil)
	return err
}
