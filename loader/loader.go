package loader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/llorch/secrets-management/internal/identity"
	"github.com/llorch/secrets-management/kdf"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

// Policy is what a Loader asks; a [policy.Engine] is one. A Decision says which bundle made it, also beside an error.
type Policy interface {
	Ask(ctx context.Context, r *policy.Request) (policy.Decision, error)
	Decide(ctx context.Context, r *policy.Request) (policy.Decision, error)
}

// Config says who the service is and whom to ask. It is read once, by [New].
type Config struct {
	Service     string       // the identity that grants name; required
	Container   string       // where the service runs in one
	Environment string       // "production", "staging"; for policies that tell them apart
	Policy      Policy       // required
	Audit       AuditSink    // required: silence needs an explicit choice, such as NewAuditWriter(io.Discard)
	Logger      *slog.Logger // nil is slog.Default

	// MinLength refuses secrets, and tokens that a key is derived from, that are shorter, in bytes and without the white
	// space around them. A grant can demand more. 0 is no condition, and 1 MiB the most.
	MinLength int

	// RequireLocked makes it an error, secret.ErrNotLocked, when memory cannot be locked, whatever grants demand. Otherwise
	// a warning says so once.
	RequireLocked bool
}

// Loader loads secrets for one service. It is safe for concurrent use and keeps nothing open.
type Loader struct {
	config  Config
	log     *slog.Logger
	host    string
	process identity.Process // who this is, as New found it

	degraded sync.Once // one warning about memory for each Loader
}

// New checks the configuration. On systems other than Linux it logs a warning, since files are looked up by name there.
func New(c Config) (*Loader, error) {
	switch {
	case c.Policy == nil:
		return nil, errors.New("loader: Config.Policy is nil; policy.Default gives one")
	case c.Audit == nil:
		return nil, errors.New("loader: Config.Audit is nil; OpenAuditFile gives one")
	case !validService(c.Service):
		return nil, fmt.Errorf("loader: Config.Service %q is not 1 to 255 bytes of printable ASCII", c.Service)
	case !utf8.ValidString(c.Container) || !utf8.ValidString(c.Environment):
		return nil, errors.New("loader: Config.Container and Config.Environment must be UTF-8")
	case c.MinLength < 0 || c.MinLength > maxSecretBytes:
		return nil, fmt.Errorf("loader: Config.MinLength is %d, which is not between 0 and %d", c.MinLength, maxSecretBytes)
	}
	l := &Loader{config: c, log: c.Logger, process: identity.Read()}
	if l.log == nil {
		l.log = slog.Default()
	}
	if name, err := os.Hostname(); err == nil {
		l.host = text(name)
	}
	l.log.Debug("identity", "service", c.Service, "unit", l.process.Unit, "exe", l.process.Exe, "not_proven", l.process.Doubts)
	if runtime.GOOS != "linux" {
		l.log.Warn("files are looked up by name on this system: permissions are checked less strictly", "system", runtime.GOOS)
	}
	return l, nil
}

// errNotMade is the error of a Loader that New did not make.
var errNotMade = fmt.Errorf("%w: the Loader was not made by New", ErrPolicyUnavailable)

func (l *Loader) made() error {
	if l.config.Policy == nil {
		return errNotMade
	}
	return nil
}

