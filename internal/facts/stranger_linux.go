package facts

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// overflowUID is how the kernel shows an owner that has no number in this user namespace (user_namespaces(7)). It is
	// also nobody, an account that services run as.
	overflowUID = 65534

	// noUID is the number that no user can have (chown(2)). The kernel itself shows it in the ACL for such an owner.
	noUID = 1<<32 - 1
)

// disown takes the number from a directory or link that looks like nobody's own and may be a stranger's. A unit with
// PrivateUsers= and User=nobody, and a container without root's map, sees every stranger as itself.
func (w *walk) disown(f *frame) {
	if w.self != overflowUID || f.uid != overflowUID {
		return
	}
	own := true
	switch f.stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		own = owns(f.fd)
	case unix.S_IFLNK: // nothing can be asked about it
		own = everyoneHasANumber()
	}
	if !own {
		f.uid = noUID
	}
}

// owns lets the kernel say whose a directory is: only its owner may open it so (open(2), O_NOATIME).
func owns(fd int) bool {
	opened, err := openat(unix.AT_FDCWD, procPath(fd), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOATIME|unix.O_CLOEXEC)
	if err != nil {
		return false
	}
	return unix.Close(opened) == nil
}

// everyoneHasANumber reports whether this is the first user namespace, or one with all of its numbers.
func everyoneHasANumber() bool {
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && string(bytes.Join(bytes.Fields(ids), []byte(" "))) == "0 0 4294967295"
}
