package recorded

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxLine bounds an entry, as the writer of audit logs does.
const MaxLine = 8 << 20

// Line is one entry as it stands in a log.
type Line struct {
	Number  int // from 1; in an array, of the entry
	Text    []byte
	TooLong bool
}

// Lines calls each for every entry of a log, which it may keep: one a line, or the members of a JSON array, which is what
// OPA uploads; either may be compressed with gzip. A line that is longer than [MaxLine] comes without its text. It ends
// at the first error, of the reader or of each.
func Lines(r io.Reader, each func(Line) error) error {
	b := bufio.NewReaderSize(r, 256<<10)
	if magic, _ := b.Peek(2); bytes.HasPrefix(magic, []byte("\x1f\x8b")) {
		z, err := gzip.NewReader(b)
		if err != nil {
			return err
		}
		b = bufio.NewReaderSize(z, 256<<10)
	}
	if first, _ := b.Peek(1); len(first) > 0 && first[0] == '[' {
		return members(b, each)
	}
	for n := 1; ; n++ {
		text, tooLong, err := line(b)
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return err
		}
		if len(bytes.TrimSpace(text)) > 0 || tooLong {
			if err := each(Line{n, text, tooLong}); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
	}
}

func line(b *bufio.Reader) (text []byte, tooLong bool, err error) {
	for {
		part, err := b.ReadSlice('\n')
		if len(text)+len(part) > MaxLine {
			tooLong, text = true, nil
		}
		if !tooLong {
			text = append(text, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, tooLong, err
		}
	}
}

// members reads a JSON array. A fault in it ends the reading: where the next entry begins is not known then.
func members(r io.Reader, each func(Line) error) error {
	q := &quota{r: r, left: MaxLine}
	d := json.NewDecoder(q)
	if _, err := d.Token(); err != nil {
		return err
	}
	for n := 1; d.More(); n++ {
		var text json.RawMessage
		q.left = 2 * MaxLine // what is buffered counts too
		if err := d.Decode(&text); err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
		if err := each(Line{Number: n, Text: text, TooLong: len(text) > MaxLine}); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

// quota bounds what is read for one member of an array.
type quota struct {
	r    io.Reader
	left int
}

func (q *quota) Read(p []byte) (int, error) {
	if q.left <= 0 {
		return 0, fmt.Errorf("an entry of more than %d bytes", MaxLine)
	}
	n, err := q.r.Read(p[:min(len(p), q.left)])
	q.left -= n
	return n, err
}
