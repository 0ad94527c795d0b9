package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/linediff"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy/rego"
)

// formatting is what policy fmt was asked to do.
type formatting struct {
	write, diff, list, fail bool
	kind                    string
}

func newPolicyFmt() *cobra.Command {
	var f formatting
	cmd := &cobra.Command{
		Use:   "fmt DIR|FILE...",
		Short: "lay out Rego as opa fmt does",
		Example: `  secretcheck policy fmt --write policy/
  secretcheck policy fmt --diff --fail policy/`,
		Long: `Lay out Rego files, and those in and beneath folders, as opa fmt does. Without a flag
the result goes to stdout. What does not parse keeps every file from being written.

exit codes, of several the first: 5 a file does not parse, 4 bad usage or no file,
1 a file is laid out otherwise, with --fail, 0 done`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("secretcheck policy fmt DIR|FILE...", "policy fmt takes folders or files")
			}
			if f.kind != "pretty" && f.kind != "json" {
				return usage("--format takes "+formatNames, "unknown format %q", f.kind)
			}
			return f.do(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&f.write, "write", "w", false, "write files instead of printing them")
	flags.BoolVarP(&f.diff, "diff", "d", false, "print what would change")
	flags.BoolVarP(&f.list, "list", "l", false, "print the names of files that would change")
	flags.BoolVar(&f.fail, "fail", false, "exit with 1 when a file would change")
	flags.StringVar(&f.kind, "format", "pretty", "print names and diffs as `F`, "+formatNames)
	return cmd
}

// laidOut is a file before and after.
type laidOut struct {
	name          string
	before, after []byte
}

func (l *laidOut) changes() bool { return string(l.before) != string(l.after) }

func (f *formatting) do(cmd *cobra.Command, args []string) error {
	names, err := regoFiles(args)
	if err != nil {
		return usage("name a file of Rego, or a folder, that can be read and, with --write, written", "fmt: %w", short(err))
	}
	if len(names) == 0 {
		return usage("name a folder that holds *.rego, or the files", "fmt: no *.rego in %s", strings.Join(args, ", "))
	}
	var files []laidOut
	changed := 0
	for _, name := range names {
		l, err := layOut(name)
		if err != nil {
			return err
		}
		if files = append(files, l); l.changes() {
			changed++
		}
	}
	if f.write {
		for i := range files {
			if err := files[i].write(); err != nil {
				return usage("name a file of Rego, or a folder, that can be read and, with --write, written", "fmt: %w", short(err))
			}
		}
	}
	if err := f.print(cmd.OutOrStdout(), files); err != nil {
		return usage(stdoutHint, "output: %w", err)
	}
	did := "would change"
	if f.write {
		did = "changed"
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%d files, %d %s\n", len(files), changed, did)
	if f.fail && changed > 0 {
		return &failure{code: exitDenied}
	}
	return nil
}

// regoFiles lists what was named, and what lies in folders but for hidden ones.
func regoFiles(args []string) ([]string, error) {
	var names []string
	for _, arg := range args {
		err := filepath.WalkDir(arg, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && name != arg && strings.HasPrefix(entry.Name(), "."):
				return fs.SkipDir
			case !entry.IsDir() && (name == arg || strings.HasSuffix(name, ".rego")):
				names = append(names, name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return names, nil
}

// maxRego bounds a file, as building does.
const maxRego = 1 << 20

func layOut(name string) (laidOut, error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return laidOut{}, usage("name folders or *.rego files", "fmt: %s: not a regular file", name)
	}
	before, err := readBounded(name, maxRego)
	if err != nil {
		return laidOut{}, usage("name a file of Rego, or a folder, that can be read and, with --write, written", "fmt: %w", short(err))
	}
	after, err := rego.Format(filepath.ToSlash(name), before)
	if err != nil {
		return laidOut{}, &failure{exitPolicy, fmt.Errorf("fmt: %w", err), "correct the Rego at that place"}
	}
	return laidOut{name, before, after}, nil
}

// write replaces a file whole or not at all, and what a link leads to rather than the link.
func (l *laidOut) write() error {
	if !l.changes() {
		return nil
	}
	name, err := filepath.EvalSymlinks(l.name)
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	return replaceFile(name, l.after, info.Mode().Perm())
}

// formatReport is the JSON form, an interface.
type formatReport struct {
	SchemaVersion int          `json:"schema_version"`
	Files         int          `json:"files"`
	Changed       []formatFile `json:"changed"`
}

type formatFile struct {
	File string `json:"file"`
	Diff string `json:"diff"`
}

func (f *formatting) print(w io.Writer, files []laidOut) error {
	out := formatReport{1, len(files), []formatFile{}}
	var b strings.Builder
	for i := range files {
		l := &files[i]
		diff := linediff.Unified(filepath.ToSlash(l.name), l.before, l.after)
		if l.changes() {
			out.Changed = append(out.Changed, formatFile{l.name, diff})
		}
		switch {
		case f.list && l.changes():
			fmt.Fprintln(&b, report.Text(l.name))
		case f.diff && l.changes():
			b.WriteString(diff)
		case !f.list && !f.diff && !f.write && !f.fail:
			b.Write(l.after)
		}
	}
	if f.kind == "json" {
		return report.Value(w, out)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
