package loader

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	openNoFollow = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	modesMatter  = true
	atSecure     = 23 // AT_SECURE in <elf.h>
)

// secureExecution reports whether the kernel started this program with more rights than its caller has. When it cannot
// be told, it is.
func secureExecution() bool {
	aux, err := unix.Auxv()
	if err != nil {
		return true
	}
	for _, pair := range aux {
		if pair[0] == atSecure {
			return pair[1] != 0
		}
	}
	return true
}

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
