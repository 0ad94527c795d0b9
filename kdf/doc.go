// Package kdf derives keys from a token that a service already holds: HKDF-SHA256 (RFC 5869) without salt, with the
// domain as the info input, 32 bytes out. The same token and domain always give the same key, and different domains give
// independent keys: one domain per purpose, and a constant here for each that this project knows.
//
//	key, err := kdf.Derive(token, kdf.SealKeyV1)
//
// To roll a key over, derive the next version of its purpose, and keep the version beside what the key protects:
//
//	label, err := kdf.Label(kdf.SealKey, 2)
//
// It is not for passwords: HKDF adds no work factor, so that a guessable token gives a guessable key.
//
// The derivation is that of crypto/hkdf, which computes on the Go heap. The digests that hashed the token are overwritten
// afterwards and the output is wiped when it has been copied into the key. What stays until the collector has freed the
// memory and somebody else has written to it, as a search of the whole process finds it (TestMemoryScanDerivation in
// package secret): the intermediate key of HKDF, plain and padded for HMAC, once each, and up to four copies of the
// derived key. They are out of reach inside crypto/hkdf. The token is not among them. Built with
// GOEXPERIMENT=runtimesecret, the next collection erases all of it.
//
// A derivation of our own in package secret would leave nothing without that. It would also be one more implementation of
// HKDF that somebody has to trust, outside of what is validated for FIPS 140-3; the standard library's is preferred.
package kdf
