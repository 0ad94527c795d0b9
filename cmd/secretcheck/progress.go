package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
)

const (
	patience = 500 * time.Millisecond // what is done sooner needs no line
	pace     = 100 * time.Millisecond
)

// progress is one line on a terminal about how far a long run is, gone when it ends. A nil one says nothing.
type progress struct {
	w     io.Writer
	now   func() time.Time
	next  time.Time // when there is something to say
	shown bool
}

// newProgress returns nil where w is no terminal: a log of a pipeline has no use for it.
func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if !isTerminal(f) {
		return nil
	}
	return startProgress(w, time.Now)
}

// isTerminal reports whether a file is one, or the null device, to which it does not matter.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func startProgress(w io.Writer, now func() time.Time) *progress {
	return &progress{w: w, now: now, next: now().Add(patience)}
}

// longest bounds the line: one that wraps could not be taken back.
const longest = 70

// at says how far the run is, at most ten times a second.
func (p *progress) at(format string, args ...any) {
	if p == nil {
		return
	}
	now := p.now()
	if now.Before(p.next) {
		return
	}
	p.next, p.shown = now.Add(pace), true
	text := []rune(report.Text(fmt.Sprintf(format, args...)))
	if len(text) > longest {
		text = append(text[:longest-1], '…')
	}
	_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s", string(text)) // there is nowhere else to say it
}

// end takes the line away.
func (p *progress) end() {
	if p != nil && p.shown {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K") // see at
		p.shown = false
	}
}
