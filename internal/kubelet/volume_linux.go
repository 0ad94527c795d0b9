package kubelet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Volume is a secret or projected volume (pkg/volume/util/atomic_writer.go and pkg/volume/volume_linux.go).
type Volume struct {
	Dir     string // on the node
	FSGroup *int   // of the pod; nil where it has none
	Serial  int    // of the version in force
}

// File is one file of it.
type File struct {
	Name  string // may have directories
	Text  string
	Mode  fs.FileMode // before the group is added
	Owner int
}

// Mount makes the volume: a tmpfs, whose root anybody can write to but for the sticky bit.
func (v *Volume) Mount() error {
	if err := os.MkdirAll(v.Dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", v.Dir, "tmpfs", 0, "mode=1777"); err != nil {
		return err
	}
	if v.FSGroup == nil {
		return nil
	}
	return errors.Join(os.Chown(v.Dir, 0, *v.FSGroup), os.Chmod(v.Dir, fs.ModeSticky|fs.ModeSetgid|0o777))
}

// Write puts new content in force: a new directory, a new link to it in place of ..data, and the old directory goes.
func (v *Volume) Write(files ...File) error {
	v.Serial++
	fresh := fmt.Sprintf("..2026_11_24_06_00_00.%09d", v.Serial)
	for _, f := range files {
		if err := v.project(fresh, f); err != nil {
			return err
		}
	}
	old, err := os.Readlink(filepath.Join(v.Dir, "..data"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(fresh, filepath.Join(v.Dir, "..data_tmp")); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(v.Dir, "..data_tmp"), filepath.Join(v.Dir, "..data")); err != nil {
		return err
	}
	for _, f := range files {
		top, _, _ := strings.Cut(f.Name, "/")
		if err := os.Symlink("..data/"+top, filepath.Join(v.Dir, top)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(v.Dir, old))
}

// project writes one file. An fsGroup gets to read it, and its directories get that group.
func (v *Volume) project(fresh string, f File) error {
	name := filepath.Join(v.Dir, fresh, f.Name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(name, []byte(f.Text), 0o600); err != nil {
		return err
	}
	mode := f.Mode
	if v.FSGroup != nil {
		mode |= 0o440
		if err := v.toGroup(filepath.Dir(name)); err != nil {
			return err
		}
	}
	group := 0
	if v.FSGroup != nil {
		group = *v.FSGroup
	}
	return errors.Join(os.Chown(name, f.Owner, group), os.Chmod(name, mode))
}

func (v *Volume) toGroup(dir string) error {
	for ; dir != v.Dir; dir = filepath.Dir(dir) {
		if err := errors.Join(os.Chown(dir, 0, *v.FSGroup), os.Chmod(dir, fs.ModeSetgid|0o755)); err != nil {
			return err
		}
	}
	return nil
}

// Bind mounts a file or directory where a container sees it, read-only or not.
func Bind(from, to string, readOnly bool) error {
	fi, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if fi.IsDir() {
		err = os.MkdirAll(to, 0o755)
	} else {
		err = os.WriteFile(to, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil || !readOnly {
		return err
	}
	return unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// SubPath mounts what lies at a path in the volume for itself, whatever links lead there.
func (v *Volume) SubPath(name, to string) error {
	real, err := filepath.EvalSymlinks(filepath.Join(v.Dir, name))
	if err != nil {
		return err
	}
	return Bind(real, to, true)
}
