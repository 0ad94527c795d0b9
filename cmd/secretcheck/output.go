package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
)

// format is a way to write the report of a check, nil where there is none of that name.
func format(name string) func(io.Writer, check.Result) error {
	return map[string]func(io.Writer, check.Result) error{
		"pretty": report.Pretty, "json": report.JSON, "sarif": report.SARIF, "junit": report.JUnit,
		"github": report.GitHub, "markdown": report.Markdown, "html": report.HTML,
	}[name]
}

// The formats of a check, and those of every other report.
const (
	checkFormats = "pretty, json, sarif, junit, github, markdown or html"
	formatNames  = "pretty or json"
)

// formatNote is under which a flag keeps the formats that it takes.
const formatNote = "formats"

// formatsOf lists the formats that a flag takes.
func formatsOf(f *pflag.Flag) []string {
	if list := f.Annotations[formatNote]; list != nil {
		return list
	}
	return namesIn(formatNames)
}

// namesIn takes "a, b or c" apart.
func namesIn(names string) []string {
	return strings.Split(strings.ReplaceAll(names, " or ", ", "), ", ")
}

// outputs are where reports go: one format to stdout, any number to files.
type outputs struct {
	format string
	files  []string
	names  string // of the formats that there are
}

func (o *outputs) register(flags *pflag.FlagSet, names string) {
	o.names = names
	flags.StringVar(&o.format, "format", "pretty", "write the report to stdout as `F`: "+names)
	flags.StringArrayVar(&o.files, "output", nil, "write it to a file as well, as `F=FILE`; can be repeated")
	for _, name := range []string{"format", "output"} {
		flags.Lookup(name).Annotations = map[string][]string{formatNote: namesIn(names)}
	}
}

// registerOne is for commands whose --output is something else.
func (o *outputs) registerOne(flags *pflag.FlagSet) {
	o.names = formatNames
	flags.StringVar(&o.format, "format", "pretty", "write what was done as `F`: "+formatNames)
}

// writeOne writes what was done: a line on stderr, or a value to stdout for programs.
func (o *outputs) writeOne(cmd *cobra.Command, line string, value any) error {
	if o.format == "json" {
		return report.Value(cmd.OutOrStdout(), value)
	}
	fmt.Fprintln(cmd.ErrOrStderr(), line)
	return nil
}

// valid refuses before any work is done.
func (o *outputs) valid() error {
	if !o.has(o.format) {
		return usage("--format takes "+o.names, "unknown format %q", o.format)
	}
	for _, f := range o.files {
		hint := "--output takes F=FILE, F being " + o.names
		kind, name, _ := strings.Cut(f, "=")
		if name == "" {
			return usage(hint, "output %q is not F=FILE", f)
		}
		if !o.has(kind) {
			return usage(hint, "unknown format %q", kind)
		}
	}
	return nil
}

// has reports whether there is a format of that name.
func (o *outputs) has(name string) bool {
	return slices.Contains(namesIn(o.names), name)
}

// spare refuses to write a report over a file that the check has read.
func (o *outputs) spare(inputs []os.FileInfo) error {
	for _, f := range o.files {
		_, name, _ := strings.Cut(f, "=")
		target, err := os.Stat(name)
		if err != nil {
			continue // nothing there to lose; what else is wrong with it, writing tells
		}
		for _, input := range inputs {
			if os.SameFile(input, target) {
				return usage("name another file", "output: %s is an input of the check", name)
			}
		}
	}
	return nil
}

func (o *outputs) write(stdout io.Writer, r check.Result) error {
	return o.writeWith(stdout, func(w io.Writer, kind string) error {
		if kind == "pretty" {
			return styleOf(w).Pretty(w, r)
		}
		return format(kind)(w, r)
	})
}

// styleOf is for a terminal what its width and NO_COLOR (no-color.org) say, and plain for anything else.
func styleOf(w io.Writer) report.Style {
	f, ok := w.(*os.File)
	if !ok || !isTerminal(f) {
		return report.Style{}
	}
	return report.Style{Color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", Width: width(f)}
}

// writeWith writes one report in all formats that were asked for.
func (o *outputs) writeWith(stdout io.Writer, in func(w io.Writer, kind string) error) error {
	for _, f := range o.files {
		kind, name, _ := strings.Cut(f, "=")
		if err := writeReport(name, func(w io.Writer) error { return in(w, kind) }); err != nil {
			return usage(fileHint, "output: %w", short(err))
		}
	}
	if err := in(stdout, o.format); err != nil {
		return usage(stdoutHint, "output: %w", err)
	}
	return nil
}

// writeEither is writeWith for what is a value for programs, and a text for people.
func (o *outputs) writeEither(stdout io.Writer, value any, pretty func(io.Writer) error) error {
	return o.writeWith(stdout, func(w io.Writer, kind string) error {
		if kind == "json" {
			return report.Value(w, value)
		}
		return pretty(w)
	})
}

// writeReport writes a report whole or not at all, so that no run that is cut off leaves half of one. What is there and is no
// regular file, such as a pipe, is written to.
func writeReport(name string, write func(io.Writer) error) error {
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		return writeTo(name, os.O_WRONLY, write)
	}
	if err == nil {
		if name, err = filepath.EvalSymlinks(name); err != nil {
			return err
		}
	}
	beside := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"."+rand.Text())
	defer os.Remove(beside) //nolint:errcheck // gone after the rename
	if err := writeTo(beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, write); err != nil {
		return asIf(name, err)
	}
	if info != nil {
		if err := os.Chmod(beside, info.Mode().Perm()); err != nil {
			return asIf(name, err)
		}
	}
	return asIf(name, os.Rename(beside, name))
}

func writeTo(name string, flags int, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, flags, 0o666) //nolint:gosec // a report; the umask says who may read it
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("%s: %w", name, err)
	}
	return f.Close()
}
