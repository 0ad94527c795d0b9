package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/llorch/secrets-management/internal/asnobody"
)

const bashCompletion = "/usr/share/bash-completion/bash_completion"

// typed loads the completion into a real bash and asks it, as the key does, for what may follow each line. One bash answers
// all of them.
const typed = `
source ` + bashCompletion + `
source <(secretcheck completion bash) || exit 1
compopt() { :; } # it refuses to work unless a key was pressed
while IFS= read -r line; do
	COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9 COMP_KEY=9 COMPREPLY=()
	read -ra COMP_WORDS <<<"${line//=/ = }"
	[[ $line != *[\ =] ]] || COMP_WORDS+=("")
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	__start_secretcheck
	for reply in "${COMPREPLY[@]}"; do printf '%s|' "${reply%% *}"; done
	echo
done
`

// TestCHK1152Bash: CHK-1152. In a real bash, commands, flags and what flags take are completed.
func TestCHK1152Bash(t *testing.T) {
	if _, err := os.Stat(bashCompletion); err != nil {
		asnobody.NotRun(t, "apt-get install bash-completion")
		return
	}
	dir := t.TempDir()
	for _, name := range []string{"grants/data.json", "reports/old.json"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		const grants = `{"secrets": {"services": {"queen-rbee": [], "pool-managerd": []}}}`
		if err := os.WriteFile(filepath.Join(dir, name), []byte(grants), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wants := [][2]string{
		{"secretcheck che", "check"},
		{"secretcheck policy bui", "build"},
		{"secretcheck check --fai", "--fail-on|--fail-on-warn"},
		{"secretcheck check --format ", "pretty|json|sarif|junit|github|markdown|html"},
		{"secretcheck check --format=ma", "markdown"},
		{"secretcheck check --output ju", "junit="},
		{"secretcheck check --output json=reports/o", "reports/old.json"}, // bash takes what stands before the = for a word of its own,
		{"secretcheck check --fail-on ", "error|warning|note"},
		{"secretcheck check --type k", "kubernetes"},
		{"secretcheck audit verify --format ", "pretty|json"},
		{"secretcheck policy can --format ", "pretty|json"},
		{"secretcheck policy can --policy grants ", "pool-managerd|queen-rbee"},
		{"secretcheck rules secret_in_env", "secret_in_environment|secret_in_environment_file"},
		{"secretcheck completion ", "bash|fish|zsh"},
		{"secretcheck help policy ch", "check"},
		{"secretcheck check --environment ", ""},
	}
	var lines, want strings.Builder
	for _, w := range wants {
		lines.WriteString(w[0] + "\n")
		want.WriteString(w[0] + " -> " + w[1] + "\n")
	}
	cmd := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-c", typed)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(lines.String())
	cmd.Env = []string{"PATH=" + filepath.Dir(program(t).Path) + ":" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var got strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		replies := strings.Split(strings.TrimSuffix(line, "|"), "|")
		if i >= len(wants) {
			t.Fatalf("more than was asked for: %s", out)
		}
		if sorted := strings.Split(wants[i][1], "|"); sameSet(replies, sorted) {
			replies = sorted // the order is the shell's
		}
		got.WriteString(wants[i][0] + " -> " + strings.Join(replies, "|") + "\n")
	}
	if got.String() != want.String() {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want.String())
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// TestCHK1152Flags: CHK-1152. There is no flag with a value that shells would complete with files where it takes none.
func TestCHK1152Flags(t *testing.T) {
	for _, cmd := range every(newRoot()) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			name, _ := pflag.UnquoteUsage(f)
			_, found := cmd.GetFlagCompletionFunc(f.Name)
			if files := strings.Contains(name, "DIR") || strings.Contains(name, "FILE"); name != "" && !files && !found {
				t.Errorf("%s --%s %s completes with files", cmd.CommandPath(), f.Name, name)
			}
		})
	}
	for _, shell := range []string{"zsh", "fish"} {
		var out strings.Builder
		root := newRoot()
		root.SetArgs([]string{"completion", shell})
		root.SetOut(&out)
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), cobra.ShellCompRequestCmd) {
			t.Errorf("%s: %v %.100q", shell, err, out.String())
		}
	}
}
