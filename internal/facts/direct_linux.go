package facts

import (
	"path"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Walk is [Root.Walk] in "/" as the process sees it now, and takes fewer system calls where it can. Where no symbolic link
// and no mount is on the way, the kernel walks (openat2(2)), and the directories are looked at from the last one upwards,
// each by "..". No name is looked up twice. A directory can be moved meanwhile, but only by somebody who may write to it
// (rename(2)) and so is among the writers; in the end the file has to lie where the kernel was sent, as in any walk. Where
// something is mounted over a directory meanwhile, ".." leads to that, which is another mount than the file's. All else is
// left to the careful way: links, mounts, what went wrong, and an ACL that can let others write to a directory.
func Walk(name string, self int64) (*Target, error) {
	if t, ok := direct(name, self); ok {
		return t, nil
	}
	root, err := OpenRoot("/")
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // O_PATH
	return root.Walk(name, self)
}

// maxDirect bounds how many directories are looked at by "..": each look passes all below it once more.
const maxDirect = 12

func direct(name string, self int64) (*Target, bool) {
	if self == overflowUID || name == "/" || !valid(name) || !utf8.ValidString(name) {
		return nil, false
	}
	dir, base := path.Split(name)
	parent, err := unix.Openat2(unix.AT_FDCWD, dir, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, false
	}
	defer unix.Close(parent) //nolint:errcheck // O_PATH
	return in(parent, dir, base, self)
}

// in finds a file in a directory that is open, and reached by that path.
func in(parent int, dir, base string, self int64) (*Target, bool) {
	w := &walk{root: &Root{fd: -1}, self: self}
	var above [maxDirect]entry // from the root's own directory down
	depth := strings.Count(dir, "/")
	if depth > maxDirect || !w.climb(parent, above[:depth]) {
		return nil, false
	}
	fd, err := openat(parent, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return nil, false
	}
	file := frame{fd: fd}
	if w.root.look(&file) != nil || !w.onMount(&file) || file.stat.Mode&unix.S_IFMT == unix.S_IFLNK || file.bars(self, read) {
		_ = unix.Close(fd)
		return nil, false
	}
	for i, e := range above[:depth] {
		child := file.entry
		if i+1 < depth {
			child = above[i+1]
		}
		if !sealed(e, child) {
			_ = unix.Close(fd)
			return nil, false
		}
		w.writers.addDir(e, child)
	}
	t, err := w.found(&file, dir+base)
	return t, err == nil
}

// sealed reports whether no ACL of a directory lets anybody replace the child: its mask, the bits of the group, is empty, or
// the directory is sticky.
func sealed(dir, child entry) bool {
	return dir.mode&groupWrite == 0 || dir.mode&sticky != 0 && !child.mounted
}

// onMount reports whether a directory or the file is on the mount that all of the way is on.
func (w *walk) onMount(f *frame) bool {
	return f.stat.Mask&unix.STATX_MNT_ID != 0 && f.stat.Mnt_id == w.mount
}

// climb looks at all directories on the way, the last one first. It reports false where one cannot be looked at, or self
// may not pass it.
func (w *walk) climb(parent int, above []entry) bool {
	const up = "../../../../../../../../../../../.."
	var f frame
	for i := range above {
		if statxUp(parent, up[:max(0, 3*i-1)], &f.stat) != nil {
			return false
		}
		if i == 0 {
			w.mount = f.stat.Mnt_id
		}
		w.root.fill(&f)
		if !w.onMount(&f) || f.bars(w.self, search) {
			return false
		}
		above[len(above)-1-i] = f.entry
	}
	return true
}
