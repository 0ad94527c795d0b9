package waivers

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/strictyaml"
	"github.com/llorch/secrets-management/policy"
)

var (
	printA = strings.Repeat("a", 64)
	printB = strings.Repeat("b", 64)
	today  = time.Date(2026, 11, 24, 23, 59, 59, 0, time.UTC)
)

// result has a load denied for two reasons, one undecided, and what could not be read.
func result() check.Result {
	reason := func(rule, print string, s policy.Severity) check.Reason {
		return check.Reason{Code: rule, Severity: s, Fingerprint: print}
	}
	finding := func(rule, file, print string, s policy.Severity) check.Finding {
		return check.Finding{Rule: rule, File: file, Severity: s, Fingerprint: print}
	}
	return check.Result{
		Loads: []check.Load{
			{Verdict: check.Denied, Reasons: []check.Reason{reason("mode_too_open", printA, policy.SeverityError), reason("inline", printB, policy.SeverityWarning), reason("n", "x", policy.SeverityNote)}},
			{Verdict: check.Undecided, Reasons: []check.Reason{reason("origin_unknown", "c", policy.SeverityWarning)}},
			{Verdict: check.Denied},
		},
		Findings: []check.Finding{
			finding("mode_too_open", "a.service", printA, policy.SeverityError), finding("inline", "a.service", printB, policy.SeverityWarning),
			finding("origin_unknown", "b.service", "c", policy.SeverityWarning), finding("unparsable", "c.service", "d", policy.SeverityError),
		},
		Summary: check.Summary{Loads: 3, Denied: 2, Undecided: 1, Warnings: 2},
	}
}

const rest = "owner: me, reason: because, expires: 2026-11-24"

// TestCHK1143Waivers: CHK-1143. A waiver covers what it names, to the end of its last day, and a load counts until all of
// its reasons are covered; one that has expired, and one for nothing, are told about.
func TestCHK1143Waivers(t *testing.T) {
	tests := map[string]struct {
		waivers           string
		now               time.Time
		denied, undecided int
		warnings          int
		told              string
	}{
		"none":           {"[]", today, 2, 1, 2, ""},
		"one of two":     {"[{fingerprint: " + printA + ", " + rest + "}]", today, 2, 1, 2, ""},
		"both":           {"[{fingerprint: " + printA + ", " + rest + "}, {rule: inline, path: a.service, " + rest + "}]", today, 1, 1, 1, ""},
		"undecided":      {"[{rule: origin_unknown, path: b.service, " + rest + "}]", today, 2, 0, 1, ""},
		"another path":   {"[{rule: origin_unknown, path: a.service, " + rest + "}]", today, 2, 1, 2, "waiver_unused"},
		"expired":        {"[{rule: origin_unknown, path: b.service, " + rest + "}]", today.Add(time.Second), 2, 1, 3, "waiver_expired"},
		"one is left":    {"[{rule: origin_unknown, path: b.service, owner: o, reason: r, expires: 2026-01-01}, {rule: origin_unknown, path: b.service, " + rest + "}]", today, 2, 0, 2, "waiver_expired"},
		"what is final":  {"[{fingerprint: " + strings.Repeat("d", 64) + ", " + rest + "}]", today, 2, 1, 2, "waiver_unused"},
		"quoted the day": {"[{rule: origin_unknown, path: b.service, owner: me, reason: because, expires: \"2026-11-24\"}]", today, 2, 0, 1, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l, err := Parse("w.yaml", []byte("waivers: "+tt.waivers))
			if err != nil {
				t.Fatal(err)
			}
			r := result()
			before := len(r.Findings)
			l.Apply(&r, tt.now)
			var told []string
			for _, f := range r.Findings {
				if f.File == "w.yaml" {
					told = append(told, f.Rule)
				}
			}
			if r.Open(check.Denied) != tt.denied || r.Open(check.Undecided) != tt.undecided || r.Summary.Warnings != tt.warnings || strings.Join(told, " ") != tt.told ||
				len(r.Findings) != before+len(told) {
				t.Errorf("denied %d, undecided %d, warnings %d, told %q", r.Open(check.Denied), r.Open(check.Undecided), r.Summary.Warnings, told)
			}
		})
	}
}

