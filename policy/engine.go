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
	"sync"
	"sync/atomic"
	"time"

	"github.com/llorch/secrets-management/policy/internal/builtins"
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
	LoadingBudget time.Duration // to instantiate and to parse the data, also for a decision after one that failed. Default 5 s, at most 60 s
}

// Options of [Open]. The zero value is right for services.
type Options struct {
	Limits Limits

	// Interpreter runs the policy without compiling it to machine code: it starts three times faster and decides 40
	// times slower, which suits a command that makes a few decisions. It is what happens anyway where the process may
	// not have executable memory, as under systemd's MemoryDenyWriteExecute=.
	Interpreter bool

	// Fresh gives every decision an instance of its own. Rego cannot keep anything from one decision to the next, but
	// Wasm that OPA did not write can: it may answer one request by what it saw in another. Set it for a module that you
	// did not build. A decision then costs what an instance costs: some hundred microseconds, and the parsing of the data.
	Fresh bool
}

// Info describes what an engine runs.
type Info struct {
	Engine   string // "compiler" or "interpreter"
	Revision string // of the bundle's manifest
	Digest   string // SHA-256 of policy.wasm and data.json, hex: what the audit log records as the policy in force

	Signed Statement // what its signer said; zero for a bundle that no [Verifier] has seen
	Since  time.Time // when it came into force
}

// Engine decides requests by one policy at a time. It is safe for concurrent use and must not be copied. The zero Engine
// denies everything until [Engine.Activate] gives it a policy.
type Engine struct {
	active atomic.Pointer[activation]
	opts   Options

	mu       sync.Mutex // held while active is replaced
	closed   bool
	retiring sync.WaitGroup // what was replaced and still decides
}

// activation is one bundle in force.
type activation struct {
	program    *sandbox.Program
	info       Info
	proof      *proof // nil for a bundle that nobody signed
	inputBytes int    // the limit
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
// asks it for a decision that must be a denial, and for those of its smoke.json. The revision of a bundle that a
// [Verifier] has seen is recorded. The error matches ErrBundle, ErrLimit, ErrEvaluation, ErrSmoke, or one of
// [Verifier.Verify]. ctx bounds the opening only.
func Open(ctx context.Context, b *Bundle, opts Options) (*Engine, error) {
	e := &Engine{opts: opts}
	if err := e.Activate(ctx, b); err != nil {
		return nil, err
	}
	return e, nil
}

// open makes an activation that nothing uses yet.
func open(ctx context.Context, b *Bundle, opts Options) (*activation, error) {
	limits, err := sandbox.Limits(opts.Limits).Resolve()
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	program, err := sandbox.Open(ctx, b.Wasm, b.data(), sandbox.Config{
		Limits: limits, Interpreter: opts.Interpreter, Fresh: opts.Fresh, Entrypoints: []string{EntrypointDecision, EntrypointMayAsk},
		Builtins: builtins.All(),
	})
	switch {
	case errors.Is(err, sandbox.ErrModule):
		return nil, fmt.Errorf("%w: %s: %w", ErrBundle, wasmFile, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", wasmFile, err)
	}
	info := Info{Engine: program.Engine(), Revision: b.Manifest.Revision, Digest: digest(b), Signed: b.Statement()}
	a := &activation{program, info, b.proof, limits.InputBytes}
	if err := errors.Join(a.smoke(ctx), a.runSmoke(ctx, b)); err != nil {
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

// Decide judges a request on all its facts. The Decision denies whenever the error is not nil, and says by which bundle
// it was made. The error matches ErrRequest, ErrEvaluation, ErrLimit, ErrExpired, ErrClosed or the context's.
// Limits.Deadline bounds the evaluation, ctx also the wait for a free instance.
func (e *Engine) Decide(ctx context.Context, r *Request) (Decision, error) {
	return e.put(ctx, r, (*activation).decide)
}

// Ask tells from subject, action and the syntactic reference alone whether a request for it makes sense, before anything
// is looked at. The Decision allows, or has the one reason no_grant. Everything else is as with Decide.
func (e *Engine) Ask(ctx context.Context, r *Request) (Decision, error) {
	return e.put(ctx, r, func(a *activation, ctx context.Context, r *Request) (Decision, error) {
		may, err := a.mayAsk(ctx, r)
		d := Decision{allow: may && err == nil}
		if err == nil && !may {
			d.Reasons = []Reason{{Code: "no_grant", Severity: SeverityError}}
		}
		return d, err
	})
}

// MayAsk is Ask, for a caller that needs no more than the answer. Whenever the error is not nil, it is no.
func (e *Engine) MayAsk(ctx context.Context, r *Request) (bool, error) {
	d, err := e.Ask(ctx, r)
	return d.Allowed(), err
}

// put asks the policy in force. When another one takes its place before the question was put, that one is asked.
func (e *Engine) put(ctx context.Context, r *Request,
	ask func(*activation, context.Context, *Request) (Decision, error),
) (Decision, error) {
	for {
		a := e.active.Load()
		if a == nil {
			return Decision{}, ErrClosed
		}
		if err := a.info.Signed.checkExpired(); err != nil { // here, so that what is remembered expires too
			return Decision{by: &a.info}, err
		}
		d, err := ask(a, ctx, r)
		if errors.Is(err, ErrClosed) {
			continue // it is closed only after it was replaced
		}
		d.by = &a.info
		return d, err
	}
}

// Info describes the policy in force; it is zero when the engine is closed.
func (e *Engine) Info() Info {
	if a := e.active.Load(); a != nil {
		return a.info
	}
	return Info{}
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
