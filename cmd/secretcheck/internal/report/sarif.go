package report

import (
	"io"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/rules"
	"github.com/llorch/secrets-management/policy"
)

// SARIF 2.1.0 as code scanning services read it: as much of it as there is something to say.
// (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html)
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver sarifDriver `json:"driver"`
	} `json:"tool"`
	ColumnKind  string            `json:"columnKind"`
	Invocations []sarifInvocation `json:"invocations"`
	Results     []sarifResult     `json:"results"`
}

type sarifInvocation struct {
	ExecutionSuccessful bool `json:"executionSuccessful"`
}

type sarifDriver struct {
	Name    string      `json:"name"`
	Version string      `json:"version,omitempty"`
	Rules   []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID               string     `json:"id"`
	ShortDescription sarifText  `json:"shortDescription"`
	FullDescription  *sarifText `json:"fullDescription,omitempty"`
	Help             *sarifText `json:"help,omitempty"`
}

type sarifText struct {
	Text     string `json:"text"`
	Markdown string `json:"markdown,omitempty"`
}

type sarifResult struct {
	RuleID       string             `json:"ruleId"`
	RuleIndex    int                `json:"ruleIndex"`
	Level        string             `json:"level"`
	Message      sarifText          `json:"message"`
	Locations    []sarifLocation    `json:"locations"`
	Fingerprints map[string]string  `json:"partialFingerprints"`
	Suppressions []sarifSuppression `json:"suppressions"`
}

type sarifSuppression struct {
	Kind          string `json:"kind"`
	Justification string `json:"justification"`
}

type sarifLocation struct {
	Physical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region sarifRegion `json:"region"`
	} `json:"physicalLocation"`
}

type sarifRegion struct {
	StartLine   int `json:"startLine"`
	StartColumn int `json:"startColumn"`
	EndLine     int `json:"endLine"`
	EndColumn   int `json:"endColumn"`
}

// SARIF writes the findings for a code scanning service.
func SARIF(w io.Writer, r check.Result) error {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Invocations: []sarifInvocation{{!r.EngineFailed && !r.BadInput}}, Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "secretcheck", Version: r.Version, Rules: sarifRules(r.Findings)}
	for _, f := range r.Findings {
		index := slices.IndexFunc(run.Tool.Driver.Rules, func(rule sarifRule) bool { return rule.ID == f.Rule })
		run.Results = append(run.Results, sarifOf(f, index))
	}
	return Value(w, sarifLog{"https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json", "2.1.0", []sarifRun{run}})
}

// sarifRules describes the rules that something was found by.
func sarifRules(findings []check.Finding) []sarifRule {
	list := []sarifRule{}
	known := map[string]bool{}
	for _, f := range findings {
		if known[f.Rule] {
			continue
		}
		known[f.Rule] = true
		rule := sarifRule{ID: f.Rule, ShortDescription: sarifText{Text: f.Rule}}
		if page, ok, _ := rules.Find(f.Rule); ok {
			rule.ShortDescription.Text = page.Summary
			rule.FullDescription = &sarifText{Text: page.Means}
			rule.Help = &sarifText{
				Text:     page.Means + "\n" + page.Why + "\nFor example:\n" + page.Example + "\nFix: " + page.Fix,
				Markdown: page.Means + "\n\n" + page.Why + "\n\n```\n" + strings.TrimRight(page.Example, "\n") + "\n```\n\n" + page.Fix,
			}
		}
		list = append(list, rule)
	}
	return list
}

func sarifOf(f check.Finding, index int) sarifResult {
	message := f.Message
	if f.Service != "" {
		message = f.Service + ": " + message
	}
	if f.Fix != "" {
		message += ". Fix: " + f.Fix
	}
	out := sarifResult{
		RuleID: f.Rule, RuleIndex: index, Level: sarifLevel(f.Severity), Message: sarifText{Text: Text(message)},
		Fingerprints: map[string]string{"secretcheck/v1": f.Fingerprint}, Suppressions: []sarifSuppression{},
	}
	if s := f.Suppressed; s != nil {
		out.Suppressions = append(out.Suppressions, sarifSuppression{"external", acceptance(s)})
	}
	var at sarifLocation
	at.Physical.Artifact.URI = uri(f.File)
	at.Physical.Region = sarifRegion{max(f.Line, 1), max(f.Column, 1), max(f.EndLine, f.Line, 1), max(f.EndColumn, 1)}
	out.Locations = []sarifLocation{at}
	return out
}

func sarifLevel(s policy.Severity) string {
	if s == policy.SeverityError || s == policy.SeverityWarning {
		return string(s)
	}
	return "note"
}

// acceptance says in a line why a finding does not count.
func acceptance(s *check.Suppression) string {
	if s.Kind == check.ByBaseline {
		return "in the baseline"
	}
	return Text("waived until " + s.Expires + " by " + s.Owner + ": " + s.Reason)
}

// uri is a file's name as a relative or absolute URI reference: everything but what every one may contain is escaped.
func uri(file string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/@"
	var b strings.Builder
	for i := range len(file) {
		if strings.IndexByte(plain, file[i]) >= 0 {
			b.WriteByte(file[i])
		} else {
			b.WriteString("%" + strings.ToUpper(string("0123456789abcdef"[file[i]>>4])+string("0123456789abcdef"[file[i]&15])))
		}
	}
	return b.String()
}
