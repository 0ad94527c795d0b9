package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/policy"
)

// Pretty writes the report for people: each service with its loads, then what was found besides, the count, and the
// next step last.
func Pretty(w io.Writer, r check.Result) error {
	var b bytes.Buffer
	service, first := "", true
	for _, l := range r.Loads {
		if first || l.Service != service {
			if !first {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "%s\n", Text(l.Service))
			service, first = l.Service, false
		}
		load(&b, l)
	}
	others(&b, r)
	summary(&b, r)
	_, err := w.Write(b.Bytes())
	return err
}

func load(b *bytes.Buffer, l check.Load) {
	fmt.Fprintf(b, "  %-9s  %-11s  %s\n", l.Verdict, Text(string(l.Action)), what(l))
	fmt.Fprintf(b, "%sat %s\n", indent, place(l.File, l.Line, l.Column))
	for _, r := range l.Reasons {
		complaint(b, string(r.Severity), r.Code, r.Message, r.Fix)
	}
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

func complaint(b *bytes.Buffer, severity, code, message, fix string) {
	fmt.Fprintf(b, "%s%s %s: %s\n", indent, Text(severity), Text(code), Text(message))
	if fix != "" {
		fmt.Fprintf(b, "%sfix: %s\n", indent, Text(fix))
	}
}

// others shows the findings that no load shows already.
func others(b *bytes.Buffer, r check.Result) {
	for i, f := range besides(r) {
		if i == 0 && len(r.Loads) > 0 {
			b.WriteString("\nin the descriptors\n")
		}
		fmt.Fprintf(b, "  %s\n", place(f.File, f.Line, f.Column))
		complaint(b, string(f.Severity), f.Rule, f.Message, f.Fix)
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
			if reason.Code == "no_grant" && l.Verdict == check.Denied {
				return "see what the service may ask for: secretcheck policy can " + canArguments(l.Service)
			}
		}
	}
	switch s := r.Summary; {
	case r.EngineFailed:
		return "correct the policy"
	case r.BadInput:
		return "correct the descriptors that could not be read"
	case s.Denied > 0:
		return "apply the fixes above and check again"
	case s.Undecided > 0 && !r.Rooted:
		return "settle what is undecided, with --root for facts about files"
	case s.Undecided > 0:
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
