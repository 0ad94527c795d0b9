package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// Whatever order files are named in, the last that sets a name is in force, and before what the unit sets; files that
// cannot be read stop the service, or are told.
// Evidence for CHK-1071, CHK-1075.
func TestCHK1075EnvironmentFiles(t *testing.T) {
	const secret = "A_TOKEN=fake\n"
	for _, c := range []struct {
		name    string
		files   []string // of EnvironmentFile=
		host    map[string]string
		matches []string
		err     error
		want    string
	}{
		{"found", []string{"/a"}, map[string]string{"/a": secret}, nil, nil, "A_TOKEN /a:1\n!secret_in_environment_file /a:1"},
		{"last", []string{"/a", "/b"}, map[string]string{"/a": secret, "/b": "\n" + secret}, nil, nil, "A_TOKEN /b:2\n!secret_in_environment_file /a:1\n!secret_in_environment_file /b:2"},
		{"emptied", []string{"/a", "/b"}, map[string]string{"/a": secret, "/b": "A_TOKEN=\n"}, nil, nil, "!secret_in_environment_file /a:1"},
		{"another", []string{"/a"}, map[string]string{"/a": "B=fake\n"}, nil, nil, "A_TOKEN u.service:2"},
		{"taken out", []string{"/a"}, map[string]string{"/a": "GONE_TOKEN=fake\n"}, nil, nil, "A_TOKEN u.service:2\n!secret_in_environment_file /a:1"},
		{"twice", []string{"/a"}, map[string]string{"/a": "API_KEY=fake\n"}, nil, nil, "API_KEY /a:1\nA_TOKEN u.service:2\n!secret_in_environment_file /a:1\n!secret_twice /a:1"},
		{"missing", []string{"/a"}, nil, nil, nil, "A_TOKEN u.service:2 denied\n!missing_source u.service:3"},
		{"may be missing", []string{"-/a"}, nil, nil, nil, "A_TOKEN u.service:2"},
		{"broken", []string{"/a"}, map[string]string{"/a": "A=\xff"}, nil, nil, "A_TOKEN u.service:2 denied\n!load_breaks u.service:3"},
		{"may be broken", []string{"-/a"}, map[string]string{"/a": "A=\xff"}, nil, nil, "A_TOKEN u.service:2\n!ignored_by_systemd u.service:3"},
		{"one missing", []string{"/a", "/b"}, map[string]string{"/a": secret}, nil, nil, "A_TOKEN /a:1 denied\n!secret_in_environment_file /a:1\n!missing_source u.service:3"},
		{"pattern", []string{"/*"}, map[string]string{"/a": secret, "/b": "B_TOKEN=fake"}, []string{"/a", "/b"}, nil, "A_TOKEN /a:1\nB_TOKEN /b:1\n!secret_in_environment_file /a:1\n!secret_in_environment_file /b:1"},
		{"empty pattern", []string{"/*"}, nil, nil, nil, "A_TOKEN u.service:2 denied\n!missing_source u.service:3"},
		{"bad pattern", []string{"/*"}, nil, nil, errors.New("bad"), "A_TOKEN u.service:2\n!environment_file_unread u.service:3"},
		{"not seen", []string{"/forbidden"}, nil, nil, nil, "A_TOKEN u.service:2\n!environment_file_unread u.service:3"},
	} {
		h := &tree{environments: c.host, matches: c.matches, err: c.err}
		e := &descriptor.Environment{Load: descriptor.Load{Service: "u", Source: policy.SourceEnv}, Unset: map[string]bool{"GONE_TOKEN": true}, Names: []string{"api-key"}}
		set := e.Load
		set.Name, set.Environment, set.Position = "A_TOKEN", e, descriptor.Position{File: "u.service", Line: 2, Column: 1}
		in := Input{Loads: []descriptor.Load{set}}
		for _, f := range c.files {
			p, optional := strings.CutPrefix(f, "-")
			in.Findings = append(in.Findings, descriptor.Finding{
				Rule: descriptor.RuleUnread, Severity: policy.SeverityNote, Position: descriptor.Position{File: "u.service", Line: 3, Column: 1},
				Unread: &descriptor.EnvironmentFile{Path: p, Optional: optional, Environment: e},
			})
		}
		r := Run(context.Background(), Config{Policy: &rules{may: []policy.Action{policy.LoadSecret}, err: errors.New("engine")}, Host: h}, in)
		if got := showEnvironment(r); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

func showEnvironment(r Result) string {
	var out []string
	for _, l := range r.Loads {
		s := fmt.Sprintf("%s %s:%d", l.Name, l.File, l.Line)
		if l.Verdict == Denied {
			s += " denied"
		}
		out = append(out, s)
	}
	for _, f := range r.Findings {
		if f.Rule != RuleEngine {
			out = append(out, fmt.Sprintf("!%s %s:%d", f.Rule, f.File, f.Line))
		}
	}
	return strings.Join(out, "\n")
}

// Without a host nobody has looked, and that is what is told.
// Evidence for CHK-1075.
func TestCHK1075Unread(t *testing.T) {
	f := descriptor.Finding{Rule: descriptor.RuleUnread, Message: "m", Unread: &descriptor.EnvironmentFile{Path: "/a"}}
	r := Run(context.Background(), Config{Policy: &rules{}}, Input{Findings: []descriptor.Finding{f}})
	if len(r.Findings) != 1 || r.Findings[0].Rule != descriptor.RuleUnread {
		t.Errorf("%+v", r.Findings)
	}
}

// A setting with which no load succeeds denies each, also one that is open, but not one whose very name is unknown.
// Evidence for CHK-1076.
func TestCHK1076BreaksDeny(t *testing.T) {
	for _, c := range []struct {
		doubt *descriptor.Doubt
		want  Verdict
	}{
		{nil, Denied},
		{&descriptor.Doubt{Rule: descriptor.RuleOrigin}, Denied},
		{&descriptor.Doubt{Rule: descriptor.RuleSpecifier, Identity: true}, Undecided},
	} {
		l := credential()
		l.Doubt, l.Breaks = c.doubt, []descriptor.Break{{Rule: descriptor.RuleBreaks, Message: "m", Fix: "f"}}
		r := run(&rules{may: []policy.Action{policy.LoadSecret}, err: errors.New("engine")}, nil, l)
		got := r.Loads[0]
		if got.Verdict != c.want || len(got.Reasons) == 0 || got.Reasons[len(got.Reasons)-1].Code != descriptor.RuleBreaks {
			t.Errorf("%+v: %+v", c.doubt, got)
		}
		for _, f := range r.Findings { // it is told where the setting stands, not here again
			if f.Rule == descriptor.RuleBreaks {
				t.Errorf("told twice: %+v", f)
			}
		}
	}
}

// A place without an end ends where it begins.
// Evidence for CHK-1078.
func TestCHK1078Spans(t *testing.T) {
	l := credential()
	r := run(&rules{}, nil, l)
	if got := r.Loads[0]; got.EndLine != got.Line || got.EndColumn != got.Column {
		t.Errorf("%+v", got)
	}
	l.EndLine, l.EndColumn = 3, 1
	r = run(&rules{}, nil, l)
	if got := r.Loads[0]; got.EndLine != 3 || got.EndColumn != 1 {
		t.Errorf("%+v", got)
	}
}
