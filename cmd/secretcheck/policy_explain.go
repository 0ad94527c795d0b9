package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/change"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/explain"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/recorded"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/rego"
)

type explainFlags struct {
	policy string
	report string
	trace  bool
	output outputs
}

func newPolicyExplain() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain INPUT | explain --report FILE FINGERPRINT",
		Short: "tell why a load is allowed or denied, and what would change that",
		Example: `  secretcheck policy explain input.json --policy policy/
  secretcheck policy explain --report report.json 9c0f3a --policy policy/`,
		Long: `Judge one request, an input, an entry of a decision log, or the load behind a finding
in a JSON report of check, and tell the reasons, the rules with their places, the
facts that decided, and the smallest change that would turn the verdict around: to
the facts, or to the grants. Each change was tried, and the policy asked again. OPA's
own evaluator has to come to the same decision as the policy that services run.

exit codes, of several the first: 5 policy error, or the two disagree, 4 bad input or
usage, 1 denied, 0 allowed`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPolicyExplain(cmd, args, &f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.policy, "policy", "", "judge by the policy in `DIR|FILE`: rules and grants, or a bundle")
	flags.StringVar(&f.report, "report", "", "take the load from the JSON report `FILE` of check")
	flags.BoolVar(&f.trace, "trace", false, "show every step of the evaluation as well")
	f.output.register(flags, formatNames)
	return cmd
}

func runPolicyExplain(cmd *cobra.Command, args []string, f *explainFlags) error {
	switch {
	case len(args) != 1:
		return usage("secretcheck policy explain --help", "policy explain takes one input, or --report and one fingerprint")
	case f.policy == "":
		return noPolicy()
	}
	if err := f.output.valid(); err != nil {
		return err
	}
	q, err := f.question(cmd.InOrStdin(), args[0])
	if err != nil {
		return err
	}
	if err := f.output.spare(slices.Concat(q.files, policyFiles(f.policy))); err != nil {
		return err
	}
	p, err := openNamed(cmd.Context(), f.policy, false)
	if err != nil {
		return err
	}
	defer p.engine.Close()
	e, err := f.explain(cmd.Context(), p, q)
	if err != nil {
		return err
	}
	if err := f.output.writeWith(cmd.OutOrStdout(), e.write); err != nil {
		return err
	}
	if e.Verdict != change.Allowed {
		return &failure{code: exitDenied}
	}
	return nil
}

// question is the request that is asked about, and what check said of it besides.
type question struct {
	request *policy.Request
	checked []explainReason
	files   []os.FileInfo
}

const inputHint = "an input is what an audit log has under \"input\"; policy/rego/schemas/input.json describes it"

func (f *explainFlags) question(stdin io.Reader, arg string) (*question, error) {
	name := arg
	if f.report != "" {
		name = f.report
	}
	data, err := readInput(stdin, name, f.report != "")
	if err != nil {
		return nil, usage(inputHint, "input: %w", short(err))
	}
	q := &question{}
	if info, err := os.Stat(name); err == nil && name != "-" {
		q.files = append(q.files, info)
	}
	if f.report != "" {
		data, err = q.reported(f.report, data, arg)
		if err != nil {
			return nil, err
		}
	} else if entry := (recorded.Entry{}); json.Unmarshal(data, &entry) == nil && len(entry.Input) > 0 {
		data = entry.Input
	}
	if q.request, err = recorded.Request(data); err != nil {
		return nil, usage(inputHint, "%s: %w", name, err)
	}
	return q, nil
}

