package loader

import (
	"context"
	"errors"
	"fmt"

	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

// Health reports whether a load could be decided and recorded now, for a readiness probe: the policy answers, the audit
// sink could take an entry, and memory can be locked where that is required. The error lists all that is wrong, and
// matches [ErrPolicyUnavailable], [ErrAudit] and [secret.ErrNotLocked] accordingly. No secret is read, no file of one
// looked at, and nothing recorded; whether a secret is there and in order, [Loader.Preflight] tells.
//
// A sink is asked if it has a method Check(context.Context) error; [AuditFile] and the sinks of this package that can tell
// have one.
func (l *Loader) Health(ctx context.Context) error {
	if err := l.made(); err != nil {
		return err
	}
	var errs []error
	if err := l.policyAnswers(ctx); err != nil {
		errs = append(errs, fmt.Errorf("%w: %w", ErrPolicyUnavailable, err))
	}
	if err := checkSink(ctx, l.config.Audit); err != nil {
		errs = append(errs, fmt.Errorf("%w: %w", ErrAudit, err))
	}
	if l.config.RequireLocked && secret.ProtectionLevel() == secret.LevelHeap {
		errs = append(errs, secret.Degradation())
	}
	return errors.Join(errs...)
}

// policyAnswers asks both questions about a path that no grant can name. Any answer will do.
func (l *Loader) policyAnswers(ctx context.Context) error {
	a := l.attempt(policy.LoadSecret, "", File("/"))
	a.req.Resource.Path = "/"
	_, err := l.config.Policy.Ask(ctx, &a.req)
	if err == nil {
		_, err = l.config.Policy.Decide(ctx, &a.req)
	}
	return err
}
