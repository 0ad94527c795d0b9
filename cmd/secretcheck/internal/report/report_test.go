package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/policy"
)

const hostile = "\x1b[2J\u202e\u009b\x00\x07\xff</script>\n::error::x\r\U000e0001"

// Whatever a descriptor or a policy puts into a report, nothing in it acts on a terminal. (CHK-1008)
func TestCHK1008NothingActsOnATerminal(t *testing.T) {
	r := check.Result{
		Loads: []check.Load{{
			Service: hostile, Action: policy.Action(hostile), Source: policy.SourceCredential, Name: hostile, Path: hostile,
			Origin: "/" + hostile, Verdict: check.Denied, File: hostile,
			Reasons: []check.Reason{{Code: hostile, Message: hostile, Severity: policy.Severity(hostile), Fix: hostile}}, Grants: []string{hostile},
		}, {Service: "b", Source: policy.SourceFile, Path: hostile}, {Service: "c", Source: policy.SourceEnv, Name: hostile}, {Service: "d", Name: hostile, Origin: hostile}, {Service: "::error::x"}, {Service: " ::error::##[x]"}},
		Findings: []check.Finding{{Rule: hostile, Message: hostile, Severity: policy.Severity(hostile), Fix: hostile, File: hostile, Service: hostile}},
	}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"pretty": func(b *bytes.Buffer) error { return Pretty(b, r) },
		"json":   func(b *bytes.Buffer) error { return JSON(b, r) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		for _, c := range b.String() {
			if c != '\n' && !unicode.IsPrint(c) {
				t.Errorf("%s: %q in the output", name, c)
			}
		}
		for line := range strings.Lines(b.String()) {
			if strings.HasPrefix(strings.TrimSpace(line), "::") || strings.Contains(line, "##") {
				t.Errorf("%s: a line starts with a workflow command: %s", name, line)
			}
		}
	}
}

// A name that acts on a shell does not when the next step is pasted. (CHK-1008)
func TestCHK1008TheNextStepCanBePasted(t *testing.T) {
	for service, want := range map[string]string{
		"queen-rbee":             "policy can queen-rbee --policy …",
		"x;curl":                 "policy can 'x;curl' --policy …",
		"$(x)`y`":                "policy can '$(x)`y`' --policy …",
		"it's":                   `policy can 'it'\''s' --policy …`,
		"~":                      "policy can '~' --policy …",
		"--policy=x":             "policy can --policy … -- --policy=x",
		strings.Repeat("'", 255): "policy can SERVICE --policy …",
		"a\x1bb":                 "policy can SERVICE --policy …",
		"a##b":                   "policy can SERVICE --policy …",
		"":                       "policy can SERVICE --policy …",
	} {
		r := check.Result{Loads: []check.Load{{Service: service, Verdict: check.Denied, Reasons: []check.Reason{{Code: "no_grant"}}}}}
		if got := next(r); !strings.HasSuffix(got, want) {
			t.Errorf("%q: %s", service, got)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain, ä 漢":       "plain, ä 漢",
		"\x1b[0m":          `\x1b[0m`,
		"a\nb":             `a\x0ab`,
		"\xff":             `\xff`,
		"::error::x":       `\x3a:error::x`,
		" ::add-mask::x":   `\x3a:add-mask::x`,
		"x ##[error]":      `x #\x23[error]`,
		"\u202e\U000e0001": `\u202e\U000e0001`,
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
	if got := Text(strings.Repeat("é", 9999)); len([]rune(got)) != maxText+1 {
		t.Errorf("%d characters", len([]rune(got)))
	}
	if got := Lines("a\tb\x1b\nc\n"); got != "a  b\\x1b\nc" {
		t.Errorf("%q", got)
	}
}

// Escaping changes how JSON is written, never what it says. (CHK-1009)
func TestCHK1009EscapingKeepsTheMeaning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		var b bytes.Buffer
		if err := Value(&b, []string{text}); err != nil {
			t.Fatal(err)
		}
		var back []string
		if err := json.Unmarshal(b.Bytes(), &back); err != nil || len(back) != 1 || back[0] != strings.ToValidUTF8(text, "\uFFFD") {
			t.Fatalf("%q came back as %q: %v", text, back, err)
		}
	})
}

