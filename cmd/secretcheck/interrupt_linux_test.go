package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// program is this test binary as secretcheck.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "secretcheck") // testscript runs the command that it is called
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	return exec.Command(link, args...)
}

// TestCHK1046Interrupt: CHK-1046. Whoever presses ^C while a check waits or works gets no report, and no pass.
func TestCHK1046Interrupt(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		interrupt(t, program(t, "check", "-", "--policy", "../../examples/policy"), []byte("# more than a pipe holds\n"), signal)
	}
}

// interrupt signals a command while it reads what never ends, and wants no result of it.
func interrupt(t *testing.T, cmd *exec.Cmd, line []byte, signal syscall.Signal) {
	t.Helper()
	endless, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer endless.Close()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := endless.Write(bytes.Repeat(line, 10_000)); err != nil { // until it reads
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("%v: ended with %v", signal, err)
	}
	if exit.ExitCode() != exitInterrupted || stdout.Len() > 0 || !strings.Contains(stderr.String(), "interrupted; there is no result") {
		t.Errorf("%v: code %d, %q, %q", signal, exit.ExitCode(), stdout.String(), stderr.String())
	}
}

// TestCHK1046Terminal: CHK-1046. On a real terminal the line is there while the check works, and gone at its end.
func TestCHK1046Terminal(t *testing.T) {
	dir := t.TempDir()
	for i := range 6000 {
		text := fmt.Sprintf("[Service]\nLoadCredential=api_token:/etc/llorch/secrets/api-token\nLoadCredential=other:/etc/x%d\n", i)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("queen-rbee-%d.service", i)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	screen, name := terminal(t)
	tty, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := program(t, "check", dir, "--policy", "../../examples/policy")
	cmd.Stderr = tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = tty.Close()
	var shown bytes.Buffer
	_, _ = shown.ReadFrom(screen) // ends with an error once nobody has the terminal open
	_ = cmd.Wait()                // it is denied
	text := shown.String()
	if !strings.Contains(text, "\r\x1b[Kjudged ") || !strings.HasSuffix(text, "\r\x1b[K") {
		t.Errorf("on the terminal: %.300q … %q", text, text[max(0, len(text)-60):])
	}
}

// TestCHK1155InterruptLongRuns: CHK-1155. What is at work says so on a terminal, ^C ends it, and nothing is left of it: of an audit
// log that has no end, and of a policy that takes seconds.
func TestCHK1155InterruptLongRuns(t *testing.T) {
	for said, args := range map[string][]string{
		"verified 0 MB":       {"audit", "verify", "endless", "--output", "json=result"},
		"reading folder, 0 ":  {"policy", "can", "a", "--policy", "folder"},
		"building folder, 0 ": {"policy", "build", "folder", "-o", "result"},
		"checking folder, 0 ": {"policy", "check", "folder"},
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			dir := t.TempDir()
			grants(t, filepath.Join(dir, "folder"))
			endless := filepath.Join(dir, "endless")
			if err := syscall.Mkfifo(endless, 0o600); err != nil {
				t.Fatal(err)
			}
			keep, err := os.OpenFile(endless, os.O_RDWR, 0) // who reads waits for more
			if err != nil {
				t.Fatal(err)
			}
			defer keep.Close()
			cmd := program(t, args...)
			cmd.Dir = dir
			code, stdout, shown := interrupted(t, cmd, said)
			if code != exitInterrupted || stdout != "" || !strings.HasSuffix(shown, "\r\x1b[Ksecretcheck: interrupted; there is no result\r\n") {
				t.Errorf("code %d, %q, %q", code, stdout, shown)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

// interrupted runs a program on a terminal until that shows a text, and presses ^C then.
func interrupted(t *testing.T, cmd *exec.Cmd, text string) (code int, out, shown string) {
	t.Helper()
	screen, name := terminal(t)
	tty, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = tty.Close()
	sent := false
	for chunk := make([]byte, 4096); ; {
		n, err := screen.Read(chunk)
		shown += string(chunk[:n])
		if strings.Contains(shown, text) && !sent {
			sent = true
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil { // nobody has the terminal open any more
			break
		}
	}
	_ = cmd.Wait() // see the exit code
	return cmd.ProcessState.ExitCode(), stdout.String(), shown
}

// grants makes a policy that takes seconds to build.
func grants(t *testing.T, dir string) {
	t.Helper()
	var b strings.Builder
	b.WriteString(`{"secrets": {"services": {"a": [`)
	for i := range 100_000 {
		fmt.Fprintf(&b, `{"id": "g%d", "actions": ["load_secret"], "source": "file", "paths": ["/etc/llorch/%d"]},`, i, i)
	}
	b.WriteString(`{"id": "g", "actions": ["load_secret"], "source": "file", "paths": ["/etc/llorch/x"]}]}}}`)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data.json"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// terminal opens a new pseudo-terminal (pty(7)).
func terminal(t *testing.T) (screen *os.File, name string) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return screen, fmt.Sprintf("/dev/pts/%d", n)
}

// TestCHK1243Interrupt: CHK-1243. ^C ends a replay that waits for more of a log, without a result.
func TestCHK1243Interrupt(t *testing.T) {
	entry := []byte(`{"decision_id":"a","path":"secrets/load/decision","input":{},"result":{}}` + "\n")
	interrupt(t, program(t, "policy", "replay", "-", "../../examples/policy"), entry, syscall.SIGINT)
}
