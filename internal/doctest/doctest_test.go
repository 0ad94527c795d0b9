package doctest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// block is a console block of lines.
func block(lines ...string) string {
	return "# A page\n\n```console\n" + strings.Join(lines, "\n") + "\n```\n\nText.\n"
}

// TestCHK1150Right: CHK-1150. What is right passes: several commands, one session, folders and variables that stay, a
// command over several lines, an exit code that is meant, output of both kinds and none.
func TestCHK1150Right(t *testing.T) {
	page := block("$ echo a; echo b >&2", "a", "b", "$ mkdir x && cd x && v=1", "$ echo $v; basename $PWD", "1", "x",
		"$ cat >f <<'END'", "> first", ">", "> > third", "> END", "$ cat f; echo end", "first", "", "> third", "end", "$ false", "$ echo $?", "1") +
		"\n```json\n{}\n```\n" + block("$ printf f", "f", "$ (exit 7)", "$ echo $?", "7", "$ echo $?", "0", "$ cat # stdin is empty")
	if got := tried(t, page); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

// TestCHK1150Wrong: CHK-1150. Each of these would be a page that says what is not so, and is told about.
func TestCHK1150Wrong(t *testing.T) {
	const missing = "no command in the whole page"
	for name, c := range map[string]struct{ page, want string }{
		"another output":           {block("$ echo a", "b"), "4: echo a\n-- the page shows --\nb\n-- it prints --\na\n--"},
		"more than shown":          {block("$ echo a; echo b", "a"), "it prints --\na\nb\n"},
		"less than shown":          {block("$ echo a", "a", ""), "the page shows --\na\n\n"},
		"white space":              {block("$ echo 'a '", "a"), "it prints --\na \n"},
		"output on stderr":         {block("$ echo a >&2"), "it prints --\na\n"},
		"a failure nobody told of": {block("$ false"), `4: false: exit code 1, and no "$ echo $?" behind it`},
		"another code":             {block("$ false", "$ echo $?", "0"), "it prints --\n1\n"},
		"an unknown program":       {block("$ no-such-program"), "exit code 127"},
		"not shell":                {block("$ echo )"), "syntax error"},
		"the shell ends":           {block("$ exit 0", "$ echo a", "a"), "4: not run: exit 0"},
		"and what is behind it":    {block("$ exit 0", "$ echo a", "a"), "5: not run: echo a"},
		"never ends":               {block("$ sleep 5", "$ echo a", "a"), "the page did not end"},
		"no command":               {"# Nothing\n", missing},
		"an empty block":           {"```console\n```\n" + block("$ :"), "2: a console block without a command"},
		"output first":             {block("a", "$ echo a", "a"), "4: output before the first command"},
		"a comment first":          {block("# look", "$ :"), "4: output before the first command"},
		"another fence":            {"```sh\necho a\n```\n" + block("$ :"), "1: a sh block is not run"},
		"another console":          {"```text\n$ echo a\n```\n" + block("$ :"), "2: a command outside of a console block"},
		"in the text":              {"    $ echo a\n" + block("$ :"), "1: a command outside of a console block"},
		"no fence":                 {"```\necho a\n```\n" + block("$ :"), "1: the block does not say what it is"},
		"tildes":                   {"~~~bash\necho a\n~~~\n" + block("$ :"), "1: a bash block is not run"},
		"indented":                 {"  ```console\n  $ :\n  ```\n" + block("$ :"), "1: an indented block"},
		"not closed":               {block("$ :") + "```console\n$ :\n", "the block is not closed"},
		"closed by another":        {"```console\n$ :\n~~~\n" + block("$ :"), "it prints --\n--"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(tried(t, c.page), "\n"); !strings.Contains(got, c.want) {
				t.Errorf("%q lacks %q", got, c.want)
			}
		})
	}
}

func tried(t *testing.T, page string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return problems(ctx, page, Session{Dir: t.TempDir()}, t.TempDir())
}

// TestCHK1150Session: CHK-1150. The environment of a page is that of its session, whoever runs the test.
func TestCHK1150Session(t *testing.T) {
	t.Setenv("SECRET_OF_THE_JOB", "not-a-secret")
	bin, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "ours"), []byte("#!/bin/sh\necho ours\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(t.TempDir(), "page.md")
	text := block("$ ours", "ours", `$ test "$HOME" = "$PWD" && touch here`, `$ echo "$ADDED $LC_ALL $TERM<$SECRET_OF_THE_JOB>"`, "yes C.UTF-8 dumb<>")
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	Run(t, page, Session{Dir: dir, Bin: []string{bin}, Env: []string{"ADDED=yes"}})
	if _, err := os.Stat(filepath.Join(dir, "here")); err != nil {
		t.Error(err)
	}
}

// TestCHK1150Parse: CHK-1150. A command has the line of its prompt.
func TestCHK1150Parse(t *testing.T) {
	got, faults := parse("````console\n$ a \\\n>  b\n```\n> c\n````\n```console\n$ d\n```\n")
	want := []command{{2, "a \\\n b", "```\n> c\n"}, {8, "d", ""}}
	if !slices.Equal(got, want) || len(faults) > 0 {
		t.Errorf("%+v %q", got, faults)
	}
}
