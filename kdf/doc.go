// Package kdf derives keys from a token that a service already holds: HKDF-SHA256 (RFC 5869) without salt, with the
// domain as the info input, 32 bytes out. The same token and domain always give the same key, and different domains give
// independent keys: one domain per purpose, and a constant here for each that this project knows.
//
//	key, err := kdf.Derive(token, kdf.SealKeyV1)
//
// It is not for passwords: HKDF adds no work factor, so that a guessable token gives a guessable key.
//
// The derivation is that of crypto/hkdf, which computes on the Go heap. The digests that hashed the token are overwritten
// afterwards and the output is wiped when it has been copied into the key. What stays until the memory is used again: the
// intermediate key of HKDF, plain and padded for HMAC, and the last output block, which equals the key; they are out of
// reach inside crypto/hkdf.
package kdf
