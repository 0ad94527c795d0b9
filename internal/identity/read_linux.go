package identity

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Read looks at this process. It takes about 100 µs; nothing but the effective ids changes in a process that does not
// change it itself. It is safe for concurrent use.
func Read() Process {
	var p Process
	proc, err := openProc()
	if err != nil {
		p.Exe, _ = os.Executable()
		p.Doubts = []string{"uid, gid, exe, unit: " + err.Error()}
		return p
	}
	defer proc.close()
	users, groups := proc.everyID("uid_map"), proc.everyID("gid_map")
	p.prove("uid", &p.Attested.UID, byID, users)
	p.prove("gid", &p.Attested.GID, byGroup, groups)
	exe, err := proc.executable()
	p.Exe = exe
	if users != nil { // who can make a user namespace can mount what it likes over any path
		err = users
	}
	p.prove("exe", &p.Attested.Exe, byLink, err)
	unit, err := proc.unit(users)
	p.prove("unit", &p.Attested.Unit, byCgroup, err)
	if err == nil {
		p.Unit = unit
	}
	return p
}

// proc is the root of a proc file system.
type proc struct{ place }

const (
	procRootInode = 1                     // PROC_ROOT_INO
	firstCgroupNS = "cgroup:[4026531835]" // CGROUP_NS_INIT_INO in <linux/nsfs.h>
)

// openProc makes sure that /proc is what it should be. A user who can make a user namespace can mount anything there.
func openProc() (proc, error) {
	p, fs, err := openPlace("/proc")
	if err != nil {
		return proc{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(p.fd, &st); err != nil || fs != unix.PROC_SUPER_MAGIC || st.Ino != procRootInode {
		p.close()
		return proc{}, errors.New("/proc is not the root of a proc file system")
	}
	return proc{p}, nil
}

// open opens a file of this process.
func (p proc) open(name string, flags int) (int, error) {
	fd, err := p.openBelow(p.fd, "self/"+name, flags)
	if err != nil {
		return -1, fmt.Errorf("/proc/self/%s: %w", name, err)
	}
	return fd, nil
}

const maxProcFile = 64 << 10

func (p proc) read(name string) (string, error) {
	fd, err := p.open(name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, maxProcFile))
	if err == nil && len(b) == maxProcFile {
		err = errors.New("too long")
	}
	if err != nil {
		return "", fmt.Errorf("/proc/self/%s: %w", name, err)
	}
	return string(b), nil
}

func (p proc) link(name string) (string, error) {
	fd, err := p.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd) //nolint:errcheck // O_PATH
	b := make([]byte, 4097)
	n, err := unix.Readlinkat(fd, "", b)
	if err == nil && n == len(b) {
		err = errors.New("too long")
	}
	if err != nil {
		return "", fmt.Errorf("/proc/self/%s: %w", name, err)
	}
	return string(b[:n]), nil
}

func (p proc) everyID(name string) error {
	text, err := p.read(name)
	if err != nil {
		return err
	}
	return everyID(text)
}

// executable is the path of the program that runs, if that is still what lies there.
func (p proc) executable() (string, error) {
	path, err := p.link("exe")
	if err != nil {
		return "", err
	}
	if !utf8.ValidString(path) {
		return strings.ToValidUTF8(path, "\uFFFD"), errors.New("its path is not UTF-8")
	}
	running, err := os.Stat("/proc/self/exe")
	there, err2 := os.Lstat(path)
	if err != nil || err2 != nil || !os.SameFile(running, there) {
		return path, errors.New("another file has its path now, or none")
	}
	return path, nil
}

// unit is the system service that this process runs in. users says why owners of files are not to be believed here.
func (p proc) unit(users error) (string, error) {
	text, err := p.read("cgroup")
	if err != nil {
		return "", err
	}
	cgroup, err := cgroupOf(text)
	if err != nil {
		return "", err
	}
	unit, err := unitOf(cgroup)
	if err != nil {
		return "", err
	}
	// In a cgroup namespace paths begin where the namespace was made, and whoever made it and the cgroups in it can give
	// them any name. Where the owners mean what they say, cgroups of root were made by root all the same.
	if ns, err := p.link("ns/cgroup"); users != nil && (err != nil || ns != firstCgroupNS) {
		return "", errors.New("cgroups and users are both seen through a namespace of their own")
	}
	return unit, ofRoot(cgroup)
}

// ofRoot makes sure that only root can have put this process into its cgroup: all the way there is root's, none of it is
// delegated, and the process is listed in it.
func ofRoot(cgroup string) error {
	root, err := openCgroups()
	if err != nil {
		return err
	}
	dir := root.fd
	defer func() { _ = unix.Close(dir) }()
	for name := range strings.SplitSeq(strings.TrimPrefix(cgroup, "/"), "/") {
		next, err := root.openBelow(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err != nil {
			return fmt.Errorf("cgroup %q is not to be seen below /sys/fs/cgroup: %w", cgroup, err)
		}
		_ = unix.Close(dir)
		dir = next
		if err := rootAlone(dir); err != nil {
			return fmt.Errorf("cgroup %q: %w", cgroup, err)
		}
	}
	if delegated(dir) {
		return fmt.Errorf("cgroup %q is delegated (Delegate=), so that others than systemd can put processes there", cgroup)
	}
	return root.lists(dir, cgroup)
}

// openCgroups opens where version 2 is mounted, alone or beside version 1 (file-hierarchy(7)).
func openCgroups() (place, error) {
	for _, path := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		p, fs, err := openPlace(path)
		switch {
		case err != nil:
		case fs == unix.CGROUP2_SUPER_MAGIC:
			return p, nil
		default:
			p.close()
		}
	}
	return place{}, errors.New("no cgroup file system of version 2 is mounted at /sys/fs/cgroup")
}

func rootAlone(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Uid != 0 || st.Mode&0o022 != 0 {
		return fmt.Errorf("others than root can change it: uid %d, mode %04o", st.Uid, st.Mode&0o7777)
	}
	return nil
}

// delegated reports whether systemd marked a cgroup as one that it leaves to its payload. The first mark can be read by
// everybody and needs Linux 5.7, the second by root alone.
func delegated(dir int) bool {
	path := "/proc/self/fd/" + strconv.Itoa(dir)
	return slices.ContainsFunc([]string{"user.delegate", "trusted.delegate"}, func(mark string) bool {
		var value [8]byte
		n, err := unix.Getxattr(path, mark, value[:])
		return err == nil && n > 0 && string(value[:n]) != "0"
	})
}

const maxProcesses = 4 << 20 // bytes of a list

// lists makes sure that the cgroup that was looked at is the one that this process is in.
func (p place) lists(dir int, cgroup string) error {
	fd, err := p.openBelow(dir, "cgroup.procs", unix.O_RDONLY|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("cgroup %q: its processes: %w", cgroup, err)
	}
	f := os.NewFile(uintptr(fd), cgroup)
	defer f.Close() //nolint:errcheck // only read
	if err := rootAlone(fd); err != nil {
		return fmt.Errorf("cgroup %q: its processes: %w", cgroup, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxProcesses))
	if err != nil || !slices.Contains(strings.Fields(string(b)), strconv.Itoa(os.Getpid())) {
		return fmt.Errorf("cgroup %q below /sys/fs/cgroup does not hold this process", cgroup)
	}
	return nil
}
