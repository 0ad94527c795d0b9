package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/collect"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/rules"
	"github.com/llorch/secrets-management/policy"
)

func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "print a script that completes commands, flags and their values",
		Example: `  secretcheck completion bash > ~/.local/share/bash-completion/completions/secretcheck
  secretcheck completion zsh > "${fpath[1]}/_secretcheck"
  secretcheck completion fish > ~/.config/fish/completions/secretcheck.fish`,
		Long: `Print a script by which a shell completes what is typed, in every shell that is
started from then on; in this one with: source <(secretcheck completion bash)
In bash it needs the package bash-completion.

exit codes: 4 bad usage, 0 otherwise`,
		DisableFlagsInUseLine: true,
		ValidArgs:             []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, w := cmd.Root(), cmd.OutOrStdout()
			var err error
			switch strings.Join(args, " ") {
			case "bash":
				err = root.GenBashCompletionV2(w, true)
			case "zsh":
				err = root.GenZshCompletion(w)
			case "fish":
				err = root.GenFishCompletion(w, true)
			default:
				return usage("secretcheck completion bash", "completion takes one shell: bash, zsh or fish")
			}
			if err != nil {
				return usage(stdoutHint, "output: %w", err)
			}
			return nil
		},
	}
}

// completer is what may follow what was typed.
type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeFlags tells shells, for the flags of all commands, what they take. A flag has the same meaning wherever it is.
func completeFlags(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		completeFlags(c)
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if complete := completerOf(f); complete != nil {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, complete) // it fails for a flag that is not there
		}
	})
}

func completerOf(f *pflag.Flag) completer {
	_, many := f.Value.(pflag.SliceValue)
	switch {
	case f.Name == "format":
		return cobra.FixedCompletions(formatsOf(f), cobra.ShellCompDirectiveNoFileComp)
	case f.Name == "output" && many:
		return completeOutput(formatsOf(f))
	case f.Name == "fail-on":
		return cobra.FixedCompletions(severities(), cobra.ShellCompDirectiveNoFileComp)
	case f.Name == "type":
		return cobra.FixedCompletions(collect.Kinds(), cobra.ShellCompDirectiveNoFileComp)
	case f.Name == "root":
		return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
	}
	if name, _ := pflag.UnquoteUsage(f); strings.Contains(name, "DIR") || strings.Contains(name, "FILE") {
		return nil // the shell's own
	}
	return cobra.NoFileCompletions
}

// completeOutput completes F=FILE: first the formats, then files behind the one that was chosen.
func completeOutput(formats []string) completer {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		kind, file, chosen := strings.Cut(typed, "=")
		var list []string
		for _, f := range formats {
			if !chosen {
				list = append(list, f+"=")
			}
		}
		if chosen {
			dir, begun := filepath.Split(file)
			entries, _ := os.ReadDir(filepath.Join(".", dir)) // nothing to offer where it cannot be read
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), begun) {
					list = append(list, kind+"="+dir+e.Name())
				}
			}
		}
		return list, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// completeRules offers the ids of rules, with what they are about.
func completeRules(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var ids []string
	if len(args) == 0 {
		for _, r := range rules.All() {
			ids = append(ids, r.ID+"\t"+r.Summary)
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// completeService offers the services that the policy of --policy has grants for.
func completeService(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	path, err := cmd.Flags().GetString("policy")
	if err != nil || path == "" || len(args) > 0 {
		return nil, none
	}
	bundle, err := loadPolicy(cmd.Context(), path)
	if err != nil {
		return nil, none
	}
	grants, err := policy.ParseGrants(bundle.Data)
	if err != nil {
		return nil, none
	}
	var names []string
	for name := range grants.Services {
		if report.Text(name) == name { // what a terminal shows as it is
			names = append(names, name)
		}
	}
	return names, none
}

// severities lists them from the worst on.
func severities() []string {
	return []string{string(policy.SeverityError), string(policy.SeverityWarning), string(policy.SeverityNote)}
}
