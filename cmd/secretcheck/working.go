package main

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
)

// working runs f, which can take more than a second, and meanwhile says on a terminal what say says. When the command is
// interrupted it returns at once. F may then go on until the process ends, so nothing it does may be seen but what it returns.
func working[T any](cmd *cobra.Command, say func() string, f func() (T, error)) (T, error) {
	line := newProgress(cmd.ErrOrStderr())
	defer line.end()
	return wait(cmd.Context(), func() { line.at("%s", say()) }, f)
}

func wait[T any](ctx context.Context, tick func(), f func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := f()
		done <- outcome{value, err}
	}()
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		case o := <-done:
			return o.value, o.err
		case <-ticker.C:
			tick()
		}
	}
}

// elapsed says what is being done, and for how long.
func elapsed(what string) func() string {
	start := time.Now()
	return func() string { return fmt.Sprintf("%s, %d s", what, int(time.Since(start).Seconds())) }
}

// counting counts what is read through it, for a line about it.
type counting struct {
	io.Reader
	bytes *atomic.Int64
}

func (c counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}
