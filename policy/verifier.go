package policy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/llorch/secrets-management/policy/internal/ownfile"
	"github.com/llorch/secrets-management/policy/internal/statefile"
)

// Refusals of a bundle whose signature is good, for errors.Is.
var (
	ErrWrongName  = errors.New("the bundle is another policy's")
	ErrExpired    = errors.New("the policy has expired")
	ErrRolledBack = errors.New("the bundle is older than one that was in force")

	// ErrState is matched when the state file is missing, torn, somebody else's, in the bundle's reach or cannot be
	// written. It never counts as a state without a revision.
	ErrState = statefile.ErrState
)

// SignatureSuffix is what the name of a bundle's signature file has behind that of the bundle.
const SignatureSuffix = ".minisig"

// Verifier says whose bundles are taken, and which. The zero Verifier takes none. It is not changed by its methods and
// safe for concurrent use.
type Verifier struct {
	Keys []PublicKey // whose signatures count; at least one. A second one serves while keys are changed
	Name string      // which policy this is; required
	// MinRevision is the least revision that is taken. One of it and StateFile is required.
	MinRevision uint64

	// StateFile is the absolute path of the file that remembers the highest revision that was in force. Its directory
	// and all above it belong to the service or root and can be written by nobody else, unless they are sticky, and it is
	// not within that of the bundle: whoever can replace the bundle must not be able to replace the state. Several processes may share it.
	StateFile string

	// CreateState makes the first activation create a missing state file. Leave it false where a missing file means that
	// somebody removed it; with it, MinRevision alone keeps an old bundle out on a host without the file.
	CreateState bool
}

// proof is what a verified bundle carries.
type proof struct {
	statement Statement
	verifier  Verifier
	content   string    // fingerprint of what was verified
	signature signature // tells one signed bundle from another
}

// Verify checks a bundle's archive against its signature file, and only then reads it. Every refusal has an error of its
// own: ErrNoKey, ErrUnsigned, ErrSignatureFormat, ErrLegacySignature, ErrWrongKey, ErrSignature, ErrStatement,
// ErrWrongName, ErrExpired, ErrRolledBack, ErrState, ErrOversized, and those of [ReadBundle]. The state file is read;
// what is activated is recorded, by [Open] and [Engine.Activate].
func (v Verifier) Verify(archive, signature []byte) (*Bundle, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	if len(signature) == 0 {
		return nil, ErrUnsigned
	}
	if err := checkArchiveSize(len(archive)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	s, err := parseSignature(signature)
	if err != nil {
		return nil, err
	}
	if err := s.verify(archive, v.Keys); err != nil {
		return nil, err
	}
	p := &proof{verifier: v, signature: *s}
	if err := p.statement.UnmarshalText([]byte(s.comment)); err != nil {
		return nil, err
	}
	if err := p.admit(); err != nil {
		return nil, err
	}
	b, err := ReadBundle(archive)
	if err != nil {
		return nil, err
	}
	if name := b.Manifest.Metadata.Name; name != "" && name != v.Name {
		return nil, fmt.Errorf("%w: its manifest says %.100q, %q is configured", ErrWrongName, name, v.Name)
	}
	p.content = b.fingerprint()
	b.proof = p
	return b, nil
}

// fingerprint covers whatever of a bundle has an effect or is recorded.
func (b *Bundle) fingerprint() string {
	return fmt.Sprintf("%s %q %x", digest(b), b.Manifest.Revision, sha256.Sum256(b.Smoke))
}

// check refuses a configuration that would take more than it seems.
func (v Verifier) check() error {
	switch {
	case len(v.Keys) == 0:
		return ErrNoKey
	case !validName(v.Name):
		return fmt.Errorf("policy: Verifier.Name %q is not %s", v.Name, policyName)
	case v.StateFile == "" && v.MinRevision == 0:
		return fmt.Errorf("%w: neither Verifier.StateFile nor MinRevision is set: nothing would keep an old bundle out", ErrState)
	}
	return nil
}

// admit reports whether what was signed may be in force now. It writes nothing.
func (p *proof) admit() error {
	v, s := &p.verifier, &p.statement
	if s.Name != v.Name {
		return fmt.Errorf("%w: it is signed as %q, %q is configured", ErrWrongName, s.Name, v.Name)
	}
	if err := s.checkExpired(); err != nil {
		return err
	}
	if s.Revision < v.MinRevision {
		return fmt.Errorf("%w: revision %d, at least %d is configured", ErrRolledBack, s.Revision, v.MinRevision)
	}
	if v.StateFile == "" {
		return nil
	}
	return rolledBack(statefile.Admit(v.StateFile, p.state(), v.CreateState))
}

// record remembers the revision that is about to be in force.
func (p *proof) record(ctx context.Context) error {
	if p.verifier.StateFile == "" {
		return nil
	}
	return rolledBack(statefile.Raise(ctx, p.verifier.StateFile, p.state(), p.verifier.CreateState))
}

func (p *proof) state() statefile.State {
	return statefile.State{Name: p.statement.Name, Revision: p.statement.Revision}
}

func rolledBack(err error) error {
	if errors.Is(err, statefile.ErrOlder) {
		return fmt.Errorf("%w: %w", ErrRolledBack, err)
	}
	return err
}

// VerifyFile reads a bundle and the signature beside it, at file + [SignatureSuffix], and verifies them. It refuses a
// state file that lies in the bundle's directory or beneath it, whatever links lead there. Other errors are those of
// Verify and the system's; a missing signature file is ErrUnsigned.
func (v Verifier) VerifyFile(file string) (*Bundle, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	if v.StateFile != "" {
		if err := outOfReach(v.StateFile, file); err != nil {
			return nil, err
		}
	}
	signature, err := readBounded(file+SignatureSuffix, maxSignature, ErrSignatureFormat)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrUnsigned, err)
	}
	if err != nil {
		return nil, err
	}
	archive, err := readBounded(file, maxArchive, ErrOversized)
	if err != nil {
		return nil, err
	}
	return v.Verify(archive, signature)
}

