package policy

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// The entrypoints that every bundle must have.
const (
	EntrypointDecision = "secrets/load/decision" // the verdict, as an object
	EntrypointMayAsk   = "secrets/load/may_ask"  // a boolean, from subject, action and reference alone
)

// ErrBundle is wrapped by every error about a bundle's archive.
var ErrBundle = errors.New("invalid policy bundle")

// What a bundle may hold at most. The archive's limit leaves room for every other one.
const (
	maxArchive  = 96 << 20
	maxUnpacked = 96 << 20
	maxWasm     = 16 << 20
	maxData     = 64 << 20
	maxManifest = 1 << 20
	maxSmoke    = 1 << 20
	maxRego     = 1 << 20 // for each file
	maxEntries  = 1000
)

// The names of the files in a bundle that are not Rego.
const (
	wasmFile     = "policy.wasm"
	dataFile     = "data.json"
	manifestFile = ".manifest"
	smokeFile    = "smoke.json"
)

// Bundle is a compiled policy with its data: OPA's bundle layout, in memory.
type Bundle struct {
	Wasm     []byte            // the compiled policy
	Data     []byte            // a JSON object; nil stands for {}
	Manifest Manifest          // what the bundle says about itself
	Rego     map[string][]byte // the sources by path, for explanations only: nothing evaluates them

	// Smoke is a JSON object with requests and the verdicts that they must get before the bundle is in force (the format
	// is in .specs/30_policy.md); nil for none.
	Smoke []byte

	proof *proof // of who signed it; nil for nobody
}

//go:embed default.sha256
var defaultModule string // hexadecimal, of the module in default.tar.gz; go generate writes both

// proven reports whether the module is the one that is built into this package, whatever way it came.
func (b *Bundle) proven() bool {
	sum := sha256.Sum256(b.Wasm)
	return hex.EncodeToString(sum[:]) == strings.TrimSpace(defaultModule)
}

// Statement is what the bundle's signer said about it; it is zero for a bundle that no [Verifier] has seen.
func (b *Bundle) Statement() Statement {
	if b.proof == nil {
		return Statement{}
	}
	return b.proof.statement
}

// ReadBundle reads a bundle's archive, a gzipped tarball, and refuses whatever it does not understand. It reads one
// that was written by `opa build -t wasm` with both entrypoints as well. It says nothing about who made the archive: a
// service takes a file only through a [Verifier]; this is for tools, and for what is built into a program.
func ReadBundle(archive []byte) (*Bundle, error) {
	b := &Bundle{Rego: map[string][]byte{}}
	var manifest []byte
	err := unpack(archive, func(name string, content []byte) {
		switch name {
		case wasmFile:
			b.Wasm = content
		case dataFile:
			b.Data = content
		case manifestFile:
			manifest = content
		case smokeFile:
			b.Smoke = content
		default:
			b.Rego[name] = content
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if manifest == nil {
		return nil, fmt.Errorf("%w: no %s in it", ErrBundle, manifestFile)
	}
	if b.Manifest, err = parseManifest(manifest); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrBundle, manifestFile, err)
	}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	return b, nil
}

// Marshal writes the bundle's archive. Equal bundles give equal bytes, whatever machine, time or Go version, and
// [ReadBundle] accepts the result.
func (b *Bundle) Marshal() ([]byte, error) {
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	manifest, err := b.Manifest.marshal()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrBundle, manifestFile, err) // not covered: strings and numbers always marshal
	}
	files := maps.Clone(b.Rego)
	if files == nil {
		files = map[string][]byte{}
	}
	files[wasmFile], files[dataFile], files[manifestFile] = b.Wasm, b.data(), manifest
	if b.Smoke != nil {
		files[smokeFile] = b.Smoke
	}
	archive, err := pack(files)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	return archive, nil
}

// data returns the data document, which may be left out.
func (b *Bundle) data() []byte {
	if b.Data == nil {
		return []byte("{}")
	}
	return b.Data
}

// check reports what is wrong with a bundle, read or about to be written.
func (b *Bundle) check() error {
	if len(b.Wasm) == 0 {
		return fmt.Errorf("no %s in it, or an empty one", wasmFile)
	}
	if err := b.Manifest.check(); err != nil {
		return fmt.Errorf("%s: %w", manifestFile, err)
	}
	if err := checkJSON(b.data()); err != nil {
		return inFile(dataFile, err)
	}
	if _, err := b.smokeCases(); err != nil {
		return inFile(smokeFile, err)
	}
	unpacked := len(b.Wasm) + len(b.Data) + len(b.Smoke)
	for _, name := range slices.Sorted(maps.Keys(b.Rego)) {
		if err := checkEntryName(name); err != nil {
			return err
		}
		if !strings.HasSuffix(name, ".rego") {
			return fmt.Errorf("unknown file %q", name)
		}
		if err := checkEntrySize(name, int64(len(b.Rego[name]))); err != nil {
			return err
		}
		unpacked += len(b.Rego[name])
	}
	return errors.Join(
		checkEntrySize(wasmFile, int64(len(b.Wasm))),
		checkEntrySize(dataFile, int64(len(b.Data))),
		checkEntrySize(smokeFile, int64(len(b.Smoke))),
		checkTotals(len(b.Rego), unpacked),
	)
}

// inFile says which file an error is about.
func inFile(name string, err error) error {
	var fault *JSONError
	if errors.As(err, &fault) {
		fault.File = name
	}
	return fmt.Errorf("%s: %w", name, err)
}

// checkTotals leaves 1 KiB of tar for each entry and 1 MiB for the manifest.
func checkTotals(rego, unpacked int) error {
	if rego > maxEntries-4 {
		return fmt.Errorf("%w: more than %d files", ErrOversized, maxEntries)
	}
	if unpacked > maxUnpacked-maxManifest-2*maxEntries*1024 {
		return fmt.Errorf("%w: more than %d bytes unpacked", ErrOversized, maxUnpacked)
	}
	return nil
}

// checkEntryName accepts a clean relative path and nothing that could mean another place.
func checkEntryName(name string) error {
	switch {
	case name == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, isControl) || strings.Contains(name, `\`):
		return fmt.Errorf("unclean path %q", name)
	case strings.HasPrefix(name, "/") || slices.Contains(strings.Split(name, "/"), ".."):
		return fmt.Errorf("path %q %w", name, ErrEscape)
	case path.Clean(name) != name || name == ".":
		return fmt.Errorf("unclean path %q", name)
	}
	return nil
}

// checkEntrySize compares a file's size with the limit for its kind.
func checkEntrySize(name string, size int64) error {
	limit := int64(maxRego)
	switch name {
	case wasmFile:
		limit = maxWasm
	case dataFile:
		limit = maxData
	case manifestFile:
		limit = maxManifest
	case smokeFile:
		limit = maxSmoke
	}
	if size > limit {
		return fmt.Errorf("%w: %s has %d bytes, at most %d are read", ErrOversized, name, size, limit)
	}
	return nil
}

// isControl reports characters that have no place in a name.
func isControl(r rune) bool { return r < 0x20 || r == 0x7f }
