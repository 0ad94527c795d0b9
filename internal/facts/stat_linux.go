package facts

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/policy"
)

// whole is what every file system tells: a fact that cannot be had is an error.
const whole = unix.STATX_BASIC_STATS &^ (unix.STATX_ATIME | unix.STATX_BLOCKS)

// statx is stat(2) with the attributes of a file (chattr(1)) and of its place. It looks at a descriptor, not at a path.
func statx(fd int, st *unix.Statx_t) error { return statxUp(fd, "", st) }

// statxUp looks at a directory so many ".." above the descriptor.
func statxUp(fd int, up string, st *unix.Statx_t) error {
	if err := unix.Statx(fd, up, unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, st); err != nil {
		return err
	}
	if st.Mask&whole != whole {
		return errors.New("the file system does not tell what the file is")
	}
	return nil
}

// has reports an attribute that the file system is known to keep; one that it does not keep, no file has.
func has(st *unix.Statx_t, attribute uint64) bool {
	return st.Attributes&st.Attributes_mask&attribute != 0
}

// look fills in what the walk needs to know of a frame.
func (r *Root) look(f *frame) error {
	if err := statx(f.fd, &f.stat); err != nil {
		return err
	}
	r.fill(f)
	switch f.stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if f.mode&groupWrite == 0 {
			return nil // the bits are the ACL's mask: nobody but the owner can write, ACL or not
		}
	case unix.S_IFLNK:
		f.mode = 0 // a link's 0777 means nothing, and it has no ACL
		return nil
	}
	var err error
	f.acl, err = readACL(f.fd)
	return err
}

// fill takes what was stated over, all but the ACL.
func (r *Root) fill(f *frame) {
	f.entry = entry{
		uid: r.mapUID(f.stat.Uid), gid: int64(f.stat.Gid), mode: uint32(f.stat.Mode & 0o7777),
		mounted: has(&f.stat, unix.STATX_ATTR_MOUNT_ROOT),
	}
}

func (r *Root) mapUID(uid uint32) int64 {
	if r.path != "" && int64(uid) == r.owner {
		return 0
	}
	return int64(uid)
}

// describe fills in the facts about the file that was found.
func (w *walk) describe(t *Target, f *frame) error {
	where, err := fdPath(t.fd)
	if err != nil {
		return err
	}
	expected := w.root.path + t.Resolved
	if w.root.path != "" && t.Resolved == "/" {
		expected = w.root.path
	}
	switch {
	case f.stat.Nlink == 0:
		return ErrDeleted
	case where != expected:
		return ErrChanged
	}
	t.where = where
	var sf unix.Statfs_t
	if err := unix.Fstatfs(t.fd, &sf); err != nil {
		return err
	}
	writers, readers := w.writers, principals{}
	writers.addFile(f.entry, groupWrite, otherWrite)
	readers.addFile(f.entry, groupRead, otherRead)
	t.File = policy.File{
		Type: fileType(f.stat.Mode), Mode: f.mode, UID: f.uid, GID: f.gid,
		OwnerIsRoot: f.uid == 0, OwnerIsMe: f.uid == w.self,
		Size: int64(f.stat.Size), NLink: int64(f.stat.Nlink), //nolint:gosec // G115: the kernel's own sizes are signed
		Filesystem: filesystem(int64(sf.Type)),  //nolint:unconvert // 32 bits on some systems
		Mount:      mountFlags(int64(sf.Flags)), //nolint:unconvert // 32 bits on some systems
		Immutable:  has(&f.stat, unix.STATX_ATTR_IMMUTABLE), AppendOnly: has(&f.stat, unix.STATX_ATTR_APPEND),
		Symlinks: len(t.Links), FinalSymlink: w.final,
		ACL: f.acl != nil, Readers: readers.Principals, Writers: writers.Principals,
	}
	return nil
}

func fileType(mode uint16) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "regular"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFCHR:
		return "char_device"
	case unix.S_IFBLK:
		return "block_device"
	default:
		return ""
	}
}

// mountFlags reads f_flags of statfs(2).
func mountFlags(f int64) policy.Mount {
	return policy.Mount{
		ReadOnly: f&unix.ST_RDONLY != 0, NoSUID: f&unix.ST_NOSUID != 0,
		NoDev: f&unix.ST_NODEV != 0, NoExec: f&unix.ST_NOEXEC != 0,
	}
}

// filesystem names a file system by its magic number (statfs(2)); ext2, ext3 and ext4 share one.
func filesystem(magic int64) string {
	switch uint32(magic) { //nolint:gosec // G115: magic numbers have 32 bits, sign-extended on some systems
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case 0x2fc12fc1:
		return "zfs"
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.RAMFS_MAGIC:
		return "ramfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.SQUASHFS_MAGIC:
		return "squashfs"
	case unix.EROFS_SUPER_MAGIC_V1:
		return "erofs"
	case 0xca451a4e:
		return "bcachefs"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case 0xff534d42, 0xfe534d42, 0x517b:
		return "smb"
	case 0x65735546:
		return "fuse"
	case 0x01021997:
		return "9p"
	case unix.PROC_SUPER_MAGIC:
		return "proc"
	case unix.SYSFS_MAGIC:
		return "sysfs"
	case unix.MSDOS_SUPER_MAGIC:
		return "vfat"
	default:
		return "unknown"
	}
}
