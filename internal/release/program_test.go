package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// build makes secretcheck with the flags of a release, once.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "secretcheck")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "secretcheck")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", name, "./cmd/secretcheck")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &buildError{err, string(out)}
	}
	return name, os.Chmod(dir, 0o755)
})

type buildError struct {
	err error
	out string
}

func (e *buildError) Error() string { return e.err.Error() + ": " + e.out }

func (e *buildError) Unwrap() error { return e.err }

func TestMain(m *testing.M) {
	code := m.Run()
	if name, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(name))
	}
	os.Exit(code)
}

// program is secretcheck as a release has it.
func program(t *testing.T) string {
	t.Helper()
	name, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// project makes a folder with the policy and the good units of the examples, and with the broken one where it is asked for.
func project(t *testing.T, broken bool) string {
	t.Helper()
	dir := t.TempDir()
	for to, from := range map[string]string{"policy": "policy", "deploy": "deploy/systemd"} {
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(filepath.Join("..", "..", "examples", from))); err != nil {
			t.Fatal(err)
		}
	}
	if broken {
		breakIt(t, dir)
	}
	return dir
}

// breakIt adds the unit of the examples that is denied.
func breakIt(t *testing.T, dir string) {
	t.Helper()
	unit, err := os.ReadFile("../../examples/broken/batch-runner.service")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "deploy", "batch-runner.service"), unit, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// has fails the test where a text lacks one of others.
func has(t *testing.T, text string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}
