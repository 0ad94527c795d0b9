package loader

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/llorch/secrets-management/internal/facts"
	"github.com/llorch/secrets-management/kdf"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

// attempt is one load of one reference, from the question to the outcome.
type attempt struct {
	l        *Loader
	id       string
	asked    Ref // as given, for errors
	ref      Ref // canonical
	req      policy.Request
	decision policy.Decision
	by       policy.Info   // the bundle that answered last
	target   *facts.Target // the file that is judged and read; nil for the environment

	minLength int // what the service demands besides the grant
}

func (l *Loader) attempt(action policy.Action, purpose string, ref Ref) *attempt {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails since Go 1.24
	return &attempt{l: l, id: hex.EncodeToString(id[:]), asked: ref, ref: ref, req: policy.Request{
		Subject: l.subject(), Action: action,
		Resource: policy.Resource{Source: ref.source, Purpose: purpose, Facts: policy.FactsObserved},
		Context: policy.Context{
			Phase: policy.PhaseRuntime, Host: l.host, Environment: l.config.Environment,
			Memory: policy.Memory(secret.ProtectionLevel()),
		},
	}}
}

func (a *attempt) close() {
	if a.target != nil {
		_ = a.target.Close()
	}
}

// decide takes steps 1 to 5: it returns nil only when the policy allowed the load and that has been recorded.
func (a *attempt) decide(ctx context.Context) error {
	steps := []struct {
		stage Stage
		take  func(context.Context) error
	}{{StageReference, a.validate}, {StageAsk, a.ask}, {StageLook, a.look}, {StageDecide, a.judge}}
	for _, step := range steps {
		var err error
		if step.stage != StageReference { // the record should say what was asked for
			err = ctx.Err()
		}
		if err == nil {
			err = step.take(ctx)
		}
		if err != nil {
			return a.record(ctx, a.fail(step.stage, err))
		}
	}
	return a.record(ctx, nil)
}

// validate checks the reference and puts it into the request.
func (a *attempt) validate(context.Context) error {
	ref, err := a.asked.validate()
	if err == nil {
		err = validPurpose(a.req.Action, a.req.Resource.Purpose)
	}
	if err != nil {
		a.req.Resource.Name = text(a.asked.shown()) // for the record only
		a.req.Resource.Purpose = text(a.req.Resource.Purpose)
		return a.fail(StageReference, err)
	}
	a.ref = ref
	if ref.source == policy.SourceFile {
		a.req.Resource.Path = ref.value
	} else {
		a.req.Resource.Name = ref.value
	}
	return nil
}

// validPurpose checks that a derivation has a purpose, and nothing else has one.
func validPurpose(action policy.Action, purpose string) error {
	if (action == policy.DeriveKey) != (purpose != "") || !utf8.ValidString(purpose) {
		return fmt.Errorf("%w: a key is derived for a purpose, in UTF-8, and nothing else has one", kdf.ErrDerivation)
	}
	return nil
}

// text is a string that a record can hold.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// ask is the gate before any look at the world outside. Every refusal is the same.
func (a *attempt) ask(ctx context.Context) error {
	d, err := a.l.config.Policy.Ask(ctx, &a.req)
	a.by = d.Info()
	if err != nil {
		return a.fail(StageAsk, fmt.Errorf("%w: %w", ErrPolicyUnavailable, err))
	}
	if !d.Allowed() {
		return a.refuse(StageAsk, []string{a.whyNot(ctx)})
	}
	return nil
}

// whyNot asks the policy about a reference that may not be asked for, as one of which nothing is known: nothing was looked
// at. Who the process is can be why, and it should be told; anything else is no_grant.
func (a *attempt) whyNot(ctx context.Context) string {
	if d, err := a.l.config.Policy.Decide(ctx, &a.req); err == nil && !d.Allowed() {
		if codes := slices.Compact(d.Codes()); len(codes) == 1 && codes[0] == notProven {
			a.decision, a.by = d, d.Info()
			return notProven
		}
	}
	a.decision = policy.Denial([]policy.Reason{{Code: noGrant, Severity: policy.SeverityError}})
	return noGrant
}

const (
	noGrant   = "no_grant"
	notProven = "identity_not_proven"
)

// look finds the file and takes its facts, or the variable.
func (a *attempt) look(context.Context) error {
	var err error
	switch a.ref.source {
	case policy.SourceFile:
		err = a.walk(a.ref.value)
	case policy.SourceCredential:
		err = a.credential()
	case policy.SourceEnv:
		err = a.environment()
	}
	if err != nil {
		return a.fail(StageLook, err)
	}
	return nil
}

