// Package doctest runs the commands of a Markdown page and compares what they print with what the page shows. It is for
// tests only, and needs bash.
//
// A page shows commands in blocks that are fenced as console:
//
//	```console
//	$ secretcheck policy can nobody --policy policy
//	secretcheck: nothing is granted to service "nobody"
//	hint: grants are in data.json of the policy, under secrets.services
//	$ echo $?
//	1
//	```
//
// All blocks of a page are one session in one shell, top to bottom: folders, variables and files stay. A command goes on in
// lines that begin with "> ", as in a shell. What a command prints, to stdout and stderr, has to be the lines below it, to the
// letter. A command that fails has to be followed by "$ echo $?": a reader sees then that it is meant to.
//
// Nothing that looks like a command may stay out: a block fenced as a shell's, one that is not fenced or does not say what it
// is, and a line that begins with "$ " outside of console are faults of the page.
package doctest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/internal/asnobody"
)

// Session is where the commands of a page run.
type Session struct {
	Dir string   // the working directory, and HOME; a fresh one where it is empty
	Bin []string // folders that programs are searched in first
	Env []string // NAME=VALUE, besides PATH, HOME, LC_ALL=C.UTF-8 and TERM=dumb; nothing else of the environment is passed on
}

// patience bounds a page: a command that waits for input or never ends is a fault.
const patience = 2 * time.Minute

// Run runs the page at path, and fails the test for each command whose output is not what the page shows, each that was not
// run, and a page without any.
func Run(t *testing.T, path string, s Session) {
	t.Helper()
	text, err := os.ReadFile(path) //nolint:gosec // the page that a test names
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("bash"); err != nil {
		asnobody.NotRun(t, "apt-get install bash")
		return
	}
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, p := range problems(ctx, string(text), s, t.TempDir()) {
		t.Errorf("%s:%s", path, p)
	}
}

// Prose fails the test where the page at path has a command after all. It is for pages that say nothing to type.
func Prose(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path) //nolint:gosec // the page that a test names
	if err != nil {
		t.Fatal(err)
	}
	commands, faults := parse(string(text))
	if len(commands) > 0 {
		t.Errorf("%s:%d: a command; run the page", path, commands[0].line)
	}
	for _, f := range faults {
		t.Errorf("%s:%s", path, f)
	}
}

// problems lists what is wrong with a page, each beginning with its line. The folder is for scripts and outputs.
func problems(ctx context.Context, text string, s Session, folder string) []string {
	commands, list := parse(text)
	if len(commands) == 0 {
		return append(list, "1: no command in the whole page")
	}
	results, err := run(ctx, commands, s, folder)
	if err != nil {
		list = append(list, fmt.Sprintf("1: %v", err))
	}
	for i, c := range commands {
		if i >= len(results) {
			list = append(list, fmt.Sprintf("%d: not run: %s", c.line, c.text))
			continue
		}
		r := results[i]
		if r.output != c.output {
			list = append(list, fmt.Sprintf("%d: %s\n-- the page shows --\n%s-- it prints --\n%s--", c.line, c.text, c.output, r.output))
		}
		told := i+1 < len(commands) && commands[i+1].text == "echo $?"
		if r.code != "0" && !told {
			list = append(list, fmt.Sprintf("%d: %s: exit code %s, and no \"$ echo $?\" behind it", c.line, c.text, r.code))
		}
	}
	return list
}

// result is what became of a command.
type result struct{ output, code string }

// run runs the commands in one shell. It returns the results of those that ran, which is fewer where one ended the shell.
func run(ctx context.Context, commands []command, s Session, folder string) ([]result, error) {
	var driver strings.Builder
	// The exit code of a command is what the next one finds in $?, as at a prompt.
	driver.WriteString("doctest_code=0\n")
	name := func(i int, kind string) string { return filepath.Join(folder, fmt.Sprintf("%d.%s", i, kind)) }
	for i, c := range commands {
		if err := os.WriteFile(name(i, "sh"), []byte(c.text+"\n"), 0o600); err != nil {
			return nil, err
		}
		fmt.Fprintf(&driver, "(exit $doctest_code); . %s </dev/null >%s 2>&1\ndoctest_code=$?\necho $doctest_code >%s\n",
			name(i, "sh"), name(i, "out"), name(i, "code"))
	}
	all := filepath.Join(folder, "all.sh")
	if err := os.WriteFile(all, []byte(driver.String()), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "bash", "--noprofile", "--norc", all) //nolint:gosec // commands of our own pages
	cmd.Dir = s.Dir
	path := strings.Join(append(append([]string{}, s.Bin...), os.Getenv("PATH")), string(os.PathListSeparator))
	cmd.Env = append([]string{"PATH=" + path, "HOME=" + s.Dir, "LC_ALL=C.UTF-8", "TERM=dumb"}, s.Env...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("the page did not end: %w", ctx.Err())
	case errors.As(err, &exit):
		err = nil // of the last command, or of the one that ended the shell, after which the results are missing
	}
	if err == nil && len(out) > 0 {
		err = fmt.Errorf("the shell says %q", out)
	}
	return results(commands, name), err
}

func results(commands []command, name func(int, string) string) []result {
	var list []result
	for i := range commands {
		code, err := os.ReadFile(name(i, "code"))
		if err != nil {
			break
		}
		output, err := os.ReadFile(name(i, "out"))
		if err != nil {
			break
		}
		if len(output) > 0 && output[len(output)-1] != '\n' {
			output = append(output, '\n') // a page cannot show the difference
		}
		list = append(list, result{string(output), strings.TrimSpace(string(code))})
	}
	return list
}
