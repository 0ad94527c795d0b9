package check

import (
	"context"
	"errors"
	"testing"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

func ofPod(container string) descriptor.Load {
	group := int64(5)
	return descriptor.Load{
		Service: "s", Container: container, Source: policy.SourceFile, Path: "/m/" + container, Origin: "n/s/k", UID: 7, GID: &group,
		Runtime: &descriptor.Runtime{
			Resolved: "/m/v/" + container, Above: []string{"/m/v", "/m", "/"}, Links: []string{"/m/l"},
			File: policy.File{Type: "regular", Mode: 0o440, Size: 1},
		},
		Position: descriptor.Position{File: "pod.yaml", Line: 2, Column: 3},
	}
}

// The host that the check runs on is not asked about the files of a pod.
// Evidence for CHK-1106.
func TestCHK1106TheFileIsForetold(t *testing.T) {
	p, h := &rules{may: []policy.Action{policy.LoadKey}}, &tree{files: file("/m/a")}
	r := run(p, h, ofPod("a"))
	if len(h.seen) != 0 || len(p.asked) != 1 || r.Loads[0].Facts != policy.FactsPredicted || r.Loads[0].Verdict != Denied {
		t.Fatalf("%+v, host asked for %v", r.Loads, h.seen)
	}
	q := p.asked[0]
	if q.Resource.Resolved != "/m/v/a" || len(q.Resource.Above) != 3 || q.Resource.Links[0] != "/m/l" || q.Resource.File.Mode != 0o440 ||
		q.Subject.Container != "a" || q.Subject.GID != 5 || q.Subject.UID != 7 || q.Subject.Attested.UID != "descriptor" || q.Resource.Origin != "n/s/k" {
		t.Errorf("asked %+v", q)
	}
}

// Evidence for CHK-1106.
func TestCHK1106EveryContainerIsJudged(t *testing.T) {
	p := &rules{may: []policy.Action{policy.LoadSecret}, reasons: []policy.Reason{{Code: "site", Message: "m", Severity: policy.SeverityError}}}
	l := ofPod("a")
	l.Doubt = &descriptor.Doubt{Rule: descriptor.RulePlatform, Identity: true} // undecided without a question
	l.Also = []descriptor.Load{ofPod("b"), l}
	r := run(p, nil, l)
	if len(r.Loads) != 1 || r.Loads[0].Verdict != Denied || len(p.asked) != 1 || len(r.Loads[0].Reasons) != 2 || r.Summary.Loads != 1 {
		t.Errorf("%+v", r)
	}
}

// Evidence for CHK-1108.
func TestCHK1108AFindingIsVoidWithAGrant(t *testing.T) {
	l := ofPod("a")
	l.Runtime = nil
	in := Input{Descriptors: 1, Findings: []descriptor.Finding{
		{Rule: descriptor.RuleToken, Severity: policy.SeverityWarning, Unless: &l}, {Rule: "other", Severity: policy.SeverityWarning},
	}}
	for name, c := range map[string]struct {
		p        Decider
		findings int
		failed   bool
	}{
		"granted":     {&rules{may: []policy.Action{policy.LoadKey}}, 1, false},
		"not granted": {&rules{}, 2, false},
		"no answer":   {&failing{}, 2, true},
	} {
		r := Run(context.Background(), Config{Policy: c.p}, in)
		if len(r.Findings) != c.findings || r.Summary.Warnings != c.findings || r.EngineFailed != c.failed {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

type failing struct{ rules }

func (failing) MayAsk(context.Context, *policy.Request) (bool, error) {
	return true, errors.New("no engine")
}
