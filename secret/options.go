package secret

import (
	"fmt"
	"runtime"
	"strings"
)

// Options says how a secret or key is made. The zero value is what [New], [FromBytes] and [NewKey] use. They belong to a
// secret and not to the process: two libraries in one program need not agree, and nothing depends on who came first.
type Options struct {
	// RequireLocked makes it an error, [ErrNotLocked], if the pages cannot be locked: before any byte of the content is
	// in memory, for the slot and for the scratch memory that hashing takes; not for the state inside Go's SHA-256, and
	// not for what crypto/hkdf keeps (see package kdf), both of which are on the Go heap. False means that secrets are made at
	// [LevelHeap] then, and that the level says so.
	RequireLocked bool

	// Forgotten is called after a secret that nobody closed has been collected and wiped, from a goroutine of the
	// collector: it must not block, and must not hold on to the secret, which would then never be collected. Nil means
	// no report. It costs a look at the stack for each secret made, and is for finding the place that forgets Close.
	Forgotten func(Forgotten)
}

// Forgotten describes a secret that was collected without Close.
type Forgotten struct {
	// Stack is the functions, files and lines that made it, innermost first, formatted as in a panic.
	Stack string
	// Err is [ErrCorrupted] if something had written past the end of its slot, or nil.
	Err error
}

// orphan is what a clean-up needs to report a forgotten secret. It must not reach the cell.
type orphan struct {
	block  block
	report func(Forgotten)
	stack  []uintptr
}

// newOrphan records the stack from its caller outwards: up to 32 functions, of which the first few are this package's.
func newOrphan(b block, report func(Forgotten)) orphan {
	stack := make([]uintptr, 32)
	return orphan{block: b, report: report, stack: stack[:runtime.Callers(2, stack)]}
}

// end wipes first: a report may take its time, or panic.
func (o orphan) end() {
	err := shared.free(o.block)
	o.report(Forgotten{Stack: formatStack(o.stack), Err: err})
}

func formatStack(pcs []uintptr) string {
	var out strings.Builder
	frames := runtime.CallersFrames(pcs)
	for {
		f, more := frames.Next()
		if f.Function != "" {
			fmt.Fprintf(&out, "%s\n\t%s:%d\n", f.Function, f.File, f.Line)
		}
		if !more {
			return out.String()
		}
	}
}
