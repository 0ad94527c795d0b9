package check

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// judge works out one verdict. The order is that of a real load: may the service ask at all, then the facts, then the
// decision. A doubt about the descriptor can keep an allow from being one, never a denial.
func (c *checker) judge(ctx context.Context, l descriptor.Load) judgement {
	j := judgement{verdict: Undecided, action: l.Action, origin: l.Origin, facts: policy.FactsUnchecked}
	if j.action == "" {
		j.action = policy.LoadSecret
	}
	if l.Doubt != nil && l.Doubt.Identity {
		return j.because(doubt(l.Doubt))
	}
	c.lookUpUser(&l, &j)
	req := request(l, j.action, c.cfg.Environment)
	asks, err := c.choose(ctx, l, req)
	if err != nil {
		return c.failed(j, err)
	}
	j.action = req.Action
	if !asks {
		return c.refused(ctx, l, req, j)
	}
	if l.Doubt != nil {
		if l.Source == policy.SourceCredential {
			c.predict(l, &req.Resource)
		}
		c.onNameAlone(ctx, req, &j)
		j.add(doubt(l.Doubt))
		return j
	}
	if l.Fault != nil {
		c.predict(l, &req.Resource)
		c.onNameAlone(ctx, req, &j)
		j.fault(l.Fault)
		return j
	}
	real, settled := c.addFacts(ctx, l, req, &j)
	if settled {
		return j
	}
	judged := c.decide(ctx, req, &j)
	if judged && real != "" && real != req.Resource.Origin {
		// Symlinks lead elsewhere: a grant has to cover both, as it has for a file that the service opens itself.
		req.Resource.Origin = real
		c.decide(ctx, req, &j)
	}
	c.qualify(l, req, &j)
	return j
}

func (j judgement) because(r Reason) judgement {
	j.reasons = append(j.reasons, r)
	return j
}

func doubt(d *descriptor.Doubt) Reason {
	return Reason{Code: d.Rule, Message: d.Message, Severity: policy.SeverityWarning, Fix: d.Fix}
}

// fault denies what the service will not get, whatever the policy says.
func (j *judgement) fault(d *descriptor.Doubt) {
	j.verdict, j.looked = Denied, true
	j.add(Reason{Code: d.Rule, Message: bounded(d.Message), Severity: policy.SeverityError, Fix: d.Fix})
}

func (c *checker) failed(j judgement, err error) judgement {
	c.result.EngineFailed = true
	j.verdict = Undecided
	return j.because(Reason{
		Code: RuleEngine, Message: bounded("the policy engine failed: " + err.Error()), Severity: policy.SeverityError,
		Fix: "at run time this load would be refused; correct the policy",
	})
}

// choose settles the action where the descriptor leaves it open: the first that the grants let the service ask for.
// Deriving a key needs a purpose, which no descriptor can leave open. With no such action the load is judged as the
// plain one, so that the refusal says what is missing.
func (c *checker) choose(ctx context.Context, l descriptor.Load, req *policy.Request) (bool, error) {
	for _, a := range actions(l) {
		req.Action = a
		may, err := c.cfg.Policy.MayAsk(ctx, req)
		if may || err != nil {
			return may, err
		}
	}
	return false, nil
}

func actions(l descriptor.Load) []policy.Action {
	if l.Action == "" {
		return []policy.Action{policy.LoadSecret, policy.LoadKey}
	}
	return []policy.Action{l.Action}
}

// refused gives the denial of what may not be asked for, with the policy's own words: of several actions, about the first
// for which only the identity of the service is missing. What the descriptor does not tell of that is no denial, but leaves
// the load open.
func (c *checker) refused(ctx context.Context, l descriptor.Load, req *policy.Request, j judgement) judgement {
	var first judgement
	for i, a := range actions(l) {
		try := j
		try.action, req.Action, try.reasons = a, a, slices.Clip(j.reasons)
		c.decide(ctx, req, &try)
		if try.verdict == Denied && slices.ContainsFunc(try.reasons, isUnknown) && !slices.ContainsFunc(try.reasons, isDenial) {
			try.verdict = Undecided
			for n := range try.reasons {
				try.reasons[n].Severity = policy.SeverityWarning
			}
			return try
		}
		if i == 0 || slices.ContainsFunc(try.reasons, func(r Reason) bool { return r.Code == "identity_not_proven" }) {
			first = try
		}
	}
	return first
}

// isUnknown reports whether a reason says that the descriptor does not tell who the service is.
func isUnknown(r Reason) bool { return r.Code == "identity_unknown" }

// isDenial reports whether a reason denies whatever else a descriptor could tell.
func isDenial(r Reason) bool { return r.Severity == policy.SeverityError && !isUnknown(r) }

