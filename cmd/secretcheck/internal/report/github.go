package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/policy"
)

// GitHub writes the findings that count as workflow commands, which the runner turns into annotations.
// (https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions)
func GitHub(w io.Writer, r check.Result) error {
	var b bytes.Buffer
	for _, f := range r.Findings {
		if f.Suppressed != nil {
			continue
		}
		message := Text(f.Message)
		if f.Service != "" {
			message = Text(f.Service) + ": " + message
		}
		if f.Fix != "" {
			message += "\nfix: " + Text(f.Fix)
		}
		fmt.Fprintf(&b, "::%s file=%s,line=%d,endLine=%d,col=%d,endColumn=%d,title=%s::%s\n", githubLevel(f.Severity),
			property(f.File), max(f.Line, 1), max(f.EndLine, f.Line, 1), max(f.Column, 1), max(f.EndColumn, 1), property("secretcheck: "+f.Rule), data(message))
	}
	summary(&b, r)
	_, err := w.Write(b.Bytes())
	return err
}

func githubLevel(s policy.Severity) string {
	if s == policy.SeverityNote {
		return "notice"
	}
	return string(s)
}

// data and property escape as the runner's own toolkit does.
func data(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func property(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(Text(s))
}