func validService(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// LoadSecret loads a token or password: white space around it is trimmed, and it must not be empty or, in a file,
// larger than 1 MiB. Several references are tried in order, and the next one only when the one before is truly absent:
// any other failure ends the load, lest a fault downgrade it. The error is an *[Error], or lists one for each reference
// when all are absent. When ctx ends, no further step is taken, and the error matches that of ctx. The caller closes the
// Secret.
func (l *Loader) LoadSecret(ctx context.Context, refs ...Ref) (*secret.Secret, error) {
	return l.loadSecret(ctx, l.config.MinLength, refs)
}

func (l *Loader) loadSecret(ctx context.Context, minLength int, refs []Ref) (*secret.Secret, error) {
	var loaded *secret.Secret
	err := l.first(ctx, refs, job{action: policy.LoadSecret, minLength: minLength, use: func(s *secret.Secret) error {
		loaded = s
		return nil
	}})
	return orClose(loaded, err)
}

// LoadKey loads a key: 64 hexadecimal digits, surrounded by white space at most, in a file of at most 1 KiB. Otherwise
// it is as LoadSecret. The caller closes the Key.
func (l *Loader) LoadKey(ctx context.Context, refs ...Ref) (*secret.Key, error) {
	var loaded *secret.Key
	err := l.first(ctx, refs, job{action: policy.LoadKey, use: func(s *secret.Secret) (err error) {
		defer s.Close() //nolint:errcheck // the content is judged by its format
		if loaded, err = secret.DecodeHexKey(s); err != nil {
			return fmt.Errorf("%w: expected 64 hexadecimal digits", ErrInvalidFormat)
		}
		return nil
	}})
	return orClose(loaded, err)
}

// DeriveKey loads a token only to derive a key from it with [kdf.Derive]: purpose is the label, which the grant must
// list. The token itself is not returned and is erased at once. Otherwise it is as LoadSecret.
func (l *Loader) DeriveKey(ctx context.Context, purpose string, refs ...Ref) (*secret.Key, error) {
	return l.deriveKey(ctx, purpose, l.config.MinLength, refs)
}

func (l *Loader) deriveKey(ctx context.Context, purpose string, minLength int, refs []Ref) (*secret.Key, error) {
	var derived *secret.Key
	err := l.first(ctx, refs, job{action: policy.DeriveKey, purpose: purpose, minLength: minLength, use: func(s *secret.Secret) (err error) {
		defer s.Close() //nolint:errcheck // only derived from
		derived, err = kdf.Derive(s, purpose)
		return err
	}})
	return orClose(derived, err)
}

// orClose makes sure that nothing is returned beside an error: a load can still fail after its secret was made, when
// the outcome cannot be recorded.
func orClose[T any, P interface {
	*T
	Close() error
}](v P, err error) (P, error) {
	if err != nil && v != nil {
		_ = v.Close()
		v = nil
	}
	return v, err
}

// Preflight takes every step of a load but the reading: the error is what the load would fail with before it, nil when
// the policy allows it. The Decision carries the policy's own words, for tools. It is recorded as a preflight.
func (l *Loader) Preflight(ctx context.Context, action policy.Action, purpose string, ref Ref) (policy.Decision, error) {
	if err := l.made(); err != nil {
		return policy.Decision{}, err
	}
	a := l.attempt(action, purpose, ref)
	defer a.close()
	if err := a.decide(ctx); err != nil {
		return a.decision, err
	}
	return a.decision, a.outcome(ctx, "preflight", nil)
}

// job is what is to be loaded, whichever reference has it.
type job struct {
	action    policy.Action
	purpose   string
	minLength int
	use       func(*secret.Secret) error
}

// first loads from the first reference that is not absent.
func (l *Loader) first(ctx context.Context, refs []Ref, j job) error {
	if err := l.made(); err != nil {
		return err
	}
	if len(refs) == 0 {
		refs = []Ref{{}} // refused, and recorded, as what it is
	}
	var absent absentError
	for _, ref := range refs {
		err := l.load(ctx, ref, j)
		if err == nil || !isAbsent(err) {
			return err
		}
		absent = append(absent, err)
	}
	if len(absent) == 1 {
		return absent[0]
	}
	return absent
}

// IsAbsent reports whether an error of this package says that nothing is there, at none of the references, and says
// nothing else: what lets a service go on to another source. A refusal, a fault and an error of the audit log are no
// absence, nor is one of several errors that are not all of them absences.
func IsAbsent(err error) bool {
	switch e := err.(type) { //nolint:errorlint // it looks through by itself, at all and not at any
	case *Error:
		return isAbsent(e)
	case interface{ Unwrap() []error }:
		all := e.Unwrap()
		return len(all) > 0 && !slices.ContainsFunc(all, func(err error) bool { return !IsAbsent(err) })
	case interface{ Unwrap() error }:
		return IsAbsent(e.Unwrap())
	}
	return false
}

// isAbsent reports whether a look found that nothing is there. An error that only carries such a one, as when that could
// not be recorded, is another matter.
func isAbsent(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Stage == StageLook && (errors.Is(e.Err, ErrNotFound) || errors.Is(e.Err, ErrCredentialNotFound))
}

// load is the whole protocol: decide, record, read, record.
func (l *Loader) load(ctx context.Context, ref Ref, j job) error {
	a := l.attempt(j.action, j.purpose, ref)
	a.minLength = j.minLength
	defer a.close()
	if err := a.decide(ctx); err != nil {
		return l.notLoaded(ctx, err)
	}
	s, err := a.read(ctx)
	if err == nil {
		l.warnOfMemory(s)
		err = j.use(s)
	}
	if err != nil {
		err = a.fail(StageRead, err)
	}
	if aerr := a.outcome(ctx, "loaded", err); aerr != nil {
		return aerr
	}
	if err != nil {
		return l.notLoaded(ctx, err)
	}
	l.log.InfoContext(ctx, "secret loaded", "ref", a.ref, "service", l.config.Service, "action", j.action)
	return nil
}

// warnOfMemory says once why secrets are less protected than they could be.
func (l *Loader) warnOfMemory(s *secret.Secret) {
	if why := s.Degradation(); why != nil {
		l.degraded.Do(func() {
			l.log.Warn("secrets are not in memory of the best level", "level", string(s.Level()), "reason", why, "service", l.config.Service)
		})
	}
}

// notLoaded logs a failure, quietly when a fallback may have what is absent here.
func (l *Loader) notLoaded(ctx context.Context, err error) error {
	level := slog.LevelWarn
	if isAbsent(err) {
		level = slog.LevelInfo
	}
	l.log.Log(ctx, level, "secret not loaded", "service", l.config.Service, "error", err)
	return err
}
