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

	// MemoBytes bounds the memory for verdicts that are remembered: a request that was judged before gets the same verdict
	// without another evaluation, since a verdict depends on request and policy alone. Default 1 MiB, at most 64 MiB.
	// Every activation has a memory of its own, and errors are never remembered.
	MemoBytes int

	NoMemo bool // evaluate every request, however often it comes

	// Fresh gives every evaluation an instance of its own. Rego cannot keep anything from one decision to the next, but
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
	memo       *memo  // by request; nil remembers nothing
	read       *memo  // by the guest's answer: parsed before
	noGrant    *said  // why a reference may not be asked for
}

// question is what an engine is asked, which is an entrypoint of its policy.
type question byte

const (
	judgeFacts question = iota + 1
	askReference
)

func (q question) entrypoint() string {
	if q == judgeFacts {
		return EntrypointDecision
	}
	return EntrypointMayAsk
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
	memo, err := opts.memo()
	if err != nil {
		return nil, err
	}
	program, err := sandbox.Open(ctx, b.Wasm, b.data(), sandbox.Config{
		Limits: limits, Interpreter: opts.Interpreter, Fresh: opts.Fresh, Parts: inputParts(), Builtins: builtins.All(),
		Proven:      b.proven(),
		Entrypoints: []string{EntrypointDecision, EntrypointMayAsk},
	})
	if err != nil {
		return nil, moduleError(err)
	}
	info := Info{Engine: program.Engine(), Revision: b.Manifest.Revision, Digest: digest(b), Signed: b.Statement()}
	a := &activation{
		program: program, info: info, proof: b.proof, inputBytes: limits.InputBytes, memo: memo, read: newMemo(readBytes),
		noGrant: &said{reasons: []Reason{{Code: "no_grant", Severity: SeverityError}}},
	}
	if err := errors.Join(a.smoke(ctx), a.runSmoke(ctx, b)); err != nil {
		program.Close()
		return nil, err
	}
	return a, nil
}

// memo is what the options say about remembering; nil is nothing.
func (o Options) memo() (*memo, error) {
	switch {
	case o.MemoBytes < 0 || o.MemoBytes > maxMemoBytes:
		return nil, fmt.Errorf("policy: Options.MemoBytes is %d, allowed are 1 to %d", o.MemoBytes, maxMemoBytes)
	case o.NoMemo:
		return nil, nil //nolint:nilnil // remembers nothing
	case o.MemoBytes == 0:
		return newMemo(defaultMemoBytes), nil
	}
	return newMemo(o.MemoBytes), nil
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
	for _, q := range []question{judgeFacts, askReference} {
		d, _, err := a.evaluate(ctx, q, smokeRequest())
		switch {
		case err != nil:
			return fmt.Errorf("%w: %w", ErrSmoke, err)
		case d.Allowed():
			return fmt.Errorf("%w: it lets a service without a name read a file without a name", ErrSmoke)
		}
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
// Limits.Deadline bounds the evaluation, ctx also the wait for a free instance. Nothing may change the request meanwhile.
func (e *Engine) Decide(ctx context.Context, r *Request) (Decision, error) {
	return e.put(ctx, judgeFacts, r)
}

// Ask tells from subject, action and the syntactic reference alone whether a request for it makes sense, before anything
// is looked at. The Decision allows, or has the one reason no_grant. Everything else is as with Decide.
func (e *Engine) Ask(ctx context.Context, r *Request) (Decision, error) {
	return e.put(ctx, askReference, r)
}

// MayAsk is Ask, for a caller that needs no more than the answer. Whenever the error is not nil, it is no.
func (e *Engine) MayAsk(ctx context.Context, r *Request) (bool, error) {
	d, err := e.Ask(ctx, r)
	return d.Allowed(), err
}

// put asks the policy in force. When another one takes its place before the question was put, that one is asked.
func (e *Engine) put(ctx context.Context, q question, r *Request) (Decision, error) {
	for {
		a := e.active.Load()
		if a == nil {
			return Decision{}, ErrClosed
		}
		// Here, so that what is remembered expires too, and nobody who left gets an answer.
		if err := a.info.Signed.checkExpired(); err != nil {
			return Decision{by: &a.info}, err
		}
		if err := ctx.Err(); err != nil {
			return Decision{by: &a.info}, err
		}
		d, err := a.answer(ctx, q, r)
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

// answer remembers what was asked before.
func (a *activation) answer(ctx context.Context, q question, r *Request) (Decision, error) {
	if a.memo == nil {
		d, _, err := a.evaluate(ctx, q, r)
		return d, err
	}
	var room [keyBytes]byte
	key := appendKey(room[:0], q, r)
	if d, ok := a.memo.get(key); ok {
		return d, nil
	}
	d, _, err := a.evaluate(ctx, q, r)
	if err == nil {
		a.memo.put(key, d)
	}
	return d, err
}

// evaluate has an instance answer, and gives it back only when everything went well. It also returns the fuel that it took.
func (a *activation) evaluate(ctx context.Context, q question, r *Request) (Decision, int64, error) {
	if err := r.validate(); err != nil {
		return Decision{}, 0, err
	}
	inst, err := a.program.Acquire(ctx)
	if errors.Is(err, sandbox.ErrClosed) {
		return Decision{}, 0, ErrClosed
	}
	if err != nil {
		return Decision{}, 0, err
	}
	if err := a.encode(inst, q, r); err != nil {
		a.program.Release(inst, true) // the guest has not run
		return Decision{}, 0, err
	}
	var d Decision
	raw, err := inst.Evaluate(ctx, q.entrypoint())
	if err == nil {
		if d, err = a.parse(q, raw); err != nil {
			err = fmt.Errorf("%w: %s: %w", ErrEvaluation, q.entrypoint(), err)
		}
	}
	fuel := inst.Used()
	a.program.Release(inst, err == nil)
	return d, fuel, err
}

// encode writes the request where the guest will be asked about it.
func (a *activation) encode(inst *sandbox.Instance, q question, r *Request) (err error) {
	if inst.Input, err = appendInput(inst.Input[:0], inst.Parts, q, r); err != nil {
		return err
	}
	if n := inst.InputBytes(); n > a.inputBytes {
		return fmt.Errorf("%w: %w: the request has %d bytes, at most %d are allowed", ErrRequest, ErrLimit, n, a.inputBytes)
	}
	return nil
}

// parse reads the answer to a question. Decisions are few and come again, so each is parsed once: which also means that
// reading one allocates nothing.
func (a *activation) parse(q question, raw []byte) (Decision, error) {
	if q == askReference {
		may, err := parseBool(raw)
		if err != nil || may {
			return Decision{allow: may}, err
		}
		return Decision{said: a.noGrant}, nil
	}
	if d, ok := a.read.get(raw); ok {
		return d, nil
	}
	d, err := parseDecision(raw)
	if err == nil {
		a.read.put(raw, d)
	}
	return d, err
}