// readBounded reads a regular file. A FIFO does not block it.
func readBounded(name string, most int64, tooLarge error) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // G304: the operator names the file
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, err // not covered: only a kernel that lies about an open file gets here
	case !fi.Mode().IsRegular():
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(content)) > most {
		return nil, fmt.Errorf("%w: %q has more than %d bytes", tooLarge, name, most)
	}
	return content, err
}

// maxLinks bounds the symbolic links from a bundle's name to its file.
const maxLinks = 40

// outOfReach refuses a state file in any directory that decides what the bundle is: the one it is named in, the one it
// lies in, and those of the links between.
func outOfReach(state, bundle string) error {
	dirs, err := directories(bundle)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		inside, err := ownfile.Within(filepath.Dir(state), dir)
		if err != nil {
			return fmt.Errorf("%w: %q: %w", ErrState, state, err)
		}
		if inside {
			return fmt.Errorf("%w: %q lies in a directory of the bundle: whoever can replace the one could replace the other", ErrState, state)
		}
	}
	return nil
}

// directories lists the directories that a file's name, each link from there on, and the file itself lie in.
func directories(file string) ([]fs.FileInfo, error) {
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return nil, err
	}
	var dirs []fs.FileInfo
	add := func(name string) error {
		dir, err := os.Stat(parent(name))
		dirs = append(dirs, dir)
		return err
	}
	if err := add(real); err != nil {
		return nil, err // not covered: only if the directory goes away meanwhile
	}
	for at := file; ; {
		if err := add(at); err != nil {
			return nil, err // not covered: only if the directory goes away meanwhile
		}
		if len(dirs) > maxLinks {
			return nil, fmt.Errorf("%q: more than %d symbolic links", file, maxLinks)
		}
		to, err := os.Readlink(at)
		if err != nil {
			return dirs, nil //nolint:nilerr // not a link: the file itself
		}
		if !filepath.IsAbs(to) {
			to = parent(at) + string(filepath.Separator) + to
		}
		at = to
	}
}

// parent names the directory of a file. Other than filepath.Dir it cleans nothing: behind a link, .. is what the link makes
// it.
func parent(file string) string {
	dir, _ := filepath.Split(file)
	return dir + "."
}
