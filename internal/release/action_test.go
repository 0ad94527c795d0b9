package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// action is a composite action of GitHub.
type action struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	Inputs      map[string]struct {
		Description string  `yaml:"description"`
		Default     *string `yaml:"default"`
		Required    bool    `yaml:"required"`
	} `yaml:"inputs"`
	Outputs map[string]struct {
		Description string `yaml:"description"`
		Value       string `yaml:"value"`
	} `yaml:"outputs"`
	Runs struct {
		Using string       `yaml:"using"`
		Steps []actionStep `yaml:"steps"`
	} `yaml:"runs"`
}

type actionStep struct {
	ID    string            `yaml:"id"`
	Uses  string            `yaml:"uses"`
	With  map[string]string `yaml:"with"`
	Shell string            `yaml:"shell"`
	Env   map[string]string `yaml:"env"`
	Run   string            `yaml:"run"`
}

// TestCHK1157ActionIsPinned: CHK-1157. What the action uses is named by its commit, and no expression is part of a script: an input
// would be a command.
func TestCHK1157ActionIsPinned(t *testing.T) {
	var a action
	strictly(t, "action.yml", &a)
	pinned := regexp.MustCompile(`^[a-z0-9-]+/[a-z0-9-]+@[0-9a-f]{40}$`)
	used := map[string]bool{}
	runs, uses := 0, 0
	for _, s := range a.Runs.Steps {
		if s.Uses != "" {
			uses++
			if !pinned.MatchString(s.Uses) {
				t.Errorf("%q is not pinned by a commit", s.Uses)
			}
		}
		if s.Run != "" {
			runs++
		}
		if strings.Contains(s.Run, "${{") {
			t.Errorf("an expression in a script: %s", s.Run)
		}
		for _, v := range s.Env {
			used[v] = true
		}
	}
	if a.Runs.Using != "composite" || runs == 0 || uses == 0 || len(a.Inputs) == 0 {
		t.Errorf("%+v", a)
	}
	for name, input := range a.Inputs {
		if !used["${{ inputs."+name+" }}"] || input.Default == nil || input.Description == "" {
			t.Errorf("input %s is used by nothing, or has no default or description", name)
		}
	}
}

// TestCHK1157ActionRuns: CHK-1157. The script of the action, run as GitHub does, annotates the change, leaves both reports, and fails
// as the check does. Inputs are no commands, and nothing is installed that can change under its name.
func TestCHK1157ActionRuns(t *testing.T) {
	inputs := func(more ...string) map[string]string {
		m := map[string]string{"paths": "deploy\n", "policy": "policy"}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	for name, c := range map[string]struct {
		broken bool
		inputs map[string]string
		code   int
		wants  []string
		sarif  string
	}{
		"denied":       {true, inputs(), 1, []string{"::error file=deploy/batch-runner.service,line="}, "secretcheck.sarif"},
		"good":         {false, inputs("sarif", "out.sarif", "flags", "--unused-grants\n\n--fail-on=error"), 0, nil, "out.sarif"},
		"no policy":    {false, inputs("policy", ""), 4, []string{"hint: add --policy"}, ""},
		"a command":    {false, inputs("paths", "$(touch hacked)\n`touch hacked`;touch hacked"), 4, nil, ""},
		"a flag":       {false, inputs("paths", "--no-config"), 4, nil, ""},
		"latest":       {false, inputs("version", "latest"), 4, []string{"::error title=secretcheck::version is a release"}, ""},
		"a branch":     {false, inputs("version", "main"), 4, []string{"::error"}, ""},
		"v1 and more":  {false, inputs("version", "v1.0.0\n::warning::x"), 4, []string{"::error"}, ""},
		"no report":    {false, inputs("sarif", ""), 4, []string{"::error"}, ""},
		"two outputs":  {false, inputs("sarif", "a\nexit-code=0"), 4, []string{"::error"}, ""},
		"in a config":  {true, map[string]string{"flags": "--config=c.yaml"}, 1, []string{"::error file=deploy/"}, "secretcheck.sarif"},
		"no such path": {false, inputs("paths", "nowhere"), 4, nil, ""},
		"a release":    {true, inputs("version", "v1.2.3"), 1, []string{"install -trimpath github.com/llorch/secrets-management/cmd/secretcheck@v1.2.3\n", "::error file="}, "secretcheck.sarif"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := project(t, c.broken)
			write(t, filepath.Join(dir, "c.yaml"), "paths: deploy\npolicy: policy\n")
			// One of them builds; the others get what that builds, from a go that says what it was asked for.
			code, out, files := act(t, dir, c.inputs, name != "denied")
			if code != c.code {
				t.Errorf("exit code %d, want %d: %s", code, c.code, out)
			}
			has(t, out, c.wants...)
			if strings.Contains(out, "\n::warning::x") {
				t.Errorf("an input is a command to GitHub: %s", out)
			}
			if _, err := os.Stat(filepath.Join(dir, "hacked")); err == nil {
				t.Error("an input was run")
			}
			if c.sarif == "" {
				return
			}
			report, err := os.ReadFile(filepath.Join(dir, c.sarif))
			if err != nil {
				t.Fatal(err)
			}
			has(t, string(report), `"2.1.0"`)
			has(t, files["summary"], "secretcheck")
			has(t, files["output"], "exit-code="+string(rune('0'+c.code))+"\n", "sarif="+c.sarif+"\n")
		})
	}
}

// act runs the scripts of the action in a folder, as a runner does.
func act(t *testing.T, dir string, inputs map[string]string, built bool) (code int, out string, files map[string]string) {
	t.Helper()
	var a action
	strictly(t, "action.yml", &a)
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	ours := t.TempDir()
	env := append(os.Environ(), "GITHUB_ACTION_PATH="+root, "GITHUB_STEP_SUMMARY="+filepath.Join(ours, "summary"), "GITHUB_OUTPUT="+filepath.Join(ours, "output"))
	if built {
		write(t, filepath.Join(ours, "go"), "#!/bin/sh\necho \"$*\" >&2\n"+
			"if [ $1 = install ]; then cp "+program(t)+" \"$GOBIN/\"; else while [ \"$1\" != -o ]; do shift; done; cp "+program(t)+" \"$2\"; fi\n")
		env = append(env, "PATH="+ours+":"+os.Getenv("PATH"))
	}
	for _, s := range a.Runs.Steps {
		if s.Run == "" {
			continue
		}
		for name, value := range s.Env {
			input := strings.TrimSuffix(strings.TrimPrefix(value, "${{ inputs."), " }}")
			given, ok := inputs[input]
			if !ok {
				given = *a.Inputs[input].Default
			}
			env = append(env, name+"="+given)
		}
		cmd := exec.CommandContext(t.Context(), s.Shell, "--noprofile", "--norc", "-eo", "pipefail", "-c", s.Run)
		cmd.Dir, cmd.Env = dir, env
		output, _ := cmd.CombinedOutput() // see the exit code
		out += string(output)
		code = max(code, cmd.ProcessState.ExitCode())
	}
	files = map[string]string{}
	for _, name := range []string{"summary", "output"} {
		text, _ := os.ReadFile(filepath.Join(ours, name)) // none where the check gave no result
		files[name] = string(text)
	}
	return code, out, files
}
