package probe

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/llorch/secrets-management/internal/facts"
	"github.com/llorch/secrets-management/policy"
)

// Listing is what a service has in its credential directory.
type Listing struct {
	UID       int
	Directory policy.File
	Files     map[string]Credential
}

// Credential is a file there.
type Credential struct {
	Size   int64
	SHA256 string
	File   policy.File // the facts as a loader judges them
}

// list lists a credential directory. One that is not there has no files.
func list(dir string) (*Listing, error) {
	l := &Listing{UID: os.Getuid(), Files: map[string]Credential{}}
	entries, err := os.ReadDir(dir)
	if dir == "" || errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	root, err := facts.OpenRoot("/")
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if l.Directory, err = describe(root, dir); err != nil {
		return nil, err
	}
	for _, e := range entries {
		p := filepath.Join(dir, e.Name())
		content, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		file, err := describe(root, p)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		l.Files[e.Name()] = Credential{int64(len(content)), hex.EncodeToString(sum[:]), file}
	}
	return l, nil
}

func describe(root *facts.Root, p string) (policy.File, error) {
	t, err := root.Walk(p, int64(os.Getuid()))
	if err != nil {
		return policy.File{}, err
	}
	return t.File, t.Close()
}
