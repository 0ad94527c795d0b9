package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"hash"
	"runtime"
	"sync"
)

// MACSize is the length of an HMAC-SHA256 in bytes.
const MACSize = sha256.Size

// hasher computes HMAC-SHA256 (RFC 2104, FIPS 198-1) from crypto/sha256. crypto/hmac leaves padded keys and the tail of
// what it hashed on the Go heap until the memory is used again; here keys are padded in an arena slot, and the digest is
// overwritten after each use.
type hasher struct {
	digest hash.Hash
	pad    []byte // one block: the key with ipad or opad
	inner  []byte // the inner hash
	sum    []byte // the outer hash
	buf    []byte // a few blocks of message
	all    []byte // the four above
	level  Level

	reserved bool // this is spare.hasher
}

const bufBlocks = 5

// hashers keeps hashers for reuse, one for each busy processor: creating one costs an arena slot.
//
//nolint:gochecknoglobals // scratch memory without content, which belongs to the processors, not to a caller
var hashers = sync.Pool{New: func() any {
	h, err := newHasher(false)
	if err != nil {
		return nil
	}
	return h
}}

// spare is a hasher in locked memory for secrets that require it, made before the first of them and kept: the pool
// drops its own at any collection, and the lock limit may be used up when the next Verify needs one.
//
//nolint:gochecknoglobals // as hashers
var spare struct {
	mu     sync.Mutex // held while the hasher is in use
	hasher *hasher
}

// reserveHasher makes the spare one. Errors match ErrNotLocked or ErrNoMemory.
func reserveHasher() error {
	spare.mu.Lock()
	defer spare.mu.Unlock()
	if spare.hasher != nil {
		return nil
	}
	h, err := newHasher(true)
	if err != nil {
		return err
	}
	h.reserved = true
	spare.hasher = h
	return nil
}

func newHasher(locked bool) (*hasher, error) {
	b, err := shared.alloc(sha256.BlockSize+2*MACSize+bufBlocks*sha256.BlockSize, locked)
	if err != nil {
		return nil, err
	}
	cut := func(from, n int) []byte { return b.mem[from : from+n : from+n] }
	h := &hasher{
		digest: sha256.New(),
		pad:    cut(0, sha256.BlockSize),
		inner:  cut(sha256.BlockSize, MACSize),
		sum:    cut(sha256.BlockSize+MACSize, MACSize),
		buf:    cut(sha256.BlockSize+2*MACSize, bufBlocks*sha256.BlockSize),
		all:    b.mem,
		level:  b.level(),
	}
	runtime.AddCleanup(h, reclaim, b) // the pool drops what is not in use
	return h, nil
}

// getHasher returns a hasher that its caller must put back, or nil if there is no memory for one. It is in locked memory
// if that is required; after reserveHasher there always is one.
func getHasher(locked bool) *hasher {
	h, _ := hashers.Get().(*hasher)
	if !locked || h != nil && h.level != LevelHeap {
		return h
	}
	if h != nil {
		hashers.Put(h)
	}
	if h, err := newHasher(true); err == nil {
		return h
	}
	spare.mu.Lock()
	return spare.hasher
}

// put wipes everything that h has seen and makes it available again.
func (h *hasher) put() {
	Wipe(h.all)
	// Reset leaves the digest's block buffer as it is. A block of zeros, which pad is now, overwrites it, in two writes:
	// one alone would be hashed from where it is, without a copy into the buffer.
	h.digest.Reset()
	h.digest.Write(h.pad[1:])
	h.digest.Write(h.pad[:1])
	h.digest.Reset()
	if h.reserved {
		spare.mu.Unlock()
		return
	}
	hashers.Put(h)
}

// begin starts a MAC under key, at most one block of it.
func (h *hasher) begin(key []byte) {
	h.writePad(key, 0x36)
}

// end returns the MAC of what was written to h.digest since begin. It is valid until put.
func (h *hasher) end(key []byte) []byte {
	inner := h.digest.Sum(h.inner[:0])
	h.writePad(key, 0x5c)
	h.digest.Write(inner)
	return h.digest.Sum(h.sum[:0])
}

func (h *hasher) writePad(key []byte, pad byte) {
	for i := range h.pad {
		h.pad[i] = pad
	}
	subtle.XORBytes(h.pad, h.pad, key)
	h.digest.Reset()
	h.digest.Write(h.pad)
}

// writeBlocks writes msg, a 0x80 byte and zeros up to a whole number of blocks: different messages stay different
// (ISO/IEC 9797-1, padding method 2), and no part of msg stays in the digest's own buffer, which is on the Go heap.
func writeBlocks[T string | []byte](h *hasher, msg T) {
	for {
		n := copy(h.buf, msg)
		if n < len(h.buf) {
			end := (n/sha256.BlockSize + 1) * sha256.BlockSize
			h.buf[n] = 0x80
			clear(h.buf[n+1 : end])
			h.digest.Write(h.buf[:end])
			return
		}
		h.digest.Write(h.buf)
		msg = msg[n:]
	}
}
