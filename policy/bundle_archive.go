package policy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Refusals of an archive, for errors.Is; each comes with ErrBundle.
var (
	ErrOversized = errors.New("too large")               // the archive, or a file in it by what its header says
	ErrBomb      = errors.New("a decompression bomb")    // more comes out of it than any bundle has
	ErrEscape    = errors.New("leads out of the bundle") // the path of an entry
	ErrDuplicate = errors.New("duplicate entry")         // which of the two counts depends on the reader
)

// errUnpacked stops a decompression bomb.
var errUnpacked = fmt.Errorf("%w: more than %d bytes unpacked", ErrBomb, maxUnpacked)

func checkArchiveSize(n int) error {
	if n > maxArchive {
		return fmt.Errorf("%w: the archive has %d bytes, at most %d are read", ErrOversized, n, maxArchive)
	}
	return nil
}

// unpack calls each for every file of a gzipped tarball, with its name without a leading slash. Every size is compared
// with its limit before memory is taken for it.
func unpack(archive []byte, each func(name string, content []byte)) error {
	if err := checkArchiveSize(len(archive)); err != nil {
		return err
	}
	rest := bytes.NewReader(archive) // a ByteReader: gzip takes no byte beyond its own end
	zr, err := gzip.NewReader(rest)
	if err != nil {
		return fmt.Errorf("not a gzip archive: %w", ends(err))
	}
	zr.Multistream(false)
	bounded := &boundedReader{r: zr, left: maxUnpacked}
	if err := untar(bounded, each); err != nil {
		return err
	}
	if err := onlyPadding(bounded); err != nil {
		return err
	}
	return nothingLeft(rest)
}

// untar reads the tarball within the archive.
func untar(r io.Reader, each func(name string, content []byte)) error {
	tr := tar.NewReader(r)
	seen := map[string]bool{}
	for entries := 1; ; entries++ {
		hdr, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errUnpacked):
			return err
		case err != nil:
			return fmt.Errorf("not a tarball, or a damaged one: %w", ends(err))
		case entries > maxEntries:
			return fmt.Errorf("%w: more than %d entries", ErrOversized, maxEntries)
		}
		name, err := entryName(hdr)
		if err != nil {
			return err
		}
		if seen[name] {
			return fmt.Errorf("%w %q", ErrDuplicate, name)
		}
		seen[name] = true
		if hdr.Typeflag == tar.TypeDir {
			continue
		}
		if err := checkEntrySize(name, hdr.Size); err != nil {
			return err
		}
		content := make([]byte, hdr.Size)
		if _, err := io.ReadFull(tr, content); err != nil {
			return fmt.Errorf("%s: %w", name, ends(err))
		}
		each(name, content)
	}
}

// entryName returns the name of a file or directory that may be in a bundle. OPA writes names with a leading slash.
func entryName(hdr *tar.Header) (string, error) {
	name := strings.TrimPrefix(hdr.Name, "/")
	if hdr.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	if err := checkEntryName(name); err != nil {
		return "", err
	}
	switch hdr.Typeflag {
	case tar.TypeDir:
		return name, nil
	case tar.TypeReg:
	default:
		return "", fmt.Errorf("entry %q is not a regular file", name)
	}
	if !isKnown(name) && !strings.HasSuffix(name, ".rego") {
		return "", fmt.Errorf("unknown file %q", name)
	}
	return name, nil
}

// isKnown reports the files with a name of their own; the others are Rego.
func isKnown(name string) bool {
	return name == wasmFile || name == dataFile || name == manifestFile || name == smokeFile
}

// onlyPadding reads to the end of the gzip stream, which checks its sum as well.
func onlyPadding(r io.Reader) error {
	var buf [4096]byte
	for {
		n, err := r.Read(buf[:])
		if len(bytes.Trim(buf[:n], "\x00")) > 0 {
			return errors.New("data after the end of the tarball")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return ends(err)
		}
	}
}

// nothingLeft refuses bytes that other readers would see and this one would not.
func nothingLeft(rest *bytes.Reader) error {
	if rest.Len() == 0 {
		return nil
	}
	if magic := make([]byte, 2); rest.Len() > 2 {
		_, _ = rest.Read(magic) // a bytes.Reader with two bytes gives two bytes
		if magic[0] == 0x1f && magic[1] == 0x8b {
			return errors.New("a second gzip member follows the first")
		}
	}
	return errors.New("trailing bytes after the archive")
}

// ends gives the bare end-of-input errors a meaning.
func ends(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the archive ends too early")
	}
	return err
}

// boundedReader fails, other than io.LimitedReader, when there is more than its bound.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, errUnpacked
	}
	return n, err
}

// pack writes files as a gzipped tarball that depends on their names and contents only. Nothing is compressed: what a
// compressor emits changes with Go's version.
func pack(files map[string][]byte) ([]byte, error) {
	var buf bytes.Buffer
	zw, err := gzip.NewWriterLevel(&buf, gzip.NoCompression)
	if err != nil {
		return nil, err // not covered: the level is a valid constant
	}
	tw := tar.NewWriter(zw)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		hdr := &tar.Header{
			Name: "/" + name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[name])), Format: tar.FormatUSTAR,
		}
		if err := tw.WriteHeader(hdr); err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		if _, err := tw.Write(files[name]); err != nil {
			return nil, err // not covered: the size is that of the content, and a buffer takes all
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		return nil, err // not covered: every entry is complete, and a buffer takes all
	}
	return buf.Bytes(), nil
}