func TestPrettyEndsWithTheNextStep(t *testing.T) {
	load := func(v check.Verdict, code string) check.Result {
		l := check.Load{Service: "s", Source: policy.SourceEnv, Name: "A", Verdict: v, File: "f", Line: 1, Column: 1}
		if code != "" {
			l.Reasons = []check.Reason{{Code: code, Message: "m", Severity: policy.SeverityError}}
		}
		r := check.Result{Loads: []check.Load{l}}
		switch v {
		case check.Denied:
			r.Summary.Denied = 1
		case check.Undecided:
			r.Summary.Undecided = 1
		default:
			r.Summary.Allowed = 1
		}
		return r
	}
	failed, bad := load(check.Undecided, "engine_error"), load(check.Allowed, "")
	failed.EngineFailed, bad.BadInput = true, true
	rooted, warned := load(check.Undecided, "x"), load(check.Allowed, "")
	rooted.Rooted, warned.Summary.Warnings = true, 1
	for _, c := range []struct {
		r    check.Result
		want string
	}{
		{load(check.Denied, "no_grant"), "see what the service may ask for: secretcheck policy can s --policy …"},
		{load(check.Denied, "mode_too_open"), "apply the fixes above and check again"},
		{load(check.Undecided, "x"), "settle what is undecided, with --root for facts about files"},
		{rooted, "settle what is undecided"},
		{warned, "nothing is refused; look at the warnings"},
		{check.Result{Silent: []string{"a.service"}}, "nothing was judged: see that the descriptors are those that load the secrets"},
		{failed, "correct the policy"},
		{bad, "correct the descriptors that could not be read"},
		{load(check.Allowed, ""), "nothing has to be done"},
	} {
		var b bytes.Buffer
		if err := Pretty(&b, c.r); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(b.String(), "\nnext: "+c.want+"\n") {
			t.Errorf("want %q at the end of\n%s", c.want, b.String())
		}
	}
}

func TestPrettyNamesWhatLoadsNothing(t *testing.T) {
	r := check.Result{Silent: []string{"a.service", "\x1bb", "c", "d", "e", "f", "g"}}
	var b bytes.Buffer
	if err := Pretty(&b, r); err != nil {
		t.Fatal(err)
	}
	if want := "no loads: a.service, \\x1bb, c, d, e and 2 more\n"; !strings.HasPrefix(b.String(), want) {
		t.Errorf("want %q at the start of\n%s", want, b.String())
	}
}

// On a terminal the words have colours, and no line is longer than the terminal is wide; who answers for what is
// accepted is told. (CHK-1145)
func TestCHK1145Style(t *testing.T) {
	var b bytes.Buffer
	if err := (Style{Color: true, Width: 60}).Pretty(&b, full(strings.Repeat("many words ", 30))); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	for _, want := range []string{"\x1b[32mallowed\x1b[0m    load", "\x1b[31mdenied\x1b[0m     load", "\x1b[36maccepted\x1b[0m   load", "\x1b[31merror\x1b[0m no_grant", "waived until 2030-01-01 by many"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	plain := strings.NewReplacer("\x1b[31m", "", "\x1b[32m", "", "\x1b[33m", "", "\x1b[36m", "", "\x1b[0m", "").Replace(out)
	for line := range strings.Lines(plain) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 60 && strings.HasPrefix(line, indent) && !strings.Contains(line, " at ") {
			t.Errorf("%d characters: %s", n, line)
		}
	}
	for _, p := range []Style{{}, {Width: 20}} {
		var b bytes.Buffer
		if err := p.Pretty(&b, full("x")); err != nil || strings.Contains(b.String(), "\x1b") {
			t.Errorf("%v: %q", err, b.String())
		}
	}
}
