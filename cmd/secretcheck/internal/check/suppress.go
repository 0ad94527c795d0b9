package check

import (
	"slices"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// How a finding can be accepted.
const (
	ByWaiver   = "waiver"   // somebody answers for it, for a time
	ByBaseline = "baseline" // it was there before
)

// Suppression is why a finding no longer counts.
type Suppression struct {
	Kind    string `json:"kind"`
	Owner   string `json:"owner"`   // of a waiver
	Reason  string `json:"reason"`  // of a waiver
	Expires string `json:"expires"` // of a waiver, its last day
}

// Final reports whether findings of a rule always count: what could not be judged can be accepted by nobody.
func Final(rule string) bool {
	return slices.Contains([]string{descriptor.RuleUnreadable, descriptor.RuleUnparsable, RuleEngine}, rule)
}

// Suppress lets findings no longer count that accepted gives a reason for. A load counts as long as one of its reasons
// does. Nothing is taken out of the result: what was accepted shows.
func (r *Result) Suppress(accepted func(Finding) *Suppression) {
	settled := map[string]bool{}
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Suppressed != nil || Final(f.Rule) {
			continue
		}
		if f.Suppressed = accepted(*f); f.Suppressed == nil {
			continue
		}
		r.Summary.Suppressed++
		if f.Severity == policy.SeverityWarning {
			r.Summary.Warnings--
		}
		settled[f.Fingerprint], settled[told(f.Rule, f.Service)] = true, true
	}
	for i := range r.Loads {
		l := &r.Loads[i]
		l.Suppressed = l.Suppressed || l.accepted(settled)
	}
}

// accepted reports whether all that keeps a load from being allowed is accepted.
func (l *Load) accepted(settled map[string]bool) bool {
	if l.Verdict == Allowed || len(l.Reasons) == 0 {
		return false
	}
	some := false
	for _, r := range l.Reasons {
		if r.Severity == policy.SeverityNote {
			continue
		}
		key := r.Fingerprint
		if r.told {
			key = told(r.Code, l.Service)
		}
		if !settled[key] {
			return false
		}
		some = true
	}
	return some
}

// told is the key of a reason that is a finding about its service, and not about the load.
func told(rule, service string) string { return rule + "\x00" + service }

// Open counts the loads of a verdict that count.
func (r *Result) Open(v Verdict) (n int) {
	for i := range r.Loads {
		if r.Loads[i].Verdict == v && !r.Loads[i].Suppressed {
			n++
		}
	}
	return n
}

// Worst reports whether a finding that counts is of the severity, or a worse one.
func (r *Result) Worst(least policy.Severity) bool {
	order := []policy.Severity{policy.SeverityNote, policy.SeverityWarning, policy.SeverityError}
	return slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Suppressed == nil && slices.Index(order, f.Severity) >= slices.Index(order, least)
	})
}

// Add puts a finding about something besides descriptors into the result.
func (r *Result) Add(f descriptor.Finding) {
	c := checker{result: *r}
	c.report(f)
	c.order()
	*r = c.result
}
