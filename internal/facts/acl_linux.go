package facts

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// aclEntry is one entry of a POSIX ACL (acl(5)) as the kernel stores it (linux/posix_acl_xattr.h).
type aclEntry struct {
	tag, perm uint16
	id        uint32
}

const (
	aclVersion  = 2
	aclUser     = 0x02 // a named user
	aclGroupObj = 0x04 // the file's group
	aclGroup    = 0x08 // a named group
	aclMask     = 0x10
	maxACL      = 64 << 10 // XATTR_SIZE_MAX
	aclItem     = 8
)

// readACL gives the extended ACL of a file, nil if it has none. An O_PATH descriptor has no extended attributes, hence
// the way through /proc. A file system without ACLs has none; any other failure is one.
func readACL(fd int) ([]aclEntry, error) {
	const name = "system.posix_acl_access"
	size, err := unix.Getxattr(procPath(fd), name, nil)
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return nil, nil
	case err != nil:
		return nil, err
	case size > maxACL:
		return nil, errACL
	}
	raw := make([]byte, size)
	n, err := unix.Getxattr(procPath(fd), name, raw)
	if err != nil {
		return nil, err
	}
	return parseACL(raw[:n])
}

var errACL = errors.New("an access control list that cannot be understood")

func parseACL(raw []byte) ([]aclEntry, error) {
	if len(raw) < 4 || (len(raw)-4)%aclItem != 0 || binary.LittleEndian.Uint32(raw) != aclVersion {
		return nil, errACL
	}
	entries := make([]aclEntry, 0, len(raw)/aclItem)
	for b := raw[4:]; len(b) > 0; b = b[aclItem:] {
		entries = append(entries, aclEntry{
			tag: binary.LittleEndian.Uint16(b), perm: binary.LittleEndian.Uint16(b[2:]), id: binary.LittleEndian.Uint32(b[4:]),
		})
	}
	return entries, nil
}

// addACL adds whom the ACL admits besides owner and other: named users, the file's group and named groups, each within
// the mask. perm is 4 for reading, 2 for writing.
func (p *principals) addACL(acl []aclEntry, group int64, perm uint16) {
	mask := ^uint16(0)
	for _, e := range acl {
		if e.tag == aclMask {
			mask = e.perm
		}
	}
	for _, e := range acl {
		if e.perm&mask&perm == 0 {
			continue
		}
		switch e.tag {
		case aclUser:
			p.uid(int64(e.id))
		case aclGroupObj:
			p.gid(group)
		case aclGroup:
			p.gid(int64(e.id))
		}
	}
}
