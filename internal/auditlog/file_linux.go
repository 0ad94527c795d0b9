package auditlog

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	openNoFollow = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	modesMatter  = true
)

// checkOwner makes sure that nobody else has the file: by owning it, or by another name.
func checkOwner(fi os.FileInfo) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return errors.New("it belongs to somebody else")
	case st.Nlink != 1:
		return errors.New("it has more than one name")
	}
	return nil
}

// room is what a few entries take.
const room = 64 << 10

// makeRoom reserves blocks behind the end of the log, where the file system can, so that a full disk shows before a load
// has to be refused for it.
func makeRoom(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, size, room)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS) || errors.Is(err, unix.EIO) {
		return &os.PathError{Op: "reserve", Path: f.Name(), Err: err}
	}
	return nil
}