// TestCHK1143HostileWaivers: CHK-1143. What is not wholly a waiver is an error with its place, and waives nothing.
func TestCHK1143HostileWaivers(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "1:1: the file is empty",
		"waivers: {":                         "1:1: not YAML",
		"waivers: x":                         "1:10: waivers is not a list",
		"waver: []":                          `1:1: unknown key "waver"; known here are waivers`,
		"waivers: [x]":                       "1:11: expected a mapping with the keys fingerprint, rule, path, owner, reason, expires",
		"waivers: [{" + rest + "}]":          `1:11: key "rule" is missing`,
		"waivers: [{rule: x, " + rest + "}]": `1:11: key "path" is missing`,
		"waivers: [{rule: X y, path: p, " + rest + "}]":                                    "1:18: rule is not the id of one",
		"waivers: [{rule: unparsable, path: p, " + rest + "}]":                             "1:18: what could not be judged cannot be waived: unparsable",
		"waivers: [{rule: x, path: p, owner: o, expires: 2030-01-01}]":                     `1:11: key "reason" is missing`,
		"waivers: [{rule: x, path: p, reason: o, expires: 2030-01-01}]":                    `1:11: key "owner" is missing`,
		"waivers: [{rule: x, path: p, owner: \"\", reason: o, expires: 2030-01-01}]":       "1:37: owner is not a text",
		"waivers: [{rule: x, path: p, owner: o, reason: r}]":                               `1:11: key "expires" is missing: no waiver is for ever`,
		"waivers: [{rule: x, path: p, owner: o, reason: r, expires: never}]":               "1:60: expires is not a day such as 2027-03-31",
		"waivers: [{rule: x, path: p, owner: o, reason: r, expires: 2027-02-30}]":          "1:60: expires is not a day such as 2027-03-31",
		"waivers: [{fingerprint: abc, " + rest + "}]":                                      "1:25: fingerprint is not 64 hexadecimal digits",
		"waivers: [{fingerprint: " + strings.Repeat("a", 64) + ", rule: x, " + rest + "}]": "1:11: a waiver has a fingerprint, or a rule and a path",
		"waivers: [&a {rule: x}, *a]":                                                      "1:11: anchors and aliases are not allowed here",
		"waivers: []\n---\nwaivers: []":                                                    "2:1: more than one YAML document",
		"waivers: []\nwaivers: []":                                                         `2:1: key "waivers" is given twice`,
	} {
		_, err := Parse("w", []byte(text))
		var f *strictyaml.Fault
		if !errors.As(err, &f) || fmt.Sprintf("%d:%d: %s", f.Line, f.Column, f.Message) != want {
			t.Errorf("%q: %+v, want %s", text, err, want)
		}
	}
}

// TestCHK1144Baseline: CHK-1144. What is in an earlier report does not count; anything but such a report is an error.
func TestCHK1144Baseline(t *testing.T) {
	r := result()
	report := `{"schema_version":1,"loads":[],"findings":[{"fingerprint":"` + printA + `"},{"fingerprint":"` + printB + `"}],"summary":{}}`
	if err := Baseline(&r, []byte(report)); err != nil || r.Open(check.Denied) != 1 || r.Open(check.Undecided) != 1 || r.Summary.Suppressed != 2 {
		t.Errorf("%v: %+v", err, r.Summary)
	}
	for _, bad := range []string{
		"", "[]", "{}", `{"schema_version":2,"loads":[],"findings":[]}`, `{"schema_version":1,"findings":[]}`, `{"schema_version":1,"loads":[]}`,
		`{"schema_version":1,"loads":[],"findings":[{}]}`, report[:40],
	} {
		r := result()
		if err := Baseline(&r, []byte(bad)); !errors.Is(err, ErrBaseline) || r.Summary.Suppressed != 0 {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestMisspeltRule: a waiver that covers nothing for want of a letter is not only to be removed.
func TestMisspeltRule(t *testing.T) {
	for rule, fix := range map[string]string{
		"origin_unknwn": "remove it, or correct the rule: did you mean origin_unknown?",
		"of_our_own":    "remove it",
		"no_grant":      "remove it",
	} {
		l, err := Parse("w.yaml", []byte("waivers: [{rule: "+rule+", path: z.service, owner: o, reason: r, expires: 2999-01-01}]"))
		if err != nil {
			t.Fatal(err)
		}
		r := result()
		l.Apply(&r, time.Now())
		if f := r.Findings[len(r.Findings)-1]; f.Rule != "waiver_unused" || f.Fix != fix {
			t.Errorf("%s: %s, fix %q, want %q", rule, f.Rule, f.Fix, fix)
		}
	}
}
