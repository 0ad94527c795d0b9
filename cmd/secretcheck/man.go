package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "write the manual pages into a folder",
		Example: `  secretcheck man ~/.local/share/man/man1
  man secretcheck-check`,
		Long: `Write a manual page for each command, and replace those that are there. They are
made from what help says. With SOURCE_DATE_EPOCH they have its day, else none, so
that the same program writes the same pages.

exit codes: 4 bad usage, or a page cannot be written, 0 otherwise`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("secretcheck man DIR", "man takes one folder")
			}
			day, err := sourceDate(os.Getenv("SOURCE_DATE_EPOCH"))
			if err != nil {
				return err
			}
			pages := map[string]string{}
			manual(cmd.Root(), day, pages)
			if err := os.MkdirAll(args[0], 0o755); err != nil { //nolint:gosec // for everybody to read
				return usage(fileHint, "output: %w", short(err))
			}
			for name, page := range pages {
				if err := replaceFile(filepath.Join(args[0], name), []byte(page), 0o644); err != nil {
					return usage(fileHint, "output: %w", short(err))
				}
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "wrote %d pages to %s\n", len(pages), report.Text(args[0]))
			return nil
		},
	}
}

// sourceDate is the day that reproducible-builds.org/specs/source-date-epoch asks for, "" where it does not.
func sourceDate(epoch string) (string, error) {
	if epoch == "" {
		return "", nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return "", usage("unset it, or set it to seconds since 1970", "SOURCE_DATE_EPOCH is not a number: %q", epoch)
	}
	return time.Unix(seconds, 0).UTC().Format(time.DateOnly), nil
}

// manual adds the pages of a command and of all below it, by their file names.
func manual(cmd *cobra.Command, day string, pages map[string]string) {
	pages[pageName(cmd)+".1"] = page(cmd, day)
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			manual(c, day, pages)
		}
	}
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// page is the manual page of a command in the macros of man(7).
func page(cmd *cobra.Command, day string) string {
	cmd.InitDefaultHelpFlag()
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"%s\" \"secretcheck %s\" \"secretcheck\"\n.nh\n.ad l\n", roff(strings.ToUpper(pageName(cmd))), day, roff(version()))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(pageName(cmd)), roff(cmd.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.nf\n%s\n.fi\n", roff(cmd.UseLine()))
	about, codes, _ := strings.Cut(cmd.Long, "\n\nexit codes")
	b.WriteString(".SH DESCRIPTION\n")
	if about == "" {
		about = cmd.Short
	}
	paragraphs(&b, strings.TrimSpace(about+"\n\n"+cmd.Annotations[more]))
	commands(&b, cmd)
	b.WriteString(".SH OPTIONS\n")
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			option(&b, f)
		}
	})
	if codes != "" {
		b.WriteString(".SH EXIT STATUS\n")
		paragraphs(&b, strings.TrimLeft(codes, ":, "))
	}
	b.WriteString(".SH EXAMPLES\n")
	paragraphs(&b, cmd.Example)
	seeAlso(&b, cmd)
	return b.String()
}

// paragraphs sets a text; what is indented stays as it is.
func paragraphs(b *strings.Builder, text string) {
	for i, p := range strings.Split(text, "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		if strings.HasPrefix(p, "  ") {
			fmt.Fprintf(b, ".nf\n%s\n.fi\n", roff(p))
		} else {
			b.WriteString(roff(p) + "\n")
		}
	}
}

func commands(b *strings.Builder, cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	b.WriteString(".SH COMMANDS\n")
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			fmt.Fprintf(b, ".TP\n\\fB%s\\fR(1)\n%s\n", roff(pageName(c)), roff(c.Short))
		}
	}
}

func option(b *strings.Builder, f *pflag.Flag) {
	b.WriteString(".TP\n")
	if f.Shorthand != "" {
		fmt.Fprintf(b, "\\fB\\-%s\\fR, ", f.Shorthand)
	}
	fmt.Fprintf(b, "\\fB\\-\\-%s\\fR", roff(f.Name))
	value, text := pflag.UnquoteUsage(f)
	if value != "" {
		fmt.Fprintf(b, " \\fI%s\\fR", roff(value))
	}
	b.WriteString("\n" + roff(text))
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" {
		fmt.Fprintf(b, " (default %s)", roff(f.DefValue))
	}
	b.WriteString("\n")
}

// seeAlso names the command that this one belongs to, and those beside it.
func seeAlso(b *strings.Builder, cmd *cobra.Command) {
	var names []string
	if cmd.HasParent() {
		names = append(names, pageName(cmd.Parent()))
		for _, c := range cmd.Parent().Commands() {
			if c.IsAvailableCommand() && c != cmd {
				names = append(names, pageName(c))
			}
		}
	}
	if len(names) > 0 {
		fmt.Fprintf(b, ".SH SEE ALSO\n\\fB%s\\fR(1)\n", strings.Join(strings.Split(roff(strings.Join(names, "\n")), "\n"), "\\fR(1),\n\\fB"))
	}
}

// roff writes a text so that troff prints it as it is: no line of it is a request, and a hyphen can be pasted.
func roff(text string) string {
	var b strings.Builder
	start := true
	for _, r := range text {
		switch {
		case start && (r == '.' || r == '\''):
			b.WriteString(`\&` + string(r))
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case r == '"':
			b.WriteString(`\(dq`)
		case r == '\'':
			b.WriteString(`\(aq`)
		case r == '`':
			b.WriteString(`\(ga`)
		case r == '^':
			b.WriteString(`\(ha`)
		case r == '~':
			b.WriteString(`\(ti`)
		case r > '~':
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
		start = r == '\n'
	}
	return b.String()
}
