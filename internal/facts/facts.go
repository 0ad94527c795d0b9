// Package facts finds a file and says what is true about it, without ever looking a path up twice.
//
// A path is walked component by component on descriptors that cannot have side effects (O_PATH: a FIFO, a device or a
// socket is seen, not opened). Symbolic links are expanded here, not by the kernel, so that every directory that holds
// one is seen too, and nothing leaves the [Root]. What is opened for reading later is the inode that was judged.
package facts

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/llorch/secrets-management/policy"
)

// Errors besides fs.ErrNotExist and fs.ErrPermission, for errors.Is.
var (
	ErrLoop    = errors.New("too many symbolic links") // over 40, as in Linux
	ErrNotDir  = errors.New("not a directory")         // a component above the last one
	ErrChanged = errors.New("changed while it was looked at")
	ErrPath    = errors.New("not an absolute, clean path in UTF-8")
	ErrOwner   = errors.New("its owner has no number here") // and shows as that of nobody, see [handle.Open]

	// ErrDeleted matches ErrChanged too: what was found has no name any more. A bind mount keeps such a file in sight.
	ErrDeleted = fmt.Errorf("it was deleted: %w", ErrChanged)

	// ErrDangling matches fs.ErrNotExist too: there is a link at the path, and nothing where it leads.
	ErrDangling = fmt.Errorf("a symbolic link to nothing: %w", fs.ErrNotExist)
)

const (
	maxLinks = 40
	maxPath  = 4096
)

// Target is a file that was found, and what is known about it.
type Target struct {
	Resolved string   // the real path, seen from the root
	Above    []string // the directories above it, nearest first, up to "/"
	Links    []string // the real path of each symbolic link that was followed, in order
	File     policy.File
	Barred   string // the first directory that self may not search, or the file that it may not read; see [entry.bars]

	handle
}

// Error says which path could not be walked and why. Err matches one of this package's errors or an fs error.
type Error struct {
	Path string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("%q: %v", e.Path, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// entry is what the walk needs to know of a file or directory.
type entry struct {
	uid, gid int64
	mode     uint32     // twelve permission bits
	acl      []aclEntry // the extended ACL; asked for only where it can matter
	mounted  bool       // a file system is mounted here, over an entry that cannot be seen
}

const (
	sticky     = 0o1000
	groupWrite = 0o020
	groupRead  = 0o040
	otherWrite = 0o002
	otherRead  = 0o004
)

// Permissions of the class "other", as in a mode.
const (
	read   = 0o4
	search = 0o1
)

// bars reports whether a user surely lacks a permission, whatever groups it is in and whatever an extended ACL adds to
// them: both need the group bit. Root lacks none, and nothing is sure of an unknown uid. Capabilities are not looked at.
func (e entry) bars(self int64, perm uint32) bool {
	switch {
	case self <= 0:
		return false
	case e.uid == self:
		return e.mode&(perm<<6) == 0
	}
	return e.mode&(perm<<3|perm) == 0
}

// principals collects uids and gids without repeats.
type principals struct{ policy.Principals }

func (p *principals) uid(id int64) {
	if !slices.Contains(p.UIDs, id) {
		p.UIDs = append(p.UIDs, id)
	}
}

func (p *principals) gid(id int64) {
	if !slices.Contains(p.GIDs, id) {
		p.GIDs = append(p.GIDs, id)
	}
}

// addDir adds who can replace child in a directory: its owner, and whoever the mode lets write. In a sticky directory
// only the owner of the directory and that of the entry can rename or remove it (inode(7)), and the latter is added with
// the entry itself. The owner of an entry under a mount can be anybody: from a namespace without that mount, he renames
// the entry, and the mount goes with it.
func (p *principals) addDir(dir, child entry) {
	p.uid(dir.uid)
	if dir.mode&sticky == 0 || child.mounted {
		p.addClass(dir, groupWrite, otherWrite)
	}
}

// addLink adds the owner of a symbolic link that was followed: whoever made it chose where it leads.
func (p *principals) addLink(link entry) { p.uid(link.uid) }

// addFile adds the owner, who can always change the mode, and whoever the mode admits.
func (p *principals) addFile(f entry, group, other uint32) {
	p.uid(f.uid)
	p.addClass(f, group, other)
}

// addClass reads the group and other bits. Under an extended ACL the group bits are its mask: where they are clear, none
// of its entries grants anything.
func (p *principals) addClass(e entry, group, other uint32) {
	switch {
	case e.mode&group == 0:
	case e.acl != nil:
		p.addACL(e.acl, e.gid, uint16(group>>3)) //nolint:gosec // G115: one permission bit
	default:
		p.gid(e.gid)
	}
	if e.mode&other != 0 {
		p.Everyone = true
	}
}
