package secret

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
)

const (
	// MaxSize is the length of the longest secret in bytes: one more than 1 MiB, so that a loader whose limit is 1 MiB
	// can read one byte too many and see it.
	MaxSize = 1<<20 + 1

	// MaxVerifyInput is the length of the longest input that Verify looks at. It is the same for all secrets, and no
	// secret is longer: a limit that depended on the secret would tell its length.
	MaxVerifyInput = MaxSize
)

// A secret's slot begins with its verifier: a random key, and the MAC of the content under that key.
const (
	verifierKeySize = 32
	verifierSize    = verifierKeySize + MACSize
)

// Secret is a byte string, such as a token or a password, of 1 to [MaxSize] bytes. It is safe for concurrent use. A nil
// and a zero Secret behave as a closed one. Use it as *Secret: copies share the content and its Close.
type Secret struct {
	_ noCopy
	handle
}

// New makes a secret from what fill writes: it gets a zeroed buffer of size bytes outside the Go heap, and returns how
// many bytes at the start of it are the content. The rest is wiped; the secret takes no more memory than its content
// needs, to the page where it is large. fill must not keep the buffer. Size it by the expected content (n+1 for a file of n bytes shows whether it grew):
// a buffer over 4 KiB costs a mapping of its own, and wiping 1 MiB takes milliseconds.
//
// Errors: that of fill, as it is; [ErrEmpty] if size or the content is not positive; [ErrTooLarge] if size is over
// [MaxSize]; [ErrNoMemory]. The buffer is wiped and given back on every error, and when fill panics.
func New(size int, fill func(buf []byte) (n int, err error)) (*Secret, error) {
	return Options{}.New(size, fill)
}

// New is the function [New] under these options; [ErrNotLocked] is one more error then.
func (o Options) New(size int, fill func(buf []byte) (n int, err error)) (*Secret, error) {
	switch {
	case fill == nil:
		return nil, errNilFunc
	case size <= 0:
		return nil, ErrEmpty
	case size > MaxSize:
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, MaxSize)
	}
	c, err := newCell(o, verifierSize, size, fill)
	if err != nil {
		return nil, err
	}
	// Now and not on first use: the time that this takes depends on the length of the content.
	if err := c.seal(); err != nil {
		return nil, err
	}
	return &Secret{handle: handle{open: func() *cell { return c }}}, nil
}

// FromBytes makes a secret of a copy of b and wipes b, also when it returns an error. Prefer [New] where the bytes can be
// read straight into place: b was in ordinary memory. Errors are those of New.
func FromBytes(b []byte) (*Secret, error) {
	return Options{}.FromBytes(b)
}

// FromBytes is the function [FromBytes] under these options; [ErrNotLocked] is one more error then.
func (o Options) FromBytes(b []byte) (*Secret, error) {
	defer Wipe(b)
	return o.New(len(b), func(buf []byte) (int, error) { return copy(buf, b), nil })
}

func (s *Secret) cell() *cell {
	if s == nil || s.open == nil {
		return nil
	}
	return s.open()
}

// Use calls f with the content and returns f's error. b is valid until f returns, and has no spare capacity; f should not
// change it, since Verify would then compare with what it was. A Close meanwhile, in f or elsewhere, takes effect when
// the last Use ends. A closed secret gives [ErrClosed] without a call of f. [ErrCorrupted] is joined to the error if
// this use was the last one of a closed secret whose slot turned out to be damaged.
func (s *Secret) Use(f func(b []byte) error) error {
	return s.cell().use(f)
}

// Expose returns the content as a string: a copy on the Go heap that nothing can wipe, and that everything can print. It
// is for values that leave the process, such as an outgoing Authorization header; grep for it in reviews.
func (s *Secret) Expose() (string, error) {
	var out string
	err := s.Use(func(b []byte) error {
		out = string(b)
		return nil
	})
	return out, err
}

// Verify reports whether input equals the content. It takes a time that depends on the length of input alone: both are
// hashed with HMAC-SHA256 under a random key that belongs to this secret, and the hashes are compared in constant time;
// the content was hashed when the secret was made. False for an input longer than [MaxVerifyInput], for a closed secret,
// and if there is no memory to compute.
func (s *Secret) Verify(input string) bool {
	return verify(s.cell(), input)
}

// VerifyBytes is [Secret.Verify] for a byte slice.
func (s *Secret) VerifyBytes(input []byte) bool {
	return verify(s.cell(), input)
}

// Level says how well the memory of s is protected. It stays readable after Close.
func (s *Secret) Level() Level {
	return s.cell().protection()
}

// Degradation says why the level of s is not the best one, as the function [Degradation] does for the next secret. It
// stays readable after Close.
func (s *Secret) Degradation() error {
	return s.cell().degradation()
}

// Options returns what s was made with, for what is made from it: a key decoded or derived from a secret that requires
// locked memory should require it too.
func (s *Secret) Options() Options {
	return s.cell().madeWith()
}

// Close overwrites the content with zeros and gives its memory back: now, or when the last Use that is in progress ends.
// Further calls do nothing. It never panics, and returns [ErrCorrupted], after wiping all the same, if something wrote
// past the end of the secret's slot.
func (s *Secret) Close() error {
	return s.cell().close()
}

// seal draws the verifier's key and hashes the content under it; on an error it closes c.
func (c *cell) seal() error {
	h := getHasher(c.options.RequireLocked)
	if h == nil {
		_ = c.close() // ErrNoMemory says more
		return ErrNoMemory
	}
	defer h.put()
	erasing(func() {
		key, mac := c.verifier()
		_, _ = rand.Read(key) // never returns an error: crypto/rand
		h.begin(key)
		writeBlocks(h, c.content())
		copy(mac, h.end(key))
	})
	return nil
}

func (c *cell) verifier() (key, mac []byte) {
	return c.block.mem[:verifierKeySize], c.block.mem[verifierKeySize:verifierSize]
}

func verify[T string | []byte](c *cell, input T) bool {
	if len(input) > MaxVerifyInput || c.acquire() != nil {
		return false
	}
	defer c.releaseQuietly()
	h := getHasher(c.options.RequireLocked)
	if h == nil {
		return false
	}
	defer h.put()
	equal := 0
	erasing(func() {
		key, mac := c.verifier()
		h.begin(key)
		writeBlocks(h, input)
		equal = subtle.ConstantTimeCompare(h.end(key), mac)
	})
	return equal == 1
}
