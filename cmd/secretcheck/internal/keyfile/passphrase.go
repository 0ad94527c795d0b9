package keyfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// ErrNoTerminal is the error of [Ask] where there is nobody to ask.
var ErrNoTerminal = errors.New("there is no terminal to ask for the passphrase")

// maxPassphrase bounds what is taken for one, in bytes.
const maxPassphrase = 1 << 10

// Ask asks for a passphrase on the terminal, without echo. stdin is used if it is one, else the terminal of the process. An
// end of ctx turns the echo on again. The caller clears what it gets.
func Ask(ctx context.Context, stdin io.Reader, prompt string) ([]byte, error) {
	tty, done, err := terminal(stdin)
	if err != nil {
		return nil, err
	}
	defer done()
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTerminal, err)
	}
	if _, err := io.WriteString(tty, prompt+": "); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTerminal, err)
	}
	type answer struct {
		text []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		answered <- answer{text, err}
	}()
	select {
	case a := <-answered:
		_, _ = io.WriteString(tty, "\n") // the one that was typed did not show
		if a.err == nil && (len(a.text) == 0 || len(a.text) > maxPassphrase) {
			clear(a.text)
			a.err = fmt.Errorf("a passphrase has 1 to %d bytes", maxPassphrase)
		}
		return a.text, a.err
	case <-ctx.Done():
		_ = term.Restore(fd, before) // there is nothing else to try
		return nil, ctx.Err()
	}
}

// terminal is stdin where that is one, else that of the process.
func terminal(stdin io.Reader) (*os.File, func(), error) {
	if f, ok := stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f, func() {}, nil
	}
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, ErrNoTerminal
	}
	return f, func() { _ = f.Close() }, nil
}
