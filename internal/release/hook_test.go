package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// hook is one of https://pre-commit.com/#creating-new-hooks.
type hook struct {
	ID            string   `yaml:"id"`
	Name          string   `yaml:"name"`
	Description   string   `yaml:"description"`
	Entry         string   `yaml:"entry"`
	Language      string   `yaml:"language"`
	Files         string   `yaml:"files"`
	PassFilenames *bool    `yaml:"pass_filenames"`
	Args          []string `yaml:"args"`
}

// strictly decodes a YAML file of the repository, with no key but those that the type has.
func strictly(t *testing.T, file string, into any) {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := yaml.NewDecoder(f)
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// TestCHK1156Hook: CHK-1156. In a real repository the command of the hook lets a good change through, and stops one that would be
// denied, with the reason.
func TestCHK1156Hook(t *testing.T) {
	var hooks []hook
	strictly(t, ".pre-commit-hooks.yaml", &hooks)
	if len(hooks) != 1 || hooks[0].ID != "secretcheck" || hooks[0].Language != "golang" || hooks[0].PassFilenames == nil || *hooks[0].PassFilenames {
		t.Fatalf("%+v", hooks)
	}
	files := regexp.MustCompile(hooks[0].Files)
	for name, want := range map[string]bool{
		"deploy/a.service": true, "deploy/a.service.d/b.conf": true, "k8s/a.yaml": true, "compose.yml": true, "a.container": true,
		"pod.kube": true, "policy/data.json": true, "policy/site.rego": true, "web/.env": true, "main.go": false, "README.md": false,
	} {
		if files.MatchString(name) != want {
			t.Errorf("%s: the hook runs: %v", name, !want)
		}
	}
	dir := project(t, false)
	write(t, filepath.Join(dir, ".secretcheck.yaml"), "paths: [deploy]\npolicy: policy\n")
	git := repository(t, dir)
	git("init", "-q")
	// As pre-commit runs it: entry and args, no names, and the output only where it fails.
	write(t, filepath.Join(dir, ".git", "hooks", "pre-commit"), "#!/bin/sh\nexec "+hooks[0].Entry+" "+strings.Join(hooks[0].Args, " ")+" >&2\n")
	git("add", ".")
	if out, err := git("commit", "-qm", "good"); err != nil {
		t.Errorf("a good change is refused: %v: %s", err, out)
	}
	breakIt(t, dir)
	git("add", ".")
	out, err := git("commit", "-qm", "bad")
	if err == nil {
		t.Error("a bad change is let through")
	}
	has(t, out, "denied", "deploy/batch-runner.service:", "next: ")
	if log, _ := git("log", "--format=%s"); log != "good\n" {
		t.Errorf("committed: %s", log)
	}
}

// repository returns a git that works in dir, with secretcheck among the programs and no settings but these.
func repository(t *testing.T, dir string) func(args ...string) (string, error) {
	t.Helper()
	path := filepath.Dir(program(t)) + ":" + os.Getenv("PATH")
	return func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = []string{
			"PATH=" + path, "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org",
			"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}
