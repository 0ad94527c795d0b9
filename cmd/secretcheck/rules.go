package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/rules"
)

func newRules() *cobra.Command {
	var kind string
	cmd := &cobra.Command{
		Use:   "rules [ID]",
		Short: "explain what a finding means",
		Example: `  secretcheck rules
  secretcheck rules secret_in_environment
  secretcheck rules --format json`,
		Long: `List every rule of check and policy check, with its severity. With the ID of a
finding: what it means, why it matters, an example, and what to do.

exit codes: 4 bad usage, 0 otherwise`,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     completeRules,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runRules(cmd.OutOrStdout(), args, kind)
		},
	}
	cmd.Flags().StringVar(&kind, "format", "pretty", "write it as `F`, "+formatNames)
	return cmd
}

func runRules(w io.Writer, args []string, kind string) error {
	list := rules.All()
	switch {
	case len(args) > 1:
		return usage("secretcheck rules --help", "rules takes one id")
	case kind != "pretty" && kind != "json":
		return usage("--format takes "+formatNames, "unknown format %q", kind)
	case len(args) == 1:
		r, ok, meant := rules.Find(args[0])
		if !ok {
			return noRule(args[0], meant)
		}
		list = []rules.Rule{r}
	}
	if kind == "json" {
		return report.Value(w, struct {
			SchemaVersion int          `json:"schema_version"`
			Rules         []rules.Rule `json:"rules"`
		}{1, list})
	}
	if len(args) == 1 {
		return writePage(w, list[0])
	}
	for _, r := range list {
		if _, err := fmt.Fprintf(w, "%-29s  %-14s  %s\n", r.ID, r.Severity(), r.Summary); err != nil {
			return err
		}
	}
	return nil
}

func noRule(id, meant string) error {
	hint := "secretcheck rules lists them"
	if meant != "" {
		hint = fmt.Sprintf(meantHint, meant)
	}
	return usage(hint, "there is no rule %q", id)
}

func writePage(w io.Writer, r rules.Rule) error {
	example := "  " + strings.ReplaceAll(strings.TrimSpace(r.Example), "\n", "\n  ")
	_, err := fmt.Fprintf(w, "%s: %s (%s, from %s)\n\nwhat it means\n%s\nwhy it matters\n%s\nan example\n%s\n\nwhat to do\n%s",
		r.ID, r.Summary, r.Severity(), r.From, wrap(r.Means), wrap(r.Why), example, wrap(r.Fix))
	return err
}

// wrap breaks a text into indented lines that fit a terminal.
func wrap(text string) string {
	const width = 78
	var b strings.Builder
	column := 0
	for _, w := range strings.Fields(text) {
		if column > 0 && column+1+len(w) > width {
			b.WriteByte('\n')
			column = 0
		}
		if column == 0 {
			b.WriteByte(' ')
			column = 1
		}
		b.WriteString(" " + w)
		column += 1 + len(w)
	}
	return b.String() + "\n"
}
