package auditlog

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/internal/asnobody"
)

// TestFullDisk: AUD-1005. A disk fills up, every entry that does not fit is an error, and when there is room again the log
// goes on as one chain.
func TestFullDisk(t *testing.T) {
	if !asnobody.Root(t) {
		return
	}
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,mode=700"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	path := filepath.Join(dir, "audit.jsonl")
	l := open(t, path)
	written := 0
	var full error
	for i := 0; i < 500 && full == nil; i++ {
		if full = l.Append(context.Background(), entry("x", 1700)); full == nil {
			written++
		}
	}
	if !errors.Is(full, unix.ENOSPC) || written < 50 {
		t.Fatalf("error %v after %d entries", full, written)
	}
	if err := l.Check(context.Background()); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a full disk is well: %v", err)
	}
	intact(t, written, path)
	must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=1m,mode=700"))
	must(t, l.Check(context.Background()))
	add(t, l, "more")
	intact(t, written+1, path)
}

const appendOnly = 0x20 // FS_APPEND_FL in <linux/fs.h>

// TestAppendOnly: AUD-1005. Where a file may only be appended to (chattr +a), half a line cannot be taken back.
func TestAppendOnly(t *testing.T) {
	if !asnobody.Root(t) {
		return
	}
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, path)
	add(t, l, "1")
	flags, err := unix.IoctlGetInt(int(l.file.Fd()), unix.FS_IOC_GETFLAGS)
	must(t, err)
	set := func(f int) { must(t, unix.IoctlSetPointerInt(int(l.file.Fd()), unix.FS_IOC_SETFLAGS, f)) }
	set(flags | appendOnly)
	defer set(flags)
	if err := child(t, "small", path).Run(); err != nil {
		t.Fatal(err)
	}
	v := check(t, path)
	if !v.Intact() || len(v.rules()) == 0 || v.rules()[0] != RuleTorn {
		t.Errorf("%d entries, %+v", v.Entries, v.Findings)
	}
}
