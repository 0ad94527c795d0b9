package keyfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pty is a terminal: what a person sees and types, and the end that a program has.
func pty(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

func echoes(t *testing.T, f *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// silent waits until the terminal echoes no more, which it did before.
func silent(t *testing.T, f *os.File) {
	t.Helper()
	for range 1000 {
		if !echoes(t, f) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the terminal still echoes")
}

type asked struct {
	text []byte
	err  error
}

func ask(ctx context.Context, f *os.File) chan asked {
	done := make(chan asked, 1)
	go func() {
		text, err := Ask(ctx, f, "passphrase")
		done <- asked{text, err}
	}()
	return done
}

// CHK-1209: what is typed is not shown, and the terminal is as before, also when nobody answers.
func TestAskDoesNotEcho(t *testing.T) {
	person, program := pty(t)
	done := ask(context.Background(), program)
	silent(t, program)
	if _, err := person.WriteString("fake-passphrase\n"); err != nil {
		t.Fatal(err)
	}
	got := <-done
	if got.err != nil || string(got.text) != "fake-passphrase" {
		t.Fatalf("got %q, %v", got.text, got.err)
	}
	if !echoes(t, program) {
		t.Error("the echo is still off")
	}
	shown := make([]byte, 1000)
	n, err := person.Read(shown)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(shown[:n]); !strings.Contains(text, "passphrase: ") || strings.Contains(text, "fake") {
		t.Errorf("shown is %q", text)
	}
}

func TestAskEndsWithItsContext(t *testing.T) {
	person, program := pty(t)
	ctx, stop := context.WithCancel(context.Background())
	before := runtime.NumGoroutine()
	done := ask(ctx, program)
	silent(t, program)
	stop()
	if got := <-done; !errors.Is(got.err, context.Canceled) || got.text != nil {
		t.Errorf("CHK-1209: got %q, %v", got.text, got.err)
	}
	if !echoes(t, program) {
		t.Error("CHK-1209: the echo is still off")
	}
	// Who reads stays until a line comes or the program ends. Here the descriptor would by then be another test's.
	if _, err := person.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("somebody still reads")
		}
	}
}

func TestAskWantsAnAnswer(t *testing.T) {
	person, program := pty(t)
	for _, answer := range []string{"", strings.Repeat("x", maxPassphrase+1)} {
		done := ask(context.Background(), program)
		silent(t, program)
		if _, err := person.WriteString(answer + "\n"); err != nil {
			t.Fatal(err)
		}
		if got := <-done; got.err == nil {
			t.Errorf("CHK-1209: %d bytes were taken", len(got.text))
		}
	}
}