// readInput reads a file, or what is piped in. A report may be as large as a check makes it.
func readInput(stdin io.Reader, name string, isReport bool) ([]byte, error) {
	most := int64(recorded.MaxLine)
	if isReport {
		most = maxBundle
	}
	if name != "-" {
		return readBounded(name, most)
	}
	data, err := io.ReadAll(io.LimitReader(stdin, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("stdin: larger than %d bytes", most)
	}
	return data, err
}

// reported finds the load of a finding, by its fingerprint or the beginning of it.
func (q *question) reported(file string, data []byte, fingerprint string) (json.RawMessage, error) {
	const hint = "take it from the finding, or the reason of a load, in that report; its beginning will do"
	var r struct {
		SchemaVersion int `json:"schema_version"`
		Loads         []struct {
			Reasons []struct{ Code, Message, Severity, Fix, Fingerprint string }
			Input   json.RawMessage
		}
		Findings []struct{ Rule, Fingerprint string }
	}
	if err := json.Unmarshal(data, &r); err != nil || r.SchemaVersion != 1 {
		return nil, usage("--report takes what check --format json has written", "%s is not a report of check", file)
	}
	if len(fingerprint) < 6 {
		return nil, usage(hint, "the fingerprint %q has less than 6 digits", fingerprint)
	}
	found, input := "", json.RawMessage(nil)
	for _, l := range r.Loads {
		for _, reason := range l.Reasons {
			if !strings.HasPrefix(reason.Fingerprint, fingerprint) {
				continue
			}
			if found != "" && found != reason.Fingerprint {
				return nil, usage(hint, "%q is the beginning of several fingerprints", fingerprint)
			}
			if found == "" {
				found, input = reason.Fingerprint, l.Input
				for _, x := range l.Reasons {
					q.checked = append(q.checked, explainReason{x.Code, x.Message, x.Severity, x.Fix})
				}
			}
		}
	}
	switch {
	case found == "":
		for _, about := range r.Findings {
			if strings.HasPrefix(about.Fingerprint, fingerprint) {
				return nil, usage("secretcheck rules "+about.Rule, "%q is a finding in a descriptor, %s: the policy was not asked about it", fingerprint, about.Rule)
			}
		}
		return nil, usage(hint, "no load in %s has a reason with the fingerprint %q", file, fingerprint)
	case len(input) == 0:
		why := q.checked[0]
		return nil, usage(why.Fix, "the policy was not asked about this load: %s: %s", why.Code, why.Message)
	}
	return input, nil
}

// explained is the JSON form, an interface.
type explained struct {
	SchemaVersion int               `json:"schema_version"`
	Policy        report.PolicyName `json:"policy"`
	Verdict       string            `json:"verdict"`
	Service       string            `json:"service"`
	Action        policy.Action     `json:"action"`
	Secret        string            `json:"secret"`
	Reasons       []explainReason   `json:"reasons"`
	Grants        []string          `json:"grants"`
	Checked       []explainReason   `json:"checked"` // what check itself found besides, from the report
	Rules         []explainRule     `json:"rules"`
	Facts         []explainFact     `json:"facts"` // that decided
	Flips         []explain.Flip    `json:"flips"`
	Trace         []string          `json:"trace"`
}

type explainReason struct {
	Code     string `json:"code"`
	Message  string `json:"message"`
	Severity string `json:"severity"`
	Fix      string `json:"fix"`
}

type explainRule struct {
	Name   string `json:"name"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Held   bool   `json:"held"`
}

type explainFact struct {
	Fact  string `json:"fact"`
	Value string `json:"value"`
}

func (f *explainFlags) explain(ctx context.Context, p *ready, q *question) (*explained, error) {
	r := q.request
	asks, err := p.engine.MayAsk(ctx, r)
	if err == nil {
		var d policy.Decision
		if d, err = p.engine.Decide(ctx, r); err == nil {
			return f.decided(ctx, p, q, asks, d)
		}
	}
	if errors.Is(err, policy.ErrRequest) {
		return nil, usage(inputHint, "%w", err)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, unusable(f.policy, fmt.Errorf("it fails on this request, which is a denial: %w", err))
}

func (f *explainFlags) decided(ctx context.Context, p *ready, q *question, asks bool, d policy.Decision) (*explained, error) {
	r := q.request
	steps, err := rego.Explain(ctx, p.bundle, r, f.trace)
	switch {
	case errors.Is(err, rego.ErrNoSources):
		return nil, &failure{exitPolicy, fmt.Errorf("policy: %s: %w", f.policy, err), "name the folder that it was built from"}
	case err != nil:
		return nil, &failure{exitPolicy, fmt.Errorf("policy: %s: %w", f.policy, err), "look at its rules with secretcheck policy check DIR"}
	}
	if err := agree(asks, d, steps); err != nil {
		return nil, &failure{exitPolicy, fmt.Errorf("policy: %s: %w", f.policy, err), "build the bundle again from its sources, and do not use this one"}
	}
	e := &explained{
		SchemaVersion: 1, Policy: p.name, Verdict: change.Denied, Service: r.Subject.Service, Action: r.Action, Secret: secretOf(r),
		Reasons: []explainReason{}, Grants: append([]string{}, d.Grants()...), Checked: []explainReason{}, Rules: []explainRule{},
		Facts: []explainFact{}, Flips: []explain.Flip{}, Trace: append([]string{}, steps.Trace...),
	}
	if asks && d.Allowed() {
		e.Verdict = change.Allowed
	}
	for _, why := range d.Reasons() {
		e.Reasons = append(e.Reasons, explainReason{why.Code, why.Message, string(why.Severity), why.Fix})
	}
	for _, c := range q.checked {
		if !slices.Contains(d.Codes(), c.Code) {
			e.Checked = append(e.Checked, c)
		}
	}
	e.rules(steps, f.policy)
	flips := &explain.Flips{Bundle: p.bundle, Engine: p.engine, Open: func(ctx context.Context, b *policy.Bundle) (*policy.Engine, error) {
		return policy.Open(ctx, b, policy.Options{Interpreter: len(b.Data) <= 8*fewBytes, Limits: patient()})
	}}
	found, err := flips.Find(ctx, r, e.Verdict == change.Allowed, d.Grants())
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unusable(f.policy, err)
	}
	e.Flips = append(e.Flips, found...)
	e.decisive()
	return e, nil
}

// agree compares the answers of the policy that services run with those of its sources.
func agree(asks bool, d policy.Decision, steps *rego.Explanation) error {
	var engine, sources any
	if err := json.Unmarshal(d.AppendJSON(nil), &engine); err != nil {
		return err // not covered: it was written just now
	}
	if steps.Decision == nil || json.Unmarshal(steps.Decision, &sources) != nil || !reflect.DeepEqual(engine, sources) {
		return fmt.Errorf("the compiled policy and its sources disagree: the policy decides %.400s, its sources %.400s", d.AppendJSON(nil), steps.Decision)
	}
	if asks != steps.MayAsk {
		return fmt.Errorf("the compiled policy and its sources disagree: may_ask is %v in the policy, and %v in its sources", asks, steps.MayAsk)
	}
	return nil
}

func secretOf(r *policy.Request) string {
	s := &r.Resource
	text := string(s.Source) + " " + s.Name
	if s.Source == policy.SourceFile {
		text = "file " + s.Path
	}
	if s.Origin != "" {
		text += " from " + s.Origin
	}
	if s.Purpose != "" {
		text += " for " + s.Purpose
	}
	return text
}

// wording is the module of the default rules that only words reasons.
const wording = "default/text.rego"

// rules keeps what a reader asks for: the rules that held and, of a denial, the conditions that did not.
func (e *explained) rules(steps *rego.Explanation, path string) {
	dir := ""
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		dir = filepath.ToSlash(path)
	}
	for _, r := range steps.Rules {
		if r.File == wording || r.Function == r.Held || r.Function && e.Verdict == change.Allowed {
			continue
		}
		file := r.File
		if dir != "" && !strings.HasPrefix(file, "default/") {
			file = filepath.ToSlash(filepath.Join(dir, file))
		}
		e.Rules = append(e.Rules, explainRule{r.Name, file, r.Line, r.Column, r.Held})
	}
}

// decisive lists the facts of the changes, each with its value.
func (e *explained) decisive() {
	for _, f := range e.Flips {
		for _, c := range f.Changes {
			fact := explainFact{c.Fact, c.From}
			if (f.Kind == "facts" || f.Kind == "both" && c.Fact != "grant") && !slices.Contains(e.Facts, fact) {
				e.Facts = append(e.Facts, fact)
			}
		}
	}
}

func (e *explained) write(w io.Writer, kind string) error {
	if kind == "json" {
		return report.Value(w, e)
	}
	var b bytes.Buffer
	e.pretty(&b)
	_, err := w.Write(b.Bytes())
	return err
}

func (e *explained) pretty(b *bytes.Buffer) {
	fmt.Fprintf(b, "%s: %s %s %s\n", e.Verdict, report.Text(e.Service), e.Action, report.Text(e.Secret))
	prettyReasons(b, e.Reasons)
	if len(e.Checked) > 0 {
		b.WriteString("\ncheck found besides\n")
		prettyReasons(b, e.Checked)
	}
	if len(e.Grants) > 0 {
		fmt.Fprintf(b, "\ngrants: %s\n", report.Text(strings.Join(e.Grants, ", ")))
	}
	b.WriteString("\nrules\n")
	for _, r := range e.Rules {
		held := "held"
		if !r.Held {
			held = "did not hold"
		}
		fmt.Fprintf(b, "  %-12s  %s  %s:%d\n", held, report.Text(strings.TrimPrefix(r.Name, "secrets.load.")), report.Text(r.File), r.Line)
	}
	if len(e.Facts) > 0 {
		b.WriteString("\nfacts that decided\n")
	}
	for _, f := range e.Facts {
		fmt.Fprintf(b, "  %s: %s\n", report.Text(f.Fact), report.Text(f.Value))
	}
	e.prettyFlips(b)
	if len(e.Trace) > 0 {
		b.WriteString("\ntrace\n")
	}
	for _, l := range e.Trace {
		fmt.Fprintf(b, "  %s\n", report.Text(l))
	}
}

func prettyReasons(b *bytes.Buffer, reasons []explainReason) {
	for _, r := range reasons {
		fmt.Fprintf(b, "  %s %s: %s\n", report.Text(r.Severity), report.Text(r.Code), report.Text(r.Message))
		if r.Fix != "" {
			fmt.Fprintf(b, "    fix: %s\n", report.Text(r.Fix))
		}
	}
}

func (e *explained) prettyFlips(b *bytes.Buffer) {
	switch {
	case len(e.Flips) == 0 && e.Verdict == change.Allowed:
		b.WriteString("\nno single change that was tried would deny it\n")
	case len(e.Flips) == 0:
		b.WriteString("\nno change that was tried would allow it: a rule of the policy's own refuses it\n")
	case e.Verdict == change.Allowed:
		b.WriteString("\nany one of these would deny it, as was tried\n")
	default:
		b.WriteString("\nthe smallest changes that would allow it, as was tried; one of\n")
	}
	for _, f := range e.Flips {
		for i, c := range f.Changes {
			mark := "-"
			if i > 0 {
				mark = " and"
			}
			fmt.Fprintf(b, "  %s %s", mark, report.Text(c.Text))
			if c.Fact != "grant" {
				fmt.Fprintf(b, " (%s: %s, now %s)", report.Text(c.Fact), report.Text(c.To), report.Text(cmp.Or(c.From, "none")))
			}
			b.WriteByte('\n')
		}
	}
}