// decide asks the policy and takes its answer over. A second answer can only add denials. It reports false when there
// was no answer.
func (c *checker) decide(ctx context.Context, req *policy.Request, j *judgement) bool {
	d, err := c.cfg.Policy.Decide(ctx, req)
	if errors.Is(err, policy.ErrRequest) { // not a fault of the policy: a name that cannot be put to any
		j.verdict = Denied
		j.add(Reason{
			Code: "invalid_request", Message: "a name or path is not valid UTF-8, or too long", Severity: policy.SeverityError,
			Fix: "rename the file",
		})
		return false
	}
	if err != nil {
		*j = c.failed(*j, err)
		return false
	}
	j.facts = req.Resource.Facts
	j.asked(req, d)
	switch {
	case !d.Allowed():
		j.verdict = Denied
	case j.verdict == Undecided:
		j.verdict = Allowed
	}
	if j.grants == nil {
		j.grants = d.Grants()
	}
	j.minLength = max(j.minLength, d.Obligations().MinLength)
	for _, r := range d.Reasons() {
		j.add(Reason{Code: r.Code, Message: bounded(r.Message), Severity: r.Severity, Fix: bounded(r.Fix)})
	}
	return true
}

// asked keeps the request that was refused, or else the last one.
func (j *judgement) asked(req *policy.Request, d policy.Decision) {
	if j.inputDenied {
		return
	}
	kept := *req
	j.input, j.inputDenied, j.obligations = &kept, !d.Allowed(), d.Obligations()
}

// add appends a reason unless the same was said before: two questions about one file have most answers in common.
func (j *judgement) add(r Reason) {
	for _, old := range j.reasons {
		if old.Code == r.Code && old.Message == r.Message {
			return
		}
	}
	j.reasons = append(j.reasons, r)
}

// breaks adds what keeps the load from succeeding, whatever the policy says of it.
func (j *judgement) breaks(l descriptor.Load) {
	for _, b := range l.Breaks {
		j.add(Reason{Code: b.Rule, Message: b.Message, Severity: policy.SeverityError, Fix: b.Fix, told: true})
	}
	if len(l.Breaks) > 0 && (l.Doubt == nil || !l.Doubt.Identity) {
		j.verdict = Denied
	}
}

// qualify adds what the policy cannot know: whether the load that it allows will come to its end.
func (c *checker) qualify(l descriptor.Load, req *policy.Request, j *judgement) {
	if l.Source == policy.SourceCredential && j.origin == descriptor.OriginInline && !l.Encrypted && !l.Default {
		j.add(Reason{
			Code: RuleInline, Severity: policy.SeverityWarning,
			Message: "the value stands in the unit, which every user of the host can read",
			Fix:     "move it into a file of mode 0600 and use LoadCredential=",
		})
	}
	if j.barred != "" && j.verdict == Allowed {
		j.verdict = Denied
		reason := barred(l.UID, j.barred, req.Resource.Resolved)
		if l.Bind {
			reason.Fix = "give the file on the host to that uid: the container sees it as it is there"
		}
		if l.Runtime != nil {
			reason.Fix = "set fsGroup, which lets that group read the file, and let the security team add \"group_read\" to relax of the grant"
			if l.Runtime.Fix != "" {
				reason.Fix = l.Runtime.Fix
			}
		}
		j.add(reason)
	}
	if size, least, known := sizes(l, req, *j); known && size < least && j.verdict == Allowed {
		j.verdict = Denied
		j.add(Reason{
			Code: RuleTooShort, Severity: policy.SeverityError,
			Message: fmt.Sprintf("the file has %d bytes, the load needs at least %d", size, least),
			Fix:     "store the whole secret; a key is 64 hexadecimal digits",
		})
	}
	if c.cfg.RequireFacts && j.facts == policy.FactsUnchecked && l.Source != policy.SourceEnv && j.verdict == Allowed {
		j.verdict = Undecided
		j.add(Reason{
			Code: RuleUnchecked, Severity: policy.SeverityWarning,
			Message: "the file behind this load was not looked at",
			Fix:     "check with --root, and name an absolute path as the source",
		})
	}
}

// keyDigits is the length of a key file: 32 bytes in hexadecimal.
const keyDigits = 64

// sizes compares what is there with what the loader will ask for: an empty secret is never loaded, a key is 64 digits,
// and a grant can demand more.
func sizes(l descriptor.Load, req *policy.Request, j judgement) (size, least int64, known bool) {
	f := req.Resource.OriginFile
	if l.Source == policy.SourceFile {
		f = req.Resource.File
	}
	least = max(j.minLength, 1)
	if req.Action == policy.LoadKey {
		least = max(least, keyDigits)
	}
	return f.Size, least, f.Type == "regular" && !l.Encrypted && l.Runtime == nil
}
