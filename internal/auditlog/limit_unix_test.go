//go:build unix

package auditlog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// appendSmall writes until a limit on the size of files cuts a write short, then lifts it and goes on.
func appendSmall(path string) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	small := limit
	small.Cur = 10_000
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		return err
	}
	l, err := Open(path, false)
	if err != nil {
		return err
	}
	failed := 0
	for range 20 {
		if err := l.Append(context.Background(), entry("small", 1000)); errors.Is(err, syscall.EFBIG) {
			failed++
		} else if err != nil {
			return err
		}
	}
	if failed == 0 || failed == 20 {
		return errors.New("the limit did not come into it")
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	return errors.Join(l.Append(context.Background(), entry("large", 1000)), l.Close())
}

// TestShortWrite: AUD-1005. A write that the system cuts short is an error, and leaves nothing that the log does not tell.
func TestShortWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := child(t, "small", path).Run(); err != nil {
		t.Fatal(err)
	}
	v := check(t, path)
	if !v.Intact() || v.Entries < 2 || v.Entries > 10 {
		t.Errorf("%d entries, %+v", v.Entries, v.Findings)
	}
	if fi, err := os.Stat(path); err != nil || fi.Size() < 9000 {
		t.Errorf("%v %v", fi.Size(), err)
	}
}
