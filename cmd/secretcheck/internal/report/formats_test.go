package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"html"
	"io"
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/policy"
)

// formats are all there are for a check.
func formats() map[string]func(io.Writer, check.Result) error {
	return map[string]func(io.Writer, check.Result) error{
		"pretty": Pretty, "json": JSON, "sarif": SARIF, "junit": JUnit, "github": GitHub, "markdown": Markdown, "html": HTML,
	}
}

// full has everything that a result can have.
func full(text string) check.Result {
	print1, print2 := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	r := check.Result{
		Loads: []check.Load{
			{
				Service: "queen-rbee", Action: policy.LoadSecret, Source: policy.SourceCredential, Name: "api_token", Origin: "/etc/t", Verdict: check.Allowed, Facts: policy.FactsPredicted,
				Reasons: []check.Reason{}, Grants: []string{"queen-api"}, File: "a.service", Line: 2, Column: 1, EndLine: 2, EndColumn: 9, Snippet: "LoadCredential=api_token:/etc/t",
			},
			{
				Service: text, Action: policy.LoadSecret, Source: policy.SourceFile, Path: "/x/" + text, Origin: "", Verdict: check.Denied, Facts: policy.FactsObserved,
				Reasons: []check.Reason{{Code: "no_grant", Message: text, Severity: policy.SeverityError, Fix: text, Fingerprint: print1}}, Grants: []string{}, File: text, Line: 3, Column: 1, EndLine: 3, EndColumn: 1, Snippet: text,
			},
			{
				Service: "c", Action: policy.LoadKey, Source: policy.SourceEnv, Name: text, Verdict: check.Undecided, Facts: policy.FactsUnchecked,
				Reasons: []check.Reason{{Code: "origin_unknown", Message: "m", Severity: policy.SeverityWarning, Fingerprint: print2}}, Grants: []string{}, File: "c.service", Line: 1, Column: 1, EndLine: 1, EndColumn: 1,
			},
		},
		Findings: []check.Finding{
			{Rule: "no_grant", Severity: policy.SeverityError, Message: text, Fix: text, File: text, Line: 3, Column: 1, EndLine: 3, EndColumn: 1, Service: text, Fingerprint: print1},
			{Rule: "origin_unknown", Severity: policy.SeverityWarning, Message: "m", File: "c.service", Line: 1, Column: 1, EndLine: 1, EndColumn: 1, Service: "c", Fingerprint: print2},
			{Rule: "secret_in_environment", Severity: policy.SeverityWarning, Message: "a " + text, Fix: text, File: text, Line: 4, Column: 2, EndLine: 4, EndColumn: 7, Service: "c", Fingerprint: strings.Repeat("c3", 32), Snippet: text},
			{Rule: "site_rule", Severity: policy.SeverityNote, Message: text, File: "d", Line: 1, Column: 1, EndLine: 1, EndColumn: 1, Fingerprint: strings.Repeat("d4", 32)},
			{Rule: "unparsable", Severity: policy.SeverityError, Message: text, File: "e", Line: 1, Column: 1, EndLine: 1, EndColumn: 1, Fingerprint: strings.Repeat("e5", 32)},
		},
		Summary:  check.Summary{Descriptors: 5, Loads: 3, Allowed: 1, Denied: 1, Undecided: 1, Warnings: 2},
		BadInput: true,
	}
	r.Suppress(func(f check.Finding) *check.Suppression {
		if f.Fingerprint == print2 {
			return &check.Suppression{Kind: check.ByWaiver, Owner: text, Reason: text, Expires: "2030-01-01"}
		}
		return nil
	})
	return r
}

