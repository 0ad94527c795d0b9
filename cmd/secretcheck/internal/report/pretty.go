package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/policy"
)

// Style is how a report for people looks. The zero value is plain, in lines as long as they are.
type Style struct {
	Color bool
	Width int // of a line, in characters
}

// Pretty writes the report for people: each service with its loads, then what was found besides, the count, and the
// next step last.
func Pretty(w io.Writer, r check.Result) error { return Style{}.Pretty(w, r) }

// Pretty is [Pretty] in a style.
func (s Style) Pretty(w io.Writer, r check.Result) error {
	b := sheet{Style: s, accepted: acceptances(r)}
	service, first := "", true
	for _, l := range r.Loads {
		if first || l.Service != service {
			if !first {
				fmt.Fprintln(&b)
			}
			fmt.Fprintf(&b, "%s\n", Text(l.Service))
			service, first = l.Service, false
		}
		b.load(l)
	}
	b.others(r)
	summary(&b.Buffer, r)
	_, err := w.Write(b.Bytes())
	return err
}

// sheet is a report for people in the making.
type sheet struct {
	bytes.Buffer
	Style

	accepted map[string]*check.Suppression // by fingerprint
}

// acceptances says of which findings why they do not count.
func acceptances(r check.Result) map[string]*check.Suppression {
	m := map[string]*check.Suppression{}
	for _, f := range r.Findings {
		if f.Suppressed != nil {
			m[f.Fingerprint] = f.Suppressed
		}
	}
	return m
}

func (b *sheet) load(l check.Load) {
	verdict := string(l.Verdict)
	if l.Suppressed {
		verdict = "accepted"
	}
	fmt.Fprintf(b, "  %s%s  %-11s  %s\n", b.paint(verdict), strings.Repeat(" ", max(0, 9-len(verdict))), Text(string(l.Action)), what(l))
	fmt.Fprintf(b, "%sat %s\n", indent, place(l.File, l.Line, l.Column))
	for _, r := range l.Reasons {
		b.complaint(string(r.Severity), r.Code, r.Message, r.Fix)
		b.acceptance(b.accepted[r.Fingerprint])
	}
}

// acceptance says who answers for what was complained about.
func (b *sheet) acceptance(s *check.Suppression) {
	if s != nil {
		fmt.Fprintf(b, "%s%s\n", indent, b.wrap(acceptance(s), len(indent)))
	}
}

// paint gives a word of ours its colour.
func (s Style) paint(word string) string {
	color, known := map[string]string{
		"allowed": "32", "denied": "31", "undecided": "33", "accepted": "36", "error": "31", "warning": "33", "note": "36",
	}[word]
	if !s.Color || !known {
		return word
	}
	return "\x1b[" + color + "m" + word + "\x1b[0m"
}

// wrap breaks a text that does not fit behind so many characters, between words; what follows is indented as far.
func (s Style) wrap(text string, behind int) string {
	room := s.Width - behind
	if s.Width == 0 || room < 20 {
		return text
	}
	var out strings.Builder
	used := 0
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case used+1+n > room:
			out.WriteString("\n" + strings.Repeat(" ", behind))
			used = 0
		default:
			out.WriteByte(' ')
			used++
		}
		out.WriteString(word)
		used += n
	}
	return out.String()
}

const indent = "             "

// what names the secret as its owner would.
func what(l check.Load) string {
	switch {
	case l.Source == policy.SourceFile:
		return "file " + Text(l.Path) + from(l.Origin)
	case l.Source == policy.SourceEnv:
		return "variable " + Text(l.Name) + from(l.Origin)
	case l.Origin == "":
		return "credential " + Text(l.Name)
	case l.Origin[0] == '/':
		return "credential " + Text(l.Name) + " from " + Text(l.Origin)
	}
	return "credential " + Text(l.Name) + ", " + Text(l.Origin)
}

// from names what a platform makes a file or a variable of.
func from(origin string) string {
	if origin == "" {
		return ""
	}
	return " from " + Text(origin)
}

func place(file string, line, column int) string {
	return fmt.Sprintf("%s:%d:%d", Text(file), line, column)
}

