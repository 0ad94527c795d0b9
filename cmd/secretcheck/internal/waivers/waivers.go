// Package waivers reads what a team has decided to live with for a time, and the baseline of a check that came later than
// what it checks:
//
//	waivers:
//	  - fingerprint: 9f3c…            # of one finding; or a rule and the path of a descriptor:
//	    rule: inline_credential
//	    path: deploy/legacy.service
//	    owner: payments@example.com
//	    reason: the vendor's image reads nothing else; ticket SEC-123
//	    expires: 2027-03-31
package waivers

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/rules"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/strictyaml"
	"github.com/llorch/secrets-management/policy"
)

// ErrBaseline says that the file is no report of this program.
var ErrBaseline = errors.New("not a report of secretcheck check --format json")

// List is the content of a waivers file. The zero value waives nothing.
type List struct {
	file    string
	waivers []waiver
}

type waiver struct {
	fingerprint, rule, path string
	owner, reason           string
	expires                 time.Time // the beginning of its last day
	at                      *yaml.Node
	used                    bool
}

const day = "2006-01-02"

// Parse reads a waivers file. The error is a *[strictyaml.Fault].
func Parse(file string, data []byte) (*List, error) {
	root, err := strictyaml.Document(data)
	if err != nil {
		return nil, err
	}
	top, err := strictyaml.Mapping(root, "waivers")
	if err != nil {
		return nil, err
	}
	nodes, err := strictyaml.List(root, top, "waivers")
	if err != nil {
		return nil, err
	}
	l := &List{file: file}
	for _, n := range nodes {
		w, err := one(n)
		if err != nil {
			return nil, err
		}
		l.waivers = append(l.waivers, w)
	}
	return l, nil
}

var hexadecimal = regexp.MustCompile(`^[0-9a-f]+$`) // repetition that is counted takes long to compile

func isFingerprint(s string) bool { return len(s) == 64 && hexadecimal.MatchString(s) }

func one(n *yaml.Node) (w waiver, err error) {
	m, err := strictyaml.Mapping(n, "fingerprint", "rule", "path", "owner", "reason", "expires")
	if err != nil {
		return w, err
	}
	w.at = n
	for _, f := range []struct {
		key string
		to  *string
	}{{"owner", &w.owner}, {"reason", &w.reason}} {
		if *f.to, err = strictyaml.Text(n, m, f.key); err != nil {
			return w, err
		}
	}
	if w.expires, err = lastDay(n, m); err != nil {
		return w, err
	}
	if m["fingerprint"] != nil {
		if m["rule"] != nil || m["path"] != nil {
			return w, strictyaml.At(n, "a waiver has a fingerprint, or a rule and a path")
		}
		w.fingerprint, err = strictyaml.Text(n, m, "fingerprint")
		if err == nil && !isFingerprint(w.fingerprint) {
			err = strictyaml.At(m["fingerprint"], "fingerprint is not 64 hexadecimal digits")
		}
		return w, err
	}
	if w.rule, err = strictyaml.Text(n, m, "rule"); err != nil {
		return w, err
	}
	if len(w.rule) > 64 || !ruleID.MatchString(w.rule) {
		return w, strictyaml.At(m["rule"], "rule is not the id of one")
	}
	if rule := w.rule; check.Final(rule) {
		return w, strictyaml.At(m["rule"], "what could not be judged cannot be waived: %s", rule)
	}
	w.path, err = strictyaml.Text(n, m, "path")
	return w, err
}

// ruleID is how a rule is called, one of a site's own among them.
var ruleID = regexp.MustCompile(`^[a-z0-9_]+$`)

// lastDay reads expires, a day in UTC: YAML reads one without quotes as a time.
func lastDay(n *yaml.Node, m map[string]*yaml.Node) (time.Time, error) {
	v := m["expires"]
	if v == nil {
		return time.Time{}, strictyaml.At(n, `key "expires" is missing: no waiver is for ever`)
	}
	t, err := time.Parse(day, v.Value)
	if err != nil || v.Kind != yaml.ScalarNode {
		return time.Time{}, strictyaml.At(v, "expires is not a day such as 2027-03-31")
	}
	return t, nil
}

func (w *waiver) covers(f check.Finding) bool {
	if w.fingerprint != "" {
		return w.fingerprint == f.Fingerprint
	}
	return w.rule == f.Rule && w.path == f.File
}

func (w *waiver) expired(now time.Time) bool { return !now.Before(w.expires.AddDate(0, 0, 1)) }

// Apply lets the findings that are waived no longer count. A waiver that has expired, and one that nothing needs any
// more, are findings of their own.
func (l *List) Apply(r *check.Result, now time.Time) {
	r.Suppress(func(f check.Finding) (s *check.Suppression) {
		for i := range l.waivers {
			w := &l.waivers[i]
			if !w.covers(f) {
				continue
			}
			w.used = true
			if s == nil && !w.expired(now) {
				s = &check.Suppression{Kind: check.ByWaiver, Owner: w.owner, Reason: w.reason, Expires: w.expires.Format(day)}
			}
		}
		return s
	})
	for i := range l.waivers {
		w := &l.waivers[i]
		switch {
		case w.used && w.expired(now):
			l.tell(r, w, check.RuleWaiverExpired, policy.SeverityWarning, "the waiver has expired on "+w.expires.Format(day)+": what it was for counts again",
				"mend it, or let its owner answer for it once more")
		case !w.used:
			l.tell(r, w, check.RuleWaiverUnused, policy.SeverityNote, "the waiver is for nothing that was found", unusedFix(w.rule))
		}
	}
}

// unusedFix asks about a rule that may be misspelt. It can also be of a policy's own: those are not known here.
func unusedFix(waived string) string {
	if _, known, meant := rules.Find(waived); waived != "" && !known && meant != "" {
		return "remove it, or correct the rule: did you mean " + meant + "?"
	}
	return "remove it"
}

func (l *List) tell(r *check.Result, w *waiver, rule string, severity policy.Severity, message, fix string) {
	r.Add(descriptor.Finding{
		Rule: rule, Severity: severity, Message: message, Fix: fix, Name: w.fingerprint + w.rule, Path: w.path,
		Position: descriptor.Position{File: l.file, Line: w.at.Line, Column: w.at.Column},
	})
}

// Baseline lets the findings of an earlier report no longer count. The error matches ErrBaseline.
func Baseline(r *check.Result, report []byte) error {
	var before struct {
		SchemaVersion int `json:"schema_version"`
		Loads         *[]struct{}
		Findings      *[]struct {
			Fingerprint string `json:"fingerprint"`
		} `json:"findings"`
	}
	if err := json.Unmarshal(report, &before); err != nil {
		return fmt.Errorf("%w: it is no JSON", ErrBaseline)
	}
	if before.SchemaVersion != 1 || before.Findings == nil || before.Loads == nil {
		return fmt.Errorf("%w, of schema_version 1", ErrBaseline)
	}
	known := map[string]bool{}
	for _, f := range *before.Findings {
		if !isFingerprint(f.Fingerprint) {
			return fmt.Errorf("%w: a finding without a fingerprint", ErrBaseline)
		}
		known[f.Fingerprint] = true
	}
	r.Suppress(func(f check.Finding) *check.Suppression {
		if known[f.Fingerprint] {
			return &check.Suppression{Kind: check.ByBaseline}
		}
		return nil
	})
	return nil
}