func written(t *testing.T, format string, r check.Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := formats()[format](&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// No format lets a descriptor act on who reads it. (CHK-1008)
func TestCHK1008FormatsOfHostileText(t *testing.T) {
	r := full(hostile + "##[x]]]>|`x`@everyone <img src=x onerror=y> %0A${{ x }}")
	for name := range formats() {
		out := written(t, name, r)
		for _, c := range out {
			if c != '\n' && !unicode.IsPrint(c) {
				t.Fatalf("%s: %q in the output", name, c)
			}
		}
		if name != "html" && name != "github" { // the style has colours, the other is made of commands
			for line := range strings.Lines(out) {
				if strings.HasPrefix(strings.TrimSpace(line), "::") || strings.Contains(line, "##[") {
					t.Errorf("%s: a workflow command: %s", name, line)
				}
			}
		}
		if strings.Contains(out, "<img") && name != "json" && name != "sarif" && name != "pretty" && name != "github" {
			t.Errorf("%s: markup came through", name)
		}
	}
	for line := range strings.Lines(written(t, "github", r)) {
		if strings.HasPrefix(line, "::") != (strings.HasPrefix(line, "::error file=") || strings.HasPrefix(line, "::warning file=") || strings.HasPrefix(line, "::notice file=")) {
			t.Errorf("a command that is none of ours: %s", line)
		}
	}
	markdown := written(t, "markdown", r)
	if strings.ContainsAny(strings.NewReplacer("### secretcheck", "", "|---|---|---|---|---|", "").Replace(markdown), "`<>@[]$") {
		t.Errorf("text acts as Markdown:\n%s", markdown)
	}
}

// TestCHK1140Schemas: CHK-1140. The forms for machines are those of their schemas, whatever is in them.
func TestCHK1140Schemas(t *testing.T) {
	for format, schema := range map[string]string{"sarif": "testdata/sarif-schema-2.1.0.json", "json": "../../../../docs/schema/report.schema.json"} {
		compiled, err := jsonschema.NewCompiler().Compile(schema)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []check.Result{full("plain"), full(hostile), {Loads: []check.Load{}, Findings: []check.Finding{}}} {
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(written(t, format, r)))
			if err != nil {
				t.Fatal(err)
			}
			if err := compiled.Validate(value); err != nil {
				t.Errorf("%s: %v", format, err)
			}
		}
		if err := compiled.Validate(map[string]any{"version": 1}); err == nil { // the control
			t.Errorf("%s: the schema takes anything", format)
		}
	}
}

// SARIF has the rule's page, the region, the fingerprint and what is accepted. (CHK-1140)
func TestCHK1140SARIF(t *testing.T) {
	var log sarifLog
	if err := json.Unmarshal([]byte(written(t, "sarif", full("plain"))), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if len(run.Results) != 5 || run.Invocations[0].ExecutionSuccessful {
		t.Fatalf("%+v", run)
	}
	for i, f := range full("plain").Findings {
		got := run.Results[i]
		rule := run.Tool.Driver.Rules[got.RuleIndex]
		region := got.Locations[0].Physical.Region
		if got.RuleID != f.Rule || rule.ID != f.Rule || got.Fingerprints["secretcheck/v1"] != f.Fingerprint || region != (sarifRegion{f.Line, f.Column, f.EndLine, f.EndColumn}) ||
			(rule.Help == nil) != (f.Rule == "site_rule") || len(got.Suppressions) > 0 != (f.Suppressed != nil) {
			t.Errorf("%+v for %+v", got, f)
		}
	}
	if got := uri("deploy/a b%ü.service"); got != "deploy/a%20b%25%C3%BC.service" {
		t.Error(got)
	}
}

// JUnit is XML with every load and every other finding as a case, and its counts add up. (CHK-1141)
func TestCHK1141JUnit(t *testing.T) {
	for _, text := range []string{"plain", hostile + "]]>"} {
		var suites junitSuites
		out := written(t, "junit", full(text))
		if err := xml.Unmarshal([]byte(out), &suites); err != nil {
			t.Fatal(err)
		}
		cases, failures, errs, skipped := 0, 0, 0, 0
		for _, s := range suites.Suites {
			for _, c := range s.Cases {
				cases++
				if c.Failure != nil {
					failures++
				}
				if c.Error != nil {
					errs++
				}
				if c.Skipped != nil {
					skipped++
				}
			}
		}
		if cases != 6 || failures != 1 || errs != 1 || skipped != 1 || suites.Tests != cases || suites.Failures != failures || suites.Errors != errs || suites.Skipped != skipped {
			t.Errorf("%d cases, %d failures, %d errors, %d skipped; %+v\n%s", cases, failures, errs, skipped, suites, out)
		}
	}
}

// The annotations of GitHub are the findings that count, each at its place. (CHK-1141)
func TestCHK1141GitHub(t *testing.T) {
	out := written(t, "github", full("50% a,b:c"))
	want := "::warning file=50%25 a%2Cb%3Ac,line=4,endLine=4,col=2,endColumn=7,title=secretcheck%3A secret_in_environment::c: a 50%25 a,b:c%0Afix: 50%25 a,b:c\n"
	if !strings.Contains(out, want) || strings.Contains(out, "origin_unknown") || strings.Count(out, "\n::")+1 != 4 {
		t.Errorf("%s\nwant\n%s", out, want)
	}
}

// A comment stays below the size that a pull request takes, and says how much is left out. (CHK-1141)
func TestCHK1141MarkdownIsBounded(t *testing.T) {
	r := full("plain")
	for range 1000 {
		r.Findings = append(r.Findings, r.Findings[0])
	}
	if out := written(t, "markdown", r); len(out) > 65_536 || !strings.Contains(out, "and 904 more") {
		t.Errorf("%d bytes:\n%.3000s", len(out), out)
	}
}

var errDisk = errors.New("disk full")

type brokenDisk struct{}

func (brokenDisk) Write([]byte) (int, error) { return 0, errDisk }

// A report that cannot be written is an error in every format. (CHK-1043)
func TestCHK1043WhatCannotBeWritten(t *testing.T) {
	for name, write := range formats() {
		if err := write(brokenDisk{}, full("plain")); !errors.Is(err, errDisk) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The page needs nothing but itself: nothing in it leads elsewhere, and it may load nothing. (CHK-1142)
func TestCHK1142HTMLIsAlone(t *testing.T) {
	out := written(t, "html", full("plain"))
	for _, bad := range []string{"http:", "https:", "//", "src=", "@import", "url(", "<link", "<iframe"} {
		if strings.Contains(out, bad) {
			t.Errorf("%q in the page", bad)
		}
	}
	for _, file := range []string{"report.css", "report.js"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out, string(text)) || !strings.Contains(html.UnescapeString(out), "'sha256-"+hashed(string(text))+"'") {
			t.Errorf("%s is not in the page as it is, or may not be used", file)
		}
	}
}