func (b *sheet) complaint(severity, code, message, fix string) {
	severity = Text(severity)
	fmt.Fprintf(b, "%s%s %s\n", indent, b.paint(severity), b.wrap(Text(code)+": "+Text(message), len(indent)+len(severity)+1))
	if fix != "" {
		fmt.Fprintf(b, "%sfix: %s\n", indent, b.wrap(Text(fix), len(indent)+5))
	}
}

// others shows the findings that no load shows already.
func (b *sheet) others(r check.Result) {
	for i, f := range besides(r) {
		if i == 0 && len(r.Loads) > 0 {
			fmt.Fprint(b, "\nin the descriptors\n")
		}
		fmt.Fprintf(b, "  %s\n", place(f.File, f.Line, f.Column))
		b.complaint(string(f.Severity), f.Rule, f.Message, f.Fix)
		b.acceptance(f.Suppressed)
	}
}

// besides lists the findings that are no reason of a load.
func besides(r check.Result) []check.Finding {
	shown := map[string]bool{}
	for _, l := range r.Loads {
		for _, reason := range l.Reasons {
			shown[reason.Code+"\x00"+reason.Message+"\x00"+place(l.File, l.Line, l.Column)] = true
		}
	}
	var list []check.Finding
	for _, f := range r.Findings {
		if !shown[f.Rule+"\x00"+f.Message+"\x00"+place(f.File, f.Line, f.Column)] {
			list = append(list, f)
		}
	}
	return list
}

func summary(b *bytes.Buffer, r check.Result) {
	s := r.Summary
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	if len(r.Silent) > 0 {
		fmt.Fprintf(b, "no loads: %s\n", silent(r.Silent))
	}
	fmt.Fprintf(b, "%s, %s: %d allowed, %d denied, %d undecided; %s\n",
		count(s.Descriptors, "descriptor"), count(s.Loads, "load"), s.Allowed, s.Denied, s.Undecided, count(s.Warnings, "warning"))
	if s.Suppressed > 0 {
		fmt.Fprintf(b, "%s accepted by waivers or the baseline\n", count(s.Suppressed, "finding"))
	}
	fmt.Fprintf(b, "next: %s\n", next(r))
}

// maxNames bounds the list of descriptors that load nothing: in a folder of a whole machine most do.
const maxNames = 5

func silent(files []string) string {
	var names []string
	for _, f := range files[:min(len(files), maxNames)] {
		names = append(names, Text(f))
	}
	list := strings.Join(names, ", ")
	if more := len(files) - maxNames; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// next is the one thing to do first.
func next(r check.Result) string {
	for _, l := range r.Loads {
		for _, reason := range l.Reasons {
			if reason.Code == "no_grant" && l.Verdict == check.Denied && !l.Suppressed {
				return "see what the service may ask for: secretcheck policy can " + canArguments(l.Service)
			}
		}
	}
	switch s := r.Summary; {
	case r.EngineFailed:
		return "correct the policy"
	case r.BadInput:
		return "correct the descriptors that could not be read"
	case r.Open(check.Denied) > 0:
		return "apply the fixes above and check again"
	case r.Open(check.Undecided) > 0 && !r.Rooted:
		return "settle what is undecided, with --root for facts about files"
	case r.Open(check.Undecided) > 0:
		return "settle what is undecided"
	case s.Warnings > 0:
		return "nothing is refused; look at the warnings"
	case len(r.Loads) == 0:
		return "nothing was judged: see that the descriptors are those that load the secrets"
	case unchecked(r) && !r.Rooted:
		return "nothing has to be done; --root DIR looks at the files too"
	}
	return "nothing has to be done"
}

// canArguments are those of policy can for a service.
func canArguments(service string) string {
	name, ok := ShellWord(service)
	switch {
	case !ok || service == "":
		return "SERVICE --policy …"
	case service[0] == '-':
		return "--policy … -- " + name
	}
	return name + " --policy …"
}

func unchecked(r check.Result) bool {
	for _, l := range r.Loads {
		if l.Facts == policy.FactsUnchecked && l.Source != policy.SourceEnv {
			return true
		}
	}
	return false
}
