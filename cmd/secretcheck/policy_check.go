package main

import (
	"bytes"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/rego"
)

func newPolicyCheck() *cobra.Command {
	var kind string
	var failOnWarn bool
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "look for mistakes in a folder of rules and grants",
		Example: `  secretcheck policy check policy/
  secretcheck policy check policy/ --fail-on-warn --format json`,
		Long: `Compile the rules and the grants of a folder as policy build does, write nothing,
and report more than build refuses. Errors: a member of the input that is chosen
at run time, and the whole input passed on, through which a misspelt name cannot
be seen. Warnings: builtins that can fail without a word, which loses the rule
around them, and those that take longer than a whole decision.

exit codes, of several the first: 5 the policy has errors, 4 bad usage,
2 warnings with --fail-on-warn, 0 clean`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPolicyCheck(cmd, args, kind, failOnWarn)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&failOnWarn, "fail-on-warn", false, "exit with 2 when there are warnings")
	flags.StringVar(&kind, "format", "pretty", "write the findings as `F`, "+formatNames)
	return cmd
}

func runPolicyCheck(cmd *cobra.Command, args []string, kind string, failOnWarn bool) error {
	const hint = "secretcheck policy check DIR"
	if len(args) != 1 {
		return usage(hint, "policy check takes one folder")
	}
	if format(kind) == nil {
		return usage("--format takes "+formatNames, "unknown format %q", kind)
	}
	if err := folder(args[0], hint); err != nil {
		return err
	}
	src, err := rego.ReadDir(args[0])
	if err != nil {
		return &failure{exitPolicy, fmt.Errorf("policy: %w", short(err)), ""}
	}
	findings, err := working(cmd, elapsed("checking "+args[0]), func() ([]rego.Finding, error) { return rego.Check(cmd.Context(), src) })
	if err != nil {
		return &failure{exitPolicy, fmt.Errorf("policy: %w", err), ""}
	}
	if err := writeFindings(cmd, kind, findings); err != nil {
		return usage(stdoutHint, "output: %w", err)
	}
	errors, warnings := counted(findings)
	if errors == 0 {
		if _, err := working(cmd, elapsed("opening "+args[0]), func() (built, error) { return buildAndTry(cmd.Context(), args[0]) }); err != nil {
			return err
		}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "checked %s: %d errors, %d warnings\n", report.Text(args[0]), errors, warnings)
	switch {
	case errors > 0:
		return &failure{code: exitPolicy}
	case warnings > 0 && failOnWarn:
		return &failure{code: exitWarned}
	}
	return nil
}

func counted(findings []rego.Finding) (errors, warnings int) {
	for _, f := range findings {
		if f.Severity == policy.SeverityError {
			errors++
		} else {
			warnings++
		}
	}
	return errors, warnings
}

// policyFindings is the JSON form, an interface.
type policyFindings struct {
	SchemaVersion int             `json:"schema_version"`
	Findings      []policyFinding `json:"findings"`
}

type policyFinding struct {
	Rule     string          `json:"rule"`
	Severity policy.Severity `json:"severity"`
	Message  string          `json:"message"`
	Fix      string          `json:"fix"`
	File     string          `json:"file"`
	Line     int             `json:"line"`
	Column   int             `json:"column"`
}

func writeFindings(cmd *cobra.Command, kind string, findings []rego.Finding) error {
	if kind == "json" {
		list := make([]policyFinding, 0, len(findings))
		for _, f := range findings {
			list = append(list, policyFinding{f.Rule, f.Severity, f.Message, f.Fix, f.File, f.Line, f.Column})
		}
		return report.Value(cmd.OutOrStdout(), policyFindings{1, list})
	}
	var b bytes.Buffer
	for _, f := range findings {
		fmt.Fprintf(&b, "%s:%d:%d: %s: %s\n", report.Text(f.File), f.Line, f.Column, f.Severity, report.Lines(f.Message))
		if f.Fix != "" {
			fmt.Fprintf(&b, "  fix: %s\n", report.Text(f.Fix))
		}
	}
	_, err := cmd.OutOrStdout().Write(b.Bytes())
	return err
}
