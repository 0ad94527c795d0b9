package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
)

// mostRows bounds the table: a comment on a pull request has 65,536 characters at most.
const mostRows = 100

// Markdown writes the result for a comment on a pull request.
func Markdown(w io.Writer, r check.Result) error {
	var b bytes.Buffer
	s := r.Summary
	fmt.Fprintf(&b, "### secretcheck: %s\n\n", markdownVerdict(r))
	fmt.Fprintf(&b, "%s, %s: %d allowed, %d denied, %d undecided; %s", count(s.Descriptors, "descriptor"), count(s.Loads, "load"),
		s.Allowed, s.Denied, s.Undecided, count(s.Warnings, "warning"))
	if s.Suppressed > 0 {
		fmt.Fprintf(&b, "; %s accepted", count(s.Suppressed, "finding"))
	}
	b.WriteString("\n")
	rows := 0
	for _, f := range r.Findings {
		if f.Suppressed != nil {
			continue
		}
		if rows++; rows == 1 {
			b.WriteString("\n| | place | service | finding | fix |\n|---|---|---|---|---|\n")
		}
		if rows <= mostRows {
			fmt.Fprintf(&b, "| %s | %s | %s | %s: %s | %s |\n", cell(string(f.Severity)), cell(fmt.Sprintf("%s:%d", f.File, f.Line)), cell(f.Service),
				cell(f.Rule), cell(f.Message), cell(f.Fix))
		}
	}
	if rows > mostRows {
		fmt.Fprintf(&b, "\nand %d more\n", rows-mostRows)
	}
	fmt.Fprintf(&b, "\nnext: %s\n", cell(next(r)))
	_, err := w.Write(b.Bytes())
	return err
}

func markdownVerdict(r check.Result) string {
	switch {
	case r.EngineFailed || r.BadInput:
		return "not all of it could be judged"
	case r.Open(check.Denied) > 0:
		return "denied"
	case r.Open(check.Undecided) > 0:
		return "undecided"
	}
	return "nothing is denied"
}

// cell makes text that no Markdown and no HTML is read from, nor a mention of a person or an issue. A zero-width character
// would hide in what somebody copies, so all is done with entities.
func cell(s string) string {
	const special = "\\`*_{}[]()<>#+-!|~@:&\"'$"
	var b strings.Builder
	for _, r := range Text(s) {
		if strings.ContainsRune(special, r) {
			fmt.Fprintf(&b, "&#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
