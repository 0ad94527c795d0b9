package identity

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// place is a mount, by a descriptor of a directory on it.
type place struct {
	fd    int
	mount uint64
}

// openPlace opens a directory and tells the type of its file system (statfs(2)).
func openPlace(path string) (place, int64, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return place{}, 0, fmt.Errorf("%s: %w", path, err)
	}
	p := place{fd: fd}
	var fs unix.Statfs_t
	if p.mount, err = mountOf(fd); err == nil {
		err = unix.Fstatfs(fd, &fs)
	}
	if err != nil {
		p.close()
		return place{}, 0, fmt.Errorf("%s: %w", path, err)
	}
	return p, int64(fs.Type), nil //nolint:unconvert // narrower on some systems
}

func (p place) close() { _ = unix.Close(p.fd) }

var errMountedOver = errors.New("something is mounted over it")

// openBelow opens a file below a directory and makes sure that it is on the same mount: nobody mounted anything over it
// or over a directory on the way. openat2(2) could say so, but systemd's RestrictSUIDSGID= takes it away.
func (p place) openBelow(dir int, name string, flags int) (int, error) {
	fd, err := unix.Openat(dir, name, flags|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	mount, err := mountOf(fd)
	if err == nil && mount != p.mount {
		err = errMountedOver
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// mountOf is the id of the mount that a descriptor is on. It needs Linux 5.8.
func mountOf(fd int) (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return 0, err
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, errors.New("the kernel does not tell mounts apart: it needs Linux 5.8")
	}
	return st.Mnt_id, nil
}
