package check

import (
	"context"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// foretold fills in the file that a platform will make. The host that the check runs on has nothing to do with it.
func foretold(l descriptor.Load, r *policy.Resource, j *judgement) {
	r.Facts, r.Resolved, r.Above, r.Links = policy.FactsPredicted, l.Runtime.Resolved, l.Runtime.Above, l.Runtime.Links
	r.File = l.Runtime.File
	j.barred = l.Runtime.Barred
}

// judgeAll judges a load as each container sees it. One that would be refused makes it a refused load.
func (c *checker) judgeAll(ctx context.Context, l descriptor.Load) judgement {
	j := c.judge(ctx, l)
	for _, other := range l.Also {
		o := c.judge(ctx, other)
		if o.verdict == Denied || o.verdict == Undecided && j.verdict == Allowed {
			j.verdict = o.verdict
		}
		for _, r := range o.reasons {
			j.add(r)
		}
	}
	return j
}

// granted reports whether a finding is void because the policy lets the service ask for what it is about.
func (c *checker) granted(ctx context.Context, f descriptor.Finding) bool {
	if f.Unless == nil {
		return false
	}
	req := request(*f.Unless, policy.LoadSecret, c.cfg.Environment)
	may, err := c.choose(ctx, *f.Unless, req)
	if err != nil {
		c.result.EngineFailed = true
	}
	return may && err == nil
}
