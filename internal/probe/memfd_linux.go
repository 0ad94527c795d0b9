package probe

import "golang.org/x/sys/unix"

// memfdSecret makes the call that package secret does not dare to make under a filter.
func memfdSecret() error {
	fd, err := unix.MemfdSecret(unix.O_CLOEXEC)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}
