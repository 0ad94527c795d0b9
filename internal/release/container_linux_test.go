package release

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/llorch/secrets-management/internal/asnobody"
)

// TestCHK1158Container: CHK-1158. The image holds the one file, is built on nothing, and runs as a user with no rights and without a
// shell.
func TestCHK1158Container(t *testing.T) {
	text, err := os.ReadFile("../../Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	const want = `FROM scratch
COPY --chmod=0555 bin/secretcheck /secretcheck
USER 65532:65532
WORKDIR /work
ENTRYPOINT ["/secretcheck"]`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("Containerfile is\n%s\nwant\n%s", got, want)
	}
	ignored, err := os.ReadFile("../../.dockerignore")
	if err != nil || !strings.HasSuffix(string(ignored), "\n*\n!bin/secretcheck\n") {
		t.Errorf("more than the program goes to the engine: %v %q", err, ignored)
	}
	reproducible, err := os.ReadFile("../../.ci/reproducible")
	if err != nil {
		t.Fatal(err)
	}
	has(t, string(reproducible), "build bin/secretcheck", `-trimpath -buildvcs=false -ldflags='-s -w -buildid='`)
}

// TestCHK1158Static: CHK-1158. The program needs no loader and no library.
func TestCHK1158Static(t *testing.T) {
	f, err := elf.Open(program(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it is linked dynamically: %v", p.Type)
		}
	}
	if len(f.Progs) == 0 {
		t.Error("no segments")
	}
}

// TestCHK1158NothingElse: CHK-1158. The program does its work as uid 65532 in a root with nothing but itself and the folder to check:
// no /etc, /proc, /dev or /tmp, and no network. This is not an image, which takes an engine to build and to run.
func TestCHK1158NothingElse(t *testing.T) {
	if !asnobody.Root(t) {
		return
	}
	root := t.TempDir()
	binary, err := os.ReadFile(program(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "secretcheck"), binary, 0o555); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(root, "work"), os.DirFS(project(t, true))); err != nil {
		t.Fatal(err)
	}
	open(t, root)
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"version", 0, "secretcheck "},
		{"check deploy --policy policy", 1, "denied"},
		{"check deploy --policy policy --root /work", 4, "root: "}, // it looks through /proc, which engines mount
		{"policy check policy", 0, "0 errors"},
		{"policy can queen-rbee --policy policy", 0, "queen-rbee may"},
		{"check deploy --policy policy --output json=report.json", 4, "hint: "}, // the folder is another user's
	} {
		cmd := exec.CommandContext(t.Context(), "/secretcheck", strings.Fields(c.args)...)
		cmd.Path, cmd.Dir, cmd.Env = "/secretcheck", "/work", []string{}
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}, Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if cmd.ProcessState.ExitCode() != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: exit code %d, want %d with %q\n%s", c.args, cmd.ProcessState.ExitCode(), c.code, c.want, out.String())
		}
	}
}

// open lets others read all of a folder, up to the root.
func open(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := os.FileMode(0o444)
		if d.IsDir() || d.Name() == "secretcheck" {
			mode = 0o555
		}
		return os.Chmod(name, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
}
