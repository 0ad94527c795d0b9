package auditlog

import (
	"bytes"
	"fmt"
	"io"
)

const (
	firstWindow = 64 << 10
	lastWindow  = 64 << 20
)

// tail is the last whole entry of a log.
type tail struct {
	Head

	end int64 // the offset behind its line feed
}

// lastEntry looks for the last line that is an entry, from the end of the log backwards. There may be none: false.
func lastEntry(r io.ReaderAt, size int64) (tail, bool, error) {
	for window := min(int64(firstWindow), size); ; window = min(window*8, size) {
		b := make([]byte, window)
		if n, err := r.ReadAt(b, size-window); int64(n) != window {
			return tail{}, false, fmt.Errorf("reading the end of the log: %w", err)
		}
		if t, ok := lastIn(b, window == size); ok {
			t.end += size - window
			return t, true, nil
		}
		if window == size || window >= lastWindow {
			return tail{}, false, nil
		}
	}
}

// lastIn looks in the end of a log. The first line is cut off unless b is all of it.
func lastIn(b []byte, whole bool) (tail, bool) {
	end := bytes.LastIndexByte(b, '\n')
	for end >= 0 {
		start := bytes.LastIndexByte(b[:end], '\n') + 1
		if start == 0 && !whole {
			break
		}
		if l, ok := parse(b[start:end]); ok {
			return tail{l.Head, int64(end + 1)}, true
		}
		end = start - 1
	}
	return tail{}, false
}
