// Package host looks at the machine, or the tree that stands for it, that services will run on. It sees metadata only:
// the content of no secret is opened.
package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/internal/facts"
)

// maxAccounts bounds etc/passwd.
const maxAccounts = 4 << 20

// Host is a root directory, "/" for this machine.
type Host struct {
	dir      string
	root     *facts.Root
	accounts func() (map[string]int64, error)
}

// Open opens a root directory.
func Open(dir string) (*Host, error) {
	root, err := facts.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Host{dir: dir, root: root, accounts: sync.OnceValues(func() (map[string]int64, error) { return readAccounts(root) })}, nil
}

// Close frees the directory.
func (h *Host) Close() error { return h.root.Close() }

// See looks at a file as the user self would find it.
func (h *Host) See(path string, self int64) (check.Seen, error) {
	t, err := h.root.Walk(path, self)
	if errors.Is(err, fs.ErrNotExist) {
		return check.Seen{}, h.missing(path, err)
	}
	if err != nil {
		return check.Seen{}, err
	}
	if err := t.Close(); err != nil {
		return check.Seen{}, err
	}
	return check.Seen{Resolved: t.Resolved, Above: t.Above, Links: t.Links, File: t.File, Barred: t.Barred}, nil
}

// List lists a directory.
func (h *Host) List(dir string) ([]fs.DirEntry, error) { return h.root.ReadDir(dir) }

// Real is where on this machine a path inside the root leads.
func (h *Host) Real(name string) (string, error) { return h.root.Real(name) }

// missing finds out whether a symbolic link is why nothing is at a path: the first component that is not there, though
// the directory above it has an entry of that name. It only words the error.
func (h *Host) missing(name string, cause error) error {
	parent := "/"
	for _, component := range strings.Split(strings.Trim(name, "/"), "/") {
		at := path.Join(parent, component)
		if t, err := h.root.Walk(at, 0); err == nil {
			parent = t.Resolved
			_ = t.Close()
			continue
		}
		info, err := os.Lstat(filepath.Join(h.dir, filepath.FromSlash(at)))
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return &check.DanglingError{Link: at}
		}
		break
	}
	return cause
}

// UID looks an account up in etc/passwd of the root. Accounts that come from elsewhere are not known.
func (h *Host) UID(user string) (int64, bool, error) {
	accounts, err := h.accounts()
	if err != nil {
		return -1, false, err
	}
	uid, ok := accounts[user]
	return uid, ok, nil
}

// readAccounts reads passwd(5). The first entry of a name counts, as it does for getpwnam.
func readAccounts(root *facts.Root) (map[string]int64, error) {
	data, err := root.ReadFile("/etc/passwd", maxAccounts)
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	accounts := map[string]int64{}
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(fields) < 7 {
			continue
		}
		uid, err := strconv.ParseUint(fields[2], 10, 32)
		if _, known := accounts[fields[0]]; err == nil && !known {
			accounts[fields[0]] = int64(uid)
		}
	}
	return accounts, nil
}