// walk takes the facts about a file and says in this package's words why it cannot.
func (a *attempt) walk(name string) error {
	t, err := facts.Walk(name, a.req.Subject.UID)
	switch {
	case errors.Is(err, facts.ErrDangling):
		return fmt.Errorf("%w: a symbolic link that leads to nothing", ErrPath) // somebody put something there
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: no such file or directory", ErrNotFound)
	case errors.Is(err, facts.ErrLoop), errors.Is(err, facts.ErrNotDir), errors.Is(err, facts.ErrPath):
		return fmt.Errorf("%w: %w", ErrPath, errors.Unwrap(err))
	case errors.Is(err, facts.ErrDeleted):
		return fmt.Errorf("%w: the file was deleted; where it is a bind mount, such as a Kubernetes subPath, "+
			"the old file stays until the container starts anew", ErrChanged)
	case errors.Is(err, facts.ErrChanged):
		return ErrChanged
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("uid %d may not look there: %w", a.req.Subject.UID, errors.Unwrap(err))
	case err != nil:
		return errors.Unwrap(err) // the system's error; the reference has the path
	}
	a.target = t
	r := &a.req.Resource
	r.Resolved, r.Above, r.Links, r.File = t.Resolved, t.Above, t.Links, t.File
	if r.Path == "" {
		r.Path = name
	}
	return nil
}

// judge asks the policy with all facts.
func (a *attempt) judge(ctx context.Context) error {
	d, err := a.l.config.Policy.Decide(ctx, &a.req)
	a.by = d.Info()
	if err != nil {
		return a.fail(StageDecide, fmt.Errorf("%w: %w", ErrPolicyUnavailable, err)) // undecided is denied
	}
	a.decision = d
	if !d.Allowed() {
		codes := d.Codes()
		if len(codes) == 0 {
			codes = []string{"denied"}
		}
		return a.refuse(StageDecide, codes)
	}
	return nil
}

// record writes the verdict to the audit log. It returns the error of the verdict, or the log's, which denies as well.
func (a *attempt) record(ctx context.Context, verdict error) error {
	e := a.entry(verdict)
	e.Bundles, e.Input, e.Result = bundles(a.by), &a.req, &a.decision
	if err := a.write(ctx, e, verdict); err != nil {
		return err
	}
	return verdict
}

// bundles names the bundle that answered, in the shape of a decision log; it is nil when none did.
func bundles(by policy.Info) Bundles {
	if by.Digest == "" {
		return nil
	}
	b := Bundle{Revision: by.Revision, Digest: by.Digest}
	if by.Signed != (policy.Statement{}) {
		b.Signed = &by.Signed
	}
	return Bundles{"policy": b}
}

// outcome records how an allowed load ended, under the id of its verdict. It returns the log's error only.
func (a *attempt) outcome(ctx context.Context, good string, err error) error {
	e := a.entry(err)
	e.Outcome = good
	if err != nil {
		e.Outcome = "failed"
	}
	return a.write(ctx, e, err)
}

func (a *attempt) entry(err error) *Entry {
	e := &Entry{DecisionID: a.id, Timestamp: time.Now().UTC(), Path: policy.EntrypointDecision}
	var at *Error
	if errors.As(err, &at) {
		e.Error = at.Error()
		if at.Stage == StageAsk {
			e.Path = policy.EntrypointMayAsk
		}
	}
	return e
}

// auditGrace is how long a sink may take for the entry of a load that was cancelled.
const auditGrace = 5 * time.Second

func (a *attempt) write(ctx context.Context, e *Entry, cause error) error {
	if ctx.Err() != nil { // that it was cancelled is recorded like any other end
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), auditGrace)
		defer cancel()
	}
	if err := a.l.config.Audit.Record(ctx, e); err != nil {
		return &Error{Stage: StageAudit, Service: a.req.Subject.Service, Ref: a.asked, Err: fmt.Errorf("%w: %w", ErrAudit, errors.Join(err, cause))}
	}
	return nil
}

func (a *attempt) refuse(stage Stage, codes []string) *Error {
	mode := a.req.Resource.File.Mode
	// What a link out of the grant leads to is none of this service's business, its mode included.
	if outside := "outside_grant"; slices.Contains(codes, outside) {
		codes, mode = []string{outside}, 0
	}
	kind := append(kindsOf(codes), ErrDenied)[0]
	req := a.req // the error outlives the attempt
	e := &Error{Stage: stage, Service: a.req.Subject.Service, Ref: a.asked, Err: kind, Reasons: codes, Mode: mode, request: &req}
	if slices.Contains(codes, notProven) {
		e.unproven = a.l.unproven()
	}
	return e
}

// fail wraps the cause of a failure that no policy decided.
func (a *attempt) fail(stage Stage, err error) error {
	var already *Error
	if errors.As(err, &already) {
		return err
	}
	return &Error{Stage: stage, Service: a.req.Subject.Service, Ref: a.asked, Err: err}
}
