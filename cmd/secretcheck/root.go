package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
)

// world is everything that a run touches besides the files it is pointed at.
type world struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// The exit codes are an interface. Of several that apply, the highest in this list is given.
const (
	exitPolicy    = 5 // policy or engine error
	exitInput     = 4 // bad input or usage
	exitDenied    = 1
	exitUndecided = 3
	exitWarned    = 2 // only with --fail-on-warn
	exitClean     = 0

	exitInterrupted = 130 // 128 and SIGINT, as shells have it
)

// failure is an error with the exit code that it means. A failure without a message has been reported already.
type failure struct {
	code int
	err  error
	hint string
}

func (f *failure) Error() string {
	if f.err == nil {
		return ""
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

func usage(hint, format string, args ...any) error {
	return &failure{exitInput, fmt.Errorf(format, args...), hint}
}

// run is the whole program. Results go to stdout, everything for people to stderr.
func run(w world) int {
	root := newRoot()
	root.SetArgs(w.args)
	root.SetIn(w.stdin)
	root.SetOut(w.stdout)
	root.SetErr(w.stderr)
	ctx, stop := interruptible()
	defer stop()
	command, err := root.ExecuteContextC(ctx)
	switch {
	case ctx.Err() != nil: // whatever came of it: a part of a result is none
		err = &failure{exitInterrupted, errors.New("interrupted; there is no result"), ""}
	case err == nil:
		return exitClean
	}
	var f *failure
	if !errors.As(err, &f) { // cobra's own: an unknown command or flag, too few arguments
		f = &failure{exitInput, err, command.CommandPath() + " --help"}
	}
	if f.err != nil {
		fmt.Fprintf(w.stderr, "secretcheck: %s\n", lines(f.err))
		if hint := cmp.Or(f.hint, nextStep(f.err)); hint != "" {
			fmt.Fprintf(w.stderr, "hint: %s\n", report.Text(hint))
		}
	}
	return f.code
}

// interruptible ends the work at the first ^C or request to end; the second ends the process as if nobody listened.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// lines escapes an error text, which can quote hostile input, and keeps its line breaks: a compiler has more than one
// thing to say.
func lines(err error) string { return report.Lines(err.Error()) }

func newRoot() *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:                   "secretcheck COMMAND",
		Short:                 "check that services ask only for the secrets that a policy grants",
		DisableFlagsInUseLine: true,
		Example: `  secretcheck check deploy/ --policy policy/
  secretcheck policy build policy/ -o policy.tar.gz
  secretcheck policy can queen-rbee --policy policy.tar.gz
  secretcheck audit verify /var/log/llorch/audit.jsonl*`,
		Long: `Check before a rollout that services ask only for the secrets that the policy
grants them, and that every load will succeed. No secret is kept or shown.

exit codes, of several the first: 5 policy or engine error, 4 bad input or
usage, 1 denied, 3 undecided, 2 warnings with --fail-on-warn, 0 clean`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			if version && len(args) == 0 {
				return printVersion(cmd.OutOrStdout())
			}
			return noCommand(cmd, args)
		},
	}
	root.Flags().BoolVar(&version, "version", false, "print the version")
	root.Flags().Lookup("version").Hidden = true // who tries it gets it
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), helpOf(cmd, false)) })
	root.SetHelpCommand(newHelp())
	root.AddCommand(newCheck(), newRules(), newPolicy(), newAudit(), newVersion(), newCompletion(), newMan())
	completeFlags(root)
	return root
}

// flagError words a bad value of a flag; the parser's own text names the function that did not understand it.
func flagError(cmd *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	if errors.As(err, &value) && value.GetFlag().Value.Type() == "bool" {
		return fmt.Errorf("--%s is true or false, not %q", value.GetFlag().Name, value.GetValue())
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		return usage(didYouMean("--"+unknown.GetSpecifiedName(), names, cmd.CommandPath()+" --help"), "%w", err)
	}
	return err
}

// noCommand refuses a bare command group: a pipeline that lost its argument must not pass.
func noCommand(cmd *cobra.Command, args []string) error {
	hint := cmd.CommandPath() + " --help"
	if len(args) > 0 {
		var names []string
		for _, c := range cmd.Commands() {
			names = append(names, c.Name())
		}
		return usage(didYouMean(args[0], names, hint), "unknown command %q", args[0])
	}
	return usage(hint, "no command given")
}
