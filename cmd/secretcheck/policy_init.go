package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/starter"
)

func newPolicyInit() *cobra.Command {
	var out outputs
	cmd := &cobra.Command{
		Use:     "init DIR",
		Short:   "write a policy to begin with into an empty folder",
		Example: `  secretcheck policy init policy/`,
		Long: `Write rules, grants, tests, requests to try the policy on, schemas for editors, and
a page for who works on it. They pass check, test and build as they are. A folder
with anything but a .git in it is left alone.

exit codes: 4 the folder is not empty, or bad usage, 0 the files are written`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("secretcheck policy init DIR", "policy init takes one folder")
			}
			if err := out.valid(); err != nil {
				return err
			}
			names, err := starter.Write(args[0])
			switch {
			case errors.Is(err, starter.ErrNotEmpty):
				return usage("name a new folder; nothing was written", "init: %w", err)
			case err != nil:
				return usage("name a new folder, beneath one that you may write to", "init: %w", short(err))
			}
			next := "DIR"
			if word, ok := report.ShellWord(args[0]); ok {
				next = word
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "wrote %d files; next: secretcheck policy test %s\n", len(names), next)
			return out.writeInit(cmd.OutOrStdout(), args[0], names)
		},
	}
	cmd.Flags().SortFlags = false
	out.register(cmd.Flags(), formatNames)
	return cmd
}

// initReport is the JSON form, an interface.
type initReport struct {
	SchemaVersion int      `json:"schema_version"`
	Folder        string   `json:"folder"`
	Files         []string `json:"files"`
}

func (o *outputs) writeInit(stdout io.Writer, dir string, names []string) error {
	return o.writeEither(stdout, initReport{1, dir, names}, func(w io.Writer) error {
		for _, name := range names {
			if _, err := fmt.Fprintln(w, name); err != nil {
				return err
			}
		}
		return nil
	})
}
