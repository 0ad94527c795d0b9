package secret

import "crypto/subtle"

// KeySize is the length of a [Key] in bytes.
const KeySize = 32

// Key is exactly 32 bytes for HMAC-SHA256 or a cipher. It is safe for concurrent use. A nil and a zero Key behave as a
// closed one. Use it as *Key: copies share the content and its Close.
type Key struct {
	_ noCopy
	handle
}

// NewKey makes a key from what fill writes into buf: [KeySize] zero bytes outside the Go heap, all of which become the
// key: one that fill leaves alone is all zeros. fill must not keep buf. The error is that of fill, as it is, or [ErrNoMemory]; buf is wiped then.
func NewKey(fill func(buf []byte) error) (*Key, error) {
	return Options{}.NewKey(fill)
}

// NewKey is the function [NewKey] under these options; [ErrNotLocked] is one more error then.
func (o Options) NewKey(fill func(buf []byte) error) (*Key, error) {
	if fill == nil {
		return nil, errNilFunc
	}
	c, err := newCell(o, 0, KeySize, func(buf []byte) (int, error) { return KeySize, fill(buf) })
	if err != nil {
		return nil, err
	}
	return &Key{handle: handle{open: func() *cell { return c }}}, nil
}

func (k *Key) cell() *cell {
	if k == nil || k.open == nil {
		return nil
	}
	return k.open()
}

// Use is [Secret.Use] for the 32 bytes of the key.
func (k *Key) Use(f func(b []byte) error) error {
	return k.cell().use(f)
}

// Sign returns the HMAC-SHA256 (RFC 2104) of msg under k, [MACSize] bytes. Errors: [ErrClosed], [ErrNoMemory].
func (k *Key) Sign(msg []byte) ([]byte, error) {
	var mac [MACSize]byte
	if err := k.cell().mac(msg, func(sum []byte) { copy(mac[:], sum) }); err != nil {
		return nil, err
	}
	return mac[:], nil
}

// VerifyMAC reports whether mac is the HMAC-SHA256 of msg under k. The comparison is constant time over the content of mac.
// False for a mac of another length than [MACSize], for a closed key, and if there is no memory to compute.
func (k *Key) VerifyMAC(msg, mac []byte) bool {
	equal := 0
	err := k.cell().mac(msg, func(sum []byte) { equal = subtle.ConstantTimeCompare(sum, mac) })
	return err == nil && equal == 1
}

// Level says how well the memory of k is protected. It stays readable after Close.
func (k *Key) Level() Level {
	return k.cell().protection()
}

// Degradation is [Secret.Degradation] for a key.
func (k *Key) Degradation() error {
	return k.cell().degradation()
}

// Options is [Secret.Options] for a key.
func (k *Key) Options() Options {
	return k.cell().madeWith()
}

// Close is [Secret.Close] for a key.
func (k *Key) Close() error {
	return k.cell().close()
}

// mac calls f with the MAC of msg, which is gone after.
func (c *cell) mac(msg []byte, f func(sum []byte)) error {
	if err := c.acquire(); err != nil {
		return err
	}
	defer c.releaseQuietly()
	h := getHasher(c.options.RequireLocked)
	if h == nil {
		return ErrNoMemory
	}
	defer h.put()
	erasing(func() {
		h.begin(c.content())
		h.digest.Write(msg)
		f(h.end(c.content()))
	})
	return nil
}
