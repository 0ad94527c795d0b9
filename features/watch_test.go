//go:build linux

package features

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// events counts what happened to files. A descriptor made with O_PATH opens nothing and is not an event.
type events struct{ opened, read int }

// watchFiles has the kernel tell (inotify(7)) who opens or reads files until stop is called.
func watchFiles(files []string) (stop func() (events, error), err error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if _, err := unix.InotifyAddWatch(fd, f, unix.IN_OPEN|unix.IN_ACCESS); err != nil {
			return nil, errors.Join(err, unix.Close(fd))
		}
	}
	return func() (events, error) {
		seen, err := drain(fd)
		return seen, errors.Join(err, unix.Close(fd))
	}, nil
}

// drain reads the events that are waiting.
func drain(fd int) (seen events, err error) {
	buf := make([]byte, 64*1024)
	for {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EAGAIN) || err == nil && n == 0 {
			return seen, nil
		}
		if err != nil {
			return seen, err
		}
		for at := 0; at+unix.SizeofInotifyEvent <= n; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
			if e.Mask&unix.IN_Q_OVERFLOW != 0 {
				return seen, errors.New("more events than the kernel keeps")
			}
			if e.Mask&unix.IN_OPEN != 0 {
				seen.opened++
			}
			if e.Mask&unix.IN_ACCESS != 0 {
				seen.read++
			}
			at += unix.SizeofInotifyEvent + int(e.Len)
		}
	}
}
