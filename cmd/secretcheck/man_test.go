package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/llorch/secrets-management/internal/asnobody"
)

// TestCHK1153Pages: CHK-1153. Each command has a page with each of its flags, those that --help leaves out among them.
func TestCHK1153Pages(t *testing.T) {
	root := newRoot()
	pages := map[string]string{}
	manual(root, "", pages)
	count := 0
	for _, cmd := range every(root) {
		if cmd.HasParent() && !cmd.IsAvailableCommand() {
			continue
		}
		count++
		text := pages[pageName(cmd)+".1"]
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "SEE ALSO"} {
			if !strings.Contains(text, "\n.SH "+section+"\n") && (section != "SEE ALSO" || cmd.HasParent()) {
				t.Errorf("the page of %s has no %s", cmd.CommandPath(), section)
			}
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !strings.Contains(text, `\fB\-\-`+roff(f.Name)+`\fR`) {
				t.Errorf("the page of %s lacks --%s", cmd.CommandPath(), f.Name)
			}
		})
	}
	if count < 12 || count != len(pages) {
		t.Errorf("%d commands, %d pages", count, len(pages))
	}
	if !strings.Contains(pages["secretcheck-check.1"], `X\-Secretcheck\-Action=CREDENTIAL`) || !strings.Contains(pages["secretcheck-check.1"], "\n.SH EXIT STATUS\nof several") {
		t.Error("the page of check is not the whole story")
	}
	render(t, pages)
}

// render lets groff set the pages; what it warns of is a fault.
func render(t *testing.T, pages map[string]string) {
	t.Helper()
	if _, err := exec.LookPath("groff"); err != nil {
		asnobody.NotRun(t, "apt-get install groff-base")
		return
	}
	for name, text := range pages {
		out := groff(t, text)
		if strings.Contains(out, "troff") || !strings.Contains(out, "secretcheck") {
			t.Errorf("%s: %s", name, out)
		}
	}
	if out := groff(t, ".TH X 1\n.TP\n\\fBbold\\fR \\[nosuch]\n.nosuch\n"); !strings.Contains(out, "troff") {
		t.Errorf("the control passes: %s", out)
	}
}

func groff(t *testing.T, text string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "groff", "-man", "-Tutf8", "-ww", "-P-c")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("groff: %v: %s", err, out)
	}
	return string(out)
}

// TestCHK1153Roff: CHK-1153. What looks like a request or an escape is printed as it is.
func TestCHK1153Roff(t *testing.T) {
	const hostile = ".so /etc/passwd\n'so x\n\\n(.z a-b \"q\" `c` ~ ^ … 'x'"
	const want = `\&.so /etc/passwd` + "\n" + `\&'so x` + "\n" + `\en(.z a\-b \(dqq\(dq \(gac\(ga \(ti \(ha \[u2026] \(aqx\(aq`
	if got := roff(hostile); got != want {
		t.Errorf("%s", got)
	}
	cmd := &cobra.Command{Use: "x", Short: hostile, Example: "  secretcheck x", RunE: noCommand}
	newRoot().AddCommand(cmd)
	if _, err := exec.LookPath("groff"); err != nil {
		asnobody.NotRun(t, "apt-get install groff-base")
		return
	}
	out := groff(t, page(cmd, ""))
	for _, want := range []string{".so /etc/passwd", "'so x", `\n(.z a-b "q" ` + "`c` ~ ^ … 'x'"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}
