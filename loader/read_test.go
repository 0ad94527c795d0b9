package loader

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// bytewise gives one byte with each call, as a file may.
type bytewise struct{ io.ReaderAt }

func (b bytewise) ReadAt(p []byte, at int64) (int, error) {
	return b.ReaderAt.ReadAt(p[:min(1, len(p))], at)
}

// broken is a file that cannot be read.
type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, iotest.ErrTimeout }

// TestReadAll: SM-LOAD-4009. Content that is not as long as what was decided on is refused for that alone, before anybody
// looks at time stamps.
func TestReadAll(t *testing.T) {
	for name, tt := range map[string]struct {
		file io.ReaderAt
		want error
	}{
		"as long":        {strings.NewReader("abc"), nil},
		"byte for byte":  {bytewise{strings.NewReader("abc")}, nil},
		"longer":         {strings.NewReader("abcd"), ErrChanged},
		"much longer":    {strings.NewReader("abcdefgh"), ErrChanged},
		"shorter":        {strings.NewReader("ab"), ErrChanged},
		"empty":          {strings.NewReader(""), ErrChanged},
		"cannot be read": {broken{}, iotest.ErrTimeout},
	} {
		n, err := readAll(tt.file, make([]byte, len("abc")+1))
		if !errors.Is(err, tt.want) || err == nil && n != len("abc") || err != nil && n != 0 {
			t.Errorf("%s: %d bytes, error %v", name, n, err)
		}
	}
}
