package auditlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Errors of a [Log], for errors.Is.
var (
	ErrClosed  = errors.New("the audit log is closed")
	ErrForeign = errors.New("it holds something other than entries of an audit log; move it away")
	ErrLocked  = errors.New("another process has had the log locked for too long")
)

// A lock is held for one write. Whoever holds it longer is stopped or dead slow, and is not waited for without an end.
const lockWait = 2 * time.Second

// Log appends entries to a file, one at a time whoever writes: goroutines, other Logs of this process, other processes. It
// is safe for concurrent use. When the file at its path is another one than before, as after a rotation by renaming, it
// goes on in that one; the chain goes on too.
type Log struct {
	path string
	sync bool

	mu   sync.Mutex
	file *own // nil when closed
	head *own
	seen Head // the last that this Log knows of
}

// Open opens the log at a path, which it creates with mode 0600 if need be, and the head file beside it. Links, anything
// but a regular file with one name, and a file that others own, can read or write are refused. sync makes every entry
// reach the disk before Append returns.
func Open(path string, sync bool) (*Log, error) {
	path, err := filepath.Abs(path) // the process may change its directory
	if err != nil {
		return nil, err
	}
	l := &Log{path: path, sync: sync}
	if l.file, err = openOwn(path, os.O_APPEND); err != nil {
		return nil, err
	}
	if l.head, err = openOwn(path+HeadSuffix, 0); err != nil {
		return nil, errors.Join(err, l.file.Close())
	}
	if sync {
		err = syncDir(path)
	}
	if err = errors.Join(err, l.Check(context.Background())); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Close closes the files. No entry can be appended any more.
func (l *Log) Close() error {
	if l == nil {
		return ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return ErrClosed
	}
	err := errors.Join(l.file.Close(), l.head.Close())
	l.file, l.head = nil, nil
	return err
}

// Append adds an entry: a JSON object on one line. When it returns an error, the entry may be in the log all the same,
// chained or in part; the next one says so.
func (l *Log) Append(ctx context.Context, entry []byte) error {
	return l.locked(ctx, func(size int64, after Head, torn int64) error {
		end, terminated, err := l.endsLine(size, torn)
		if err != nil {
			return err
		}
		line, head, err := seal(entry, after, end)
		if err != nil {
			return err
		}
		if !terminated {
			line = append([]byte("\n"), line...)
		}
		return l.write(line, state{head, size + int64(len(line))})
	})
}

// Check reports whether an entry could be appended now, as far as that can be told without one.
func (l *Log) Check(ctx context.Context) error {
	return l.locked(ctx, func(size int64, after Head, torn int64) error {
		if err := makeRoom(l.file.File, size); err != nil {
			return err
		}
		if torn > 0 {
			return nil
		}
		return l.remember(state{after, size})
	})
}

// locked runs do while no other writer can, with the size of the log, its head, and how many bytes lie behind the last
// entry.
func (l *Log) locked(ctx context.Context, do func(size int64, after Head, torn int64) error) error {
	if l == nil {
		return ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return ErrClosed
	}
	if err := l.lock(ctx); err != nil {
		return err
	}
	size, err := l.current()
	if err == nil {
		var after Head
		var torn int64
		if after, torn, err = l.resume(size); err == nil {
			if after.Seq < l.seen.Seq { // both files are gone, or are what they were before: the gap has to show
				after = l.seen
			}
			err = do(size, after, torn)
		}
	}
	return errors.Join(err, unlock(l.head.File))
}

// lock locks the head file that lies at its path now.
func (l *Log) lock(ctx context.Context) error {
	until := time.Now().Add(lockWait)
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		got, err := tryLock(l.head.File)
		if err != nil {
			return fmt.Errorf("%s: %w", l.head.Name(), err)
		}
		if got {
			if _, same, err := l.head.there(); same {
				return nil
			} else if err = errors.Join(err, unlock(l.head.File)); err != nil {
				return err
			}
			if err := l.head.reopen(); err != nil {
				return err
			}
		}
		if time.Now().After(until) {
			return ErrLocked
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// current makes sure that the open file is the one at the path, and gives its size.
func (l *Log) current() (int64, error) {
	now, same, err := l.file.there()
	if err == nil && !same {
		if err = l.file.reopen(); err == nil {
			now, err = l.file.Stat()
		}
	}
	if err != nil {
		return 0, err
	}
	return now.Size(), nil
}

// resume finds what the next entry follows. The head file says so, unless a writer came to an end between two writes, or
// the log was rotated, cut off, or brought from elsewhere.
func (l *Log) resume(size int64) (after Head, torn int64, err error) {
	s, known, err := readState(l.head.File)
	if err != nil || known && s.size == size || size == 0 {
		return s.Head, 0, err
	}
	last, found, err := lastEntry(l.file, size)
	switch {
	case err != nil:
		return Head{}, 0, err
	case !found:
		return s.Head, size, l.looksLikeOurs(size)
	case last.Seq < s.Seq: // entries are gone: the chain goes on from the last one that was written, so that it shows
		return s.Head, size - last.end, nil
	}
	return last.Head, size - last.end, nil
}

// looksLikeOurs accepts a log that holds nothing but the beginning of its first entry.
func (l *Log) looksLikeOurs(size int64) error {
	want := `{"seq":`
	b := make([]byte, min(size, int64(len(want))))
	if n, err := l.file.ReadAt(b, 0); n < len(b) {
		return err
	}
	if string(b) != want[:len(b)] {
		return fmt.Errorf("%s: %w", l.path, ErrForeign)
	}
	return nil
}

// endsLine tells whether the log ends with a line feed, and how many bytes will lie between the last entry and the next.
func (l *Log) endsLine(size, torn int64) (int64, bool, error) {
	if torn == 0 {
		return 0, true, nil
	}
	var last [1]byte
	if _, err := l.file.ReadAt(last[:], size-1); err != nil {
		return 0, false, err
	}
	if last[0] == '\n' {
		return torn, true, nil
	}
	return torn + 1, false, nil
}

// write appends a line, with one call. What a failed one leaves is taken back; where that fails too, as with a file that
// may only be appended to, it stays, and the next entry says how much it is.
func (l *Log) write(line []byte, then state) error {
	n, err := l.file.Write(line)
	if err != nil {
		if n > 0 {
			_ = l.file.Truncate(then.size - int64(len(line)))
		}
		return err
	}
	if l.sync {
		if err := l.file.Sync(); err != nil {
			return err
		}
	}
	return l.remember(then)
}

func (l *Log) remember(s state) error {
	l.seen = s.Head
	_, err := l.head.WriteAt(s.append(make([]byte, 0, stateBytes)), 0)
	return err
}

// own is an open file that is this service's alone.
type own struct {
	*os.File

	extra int         // flags to open it with
	is    os.FileInfo // what was opened
}

// there looks at what lies at the path of the file, and reports whether that is the open file itself, and no link to it.
func (o *own) there() (os.FileInfo, bool, error) {
	fi, err := os.Lstat(o.Name()) //nolint:gosec // G703: the caller names its own log
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil
	}
	return fi, err == nil && os.SameFile(o.is, fi), err
}

// reopen goes on with the file that lies at the path now.
func (o *own) reopen() error {
	next, err := openOwn(o.Name(), o.extra)
	if err != nil {
		return err
	}
	old := o.File
	*o = *next
	return old.Close()
}

func openOwn(path string, extra int) (*own, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|openNoFollow|extra, 0o600) //nolint:gosec // G304: the caller names its own log
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w; create its folder, for the service to write to", err)
	case err != nil:
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil {
		err = checkOwn(fi)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%q: %w", path, err), f.Close())
	}
	return &own{f, extra, fi}, nil
}

// checkOwn makes sure that nobody else has the file: who can write the log can forge it.
func checkOwn(fi os.FileInfo) error {
	switch {
	case !fi.Mode().IsRegular():
		return errors.New("not a regular file")
	case modesMatter && fi.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("mode %04o, expected 0600", fi.Mode().Perm())
	}
	return checkOwner(fi)
}

func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path)) //nolint:gosec // G304: where the caller's log lies
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
