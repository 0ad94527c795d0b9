package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	// more marks the flags that --help leaves out, and names what a command has to say besides. Help fits a screen: what is
	// needed now and then is in "help COMMAND --all" and in the manual page.
	more = "more"

	fits = 100 // columns
)

// rarely marks flags that --help leaves out.
func rarely(flags *pflag.FlagSet, names ...string) {
	for _, n := range names {
		flags.Lookup(n).Annotations = map[string][]string{more: nil}
	}
}

// helpOf is the help of a command: example, what it does, usage, commands, flags.
func helpOf(cmd *cobra.Command, all bool) string {
	var b strings.Builder
	if cmd.Example != "" {
		b.WriteString(cmd.Example + "\n\n")
	}
	about := cmd.Long
	if about == "" {
		about = cmd.Short
	}
	b.WriteString(strings.TrimSpace(about) + "\n\n")
	if all && cmd.Annotations[more] != "" {
		b.WriteString(strings.TrimSpace(cmd.Annotations[more]) + "\n\n")
	}
	b.WriteString(usageOf(cmd, all))
	if !all && hasMore(cmd) {
		fmt.Fprintf(&b, "\nmore flags, and the whole story: %s help %s --all\n", cmd.Root().Name(), strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" "))
	}
	return b.String()
}

func usageOf(cmd *cobra.Command, all bool) string {
	var b strings.Builder
	b.WriteString("usage: " + cmd.UseLine() + "\n")
	if cmd.HasAvailableSubCommands() {
		b.WriteString("commands:\n") // with no blank line: 16 of them fit
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-*s %s\n", c.NamePadding(), c.Name(), c.Short)
			}
		}
	}
	flags := shown(cmd.LocalFlags(), all)
	if cmd.HasAvailableSubCommands() && onlyHelp(flags) {
		return b.String() // a screen is short, and everybody knows
	}
	b.WriteString("\nflags:\n" + flags.FlagUsagesWrapped(fits))
	return b.String()
}

// shown are the flags of a help text.
func shown(flags *pflag.FlagSet, all bool) *pflag.FlagSet {
	list := pflag.NewFlagSet("", pflag.ContinueOnError)
	list.SortFlags = flags.SortFlags
	flags.VisitAll(func(f *pflag.Flag) {
		if _, rare := f.Annotations[more]; all || !rare {
			list.AddFlag(f)
		}
	})
	return list
}

func onlyHelp(flags *pflag.FlagSet) bool {
	only := true
	flags.VisitAll(func(f *pflag.Flag) { only = only && (f.Hidden || f.Name == "help") })
	return only
}

func hasMore(cmd *cobra.Command) bool {
	found := cmd.Annotations[more] != ""
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		_, rare := f.Annotations[more]
		found = found || rare
	})
	return found
}

func newHelp() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "print the help of a command",
		Example: `  secretcheck help policy build
  secretcheck help check --all`,
		DisableFlagsInUseLine: true,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if about, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				for _, c := range about.Commands() {
					if c.IsAvailableCommand() {
						names = append(names, c.Name()+"\t"+c.Short)
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usage("secretcheck --help", "there is no such command")
			}
			about.InitDefaultHelpFlag()
			fmt.Fprint(cmd.OutOrStdout(), helpOf(about, all))
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "print what --help leaves out, too")
	return cmd
}
