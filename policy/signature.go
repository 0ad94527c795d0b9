package policy

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/blake2b"
)

// Signatures are minisign's (https://jedisct1.github.io/minisign/#signature-format), and only the prehashed kind. They
// are read here instead of by a library: the one for Go takes legacy signatures, line ends within Base64 and text that
// is not in its canonical form, and brings a key derivation that services have no use for.

// Refusals of a signature, for errors.Is.
var (
	ErrNoKey           = errors.New("no public key is configured")
	ErrUnsigned        = errors.New("the bundle is not signed")
	ErrSignatureFormat = errors.New("not a minisign signature")
	ErrLegacySignature = errors.New("a legacy signature, which is not prehashed; sign with minisign 0.10 or later, without -l")
	ErrWrongKey        = errors.New("signed by a key that is not configured")
	ErrSignature       = errors.New("the signature does not match: bundle, comment or signature were altered")
)

const (
	algorithmKey       = "Ed" // of a public key, and of a legacy signature
	algorithmPrehashed = "ED"
	keyIDBytes         = 8
	maxSignature       = 16 << 10 // bytes of a signature file; minisign's comments have at most 9 KiB
)

// PublicKey is a minisign public key. The zero PublicKey verifies nothing. It can be compared.
type PublicKey struct {
	id  [keyIDBytes]byte
	key [ed25519.PublicKeySize]byte
}

// ParsePublicKey reads a key as `minisign -G` prints it, or the whole file that it writes.
func ParsePublicKey(text string) (PublicKey, error) {
	line := strings.TrimSuffix(text, "\n")
	if comment, rest, ok := strings.Cut(line, "\n"); ok {
		if !strings.HasPrefix(comment, commentPrefix) {
			return PublicKey{}, errors.New("public key: not a minisign key")
		}
		line = rest
	}
	raw, err := decodeExactly(line, len(algorithmKey)+keyIDBytes+ed25519.PublicKeySize)
	if err != nil || string(raw[:2]) != algorithmKey {
		return PublicKey{}, errors.New("public key: not a minisign key")
	}
	return PublicKey{[keyIDBytes]byte(raw[2:10]), [ed25519.PublicKeySize]byte(raw[10:])}, nil
}

// String gives the key as [ParsePublicKey] takes it.
func (k PublicKey) String() string {
	return base64.StdEncoding.EncodeToString(append(append([]byte(algorithmKey), k.id[:]...), k.key[:]...))
}

// ID names the key as minisign does. It is a hint and proves nothing.
func (k PublicKey) ID() string { return keyID(k.id) }

func keyID(id [keyIDBytes]byte) string {
	return fmt.Sprintf("%X", binary.LittleEndian.Uint64(id[:]))
}

const (
	commentPrefix = "untrusted comment: "
	trustedPrefix = "trusted comment: "
)

// signature is a signature file, taken apart.
type signature struct {
	keyID   [keyIDBytes]byte
	archive [ed25519.SignatureSize]byte
	comment string // the trusted one
	global  [ed25519.SignatureSize]byte
}

// parseSignature reads a signature file. There is one way to write it, so that two files are equal or say different
// things, but for the comment that nobody trusts.
func parseSignature(file []byte) (*signature, error) {
	lines := bytes.Split(file, []byte("\n"))
	if len(file) > maxSignature || len(lines) != 5 || len(lines[4]) != 0 || !bytes.HasPrefix(lines[0], []byte(commentPrefix)) {
		return nil, fmt.Errorf("%w: not four lines of the right kind", ErrSignatureFormat)
	}
	comment, ok := bytes.CutPrefix(lines[2], []byte(trustedPrefix))
	if !ok {
		return nil, fmt.Errorf("%w: no trusted comment", ErrSignatureFormat)
	}
	own, err := decodeExactly(string(lines[1]), 2+keyIDBytes+ed25519.SignatureSize)
	if err != nil {
		return nil, fmt.Errorf("%w: line 2: %w", ErrSignatureFormat, err)
	}
	global, err := decodeExactly(string(lines[3]), ed25519.SignatureSize)
	if err != nil {
		return nil, fmt.Errorf("%w: line 4: %w", ErrSignatureFormat, err)
	}
	switch string(own[:2]) {
	case algorithmPrehashed:
	case algorithmKey:
		return nil, ErrLegacySignature
	default:
		return nil, fmt.Errorf("%w: unknown algorithm %q", ErrSignatureFormat, own[:2])
	}
	return &signature{
		keyID: [keyIDBytes]byte(own[2:10]), archive: [ed25519.SignatureSize]byte(own[10:]),
		comment: string(comment), global: [ed25519.SignatureSize]byte(global),
	}, nil
}

// decodeExactly decodes Base64 of so many bytes in its one canonical form.
func decodeExactly(text string, size int) ([]byte, error) {
	if len(text) != base64.StdEncoding.EncodedLen(size) || strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return nil, errors.New("wrong length")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, err
	}
	if len(raw) != size {
		return nil, errors.New("wrong length")
	}
	return raw, nil
}

// verify checks both signatures: that over the archive, and that over the first and the trusted comment.
func (s *signature) verify(archive []byte, keys []PublicKey) error {
	sum := blake2b.Sum512(archive)
	global := append(s.archive[:], s.comment...)
	known := false
	for _, k := range keys {
		if k.id != s.keyID || k == (PublicKey{}) { // zero is a point of the curve for which anybody can make signatures
			continue
		}
		known = true
		if ed25519.Verify(k.key[:], sum[:], s.archive[:]) && ed25519.Verify(k.key[:], global, s.global[:]) {
			return nil
		}
	}
	if !known {
		return fmt.Errorf("%w: %s", ErrWrongKey, keyID(s.keyID))
	}
	return ErrSignature
}
