package kdf

import (
	"fmt"
	"strconv"
	"strings"
)

// A label says what a key is for: project, use, version. It is part of what is stored under the key, so that it never
// changes and is never used for anything else. One constant for each; a test refuses two with the same value.
const (
	// SealKey is the purpose of the key that vram-residency seals shards with, derived from the worker's token.
	SealKey = "llorch-seal-key"
	// SealKeyV1 is the domain of the first way to seal. A new way gets the next version, and leaves this one to what it
	// has sealed.
	SealKeyV1 = SealKey + "-v1"
)

// MaxVersion is the highest version of a label.
const MaxVersion = 9999

// Label returns the domain of one version of a purpose, such as llorch-seal-key-v2, for services that roll keys over: they
// derive the version that a record names, and seal with the highest. Each version gives an independent key.
//
// Versions are 1 to [MaxVersion]. The purpose is lower-case letters, digits and single dashes between them, and does not
// end like a version itself, so that no two pairs give the same label; else the error is [ErrDerivation].
func Label(purpose string, version int) (string, error) {
	if version < 1 || version > MaxVersion {
		return "", fmt.Errorf("%w: version %d, want 1 to %d", ErrDerivation, version, MaxVersion)
	}
	for word := range strings.SplitSeq(purpose, "-") {
		if word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return "", fmt.Errorf("%w: purpose %.60q is not lower-case words with dashes between them", ErrDerivation, purpose)
		}
	}
	if isVersion(purpose[strings.LastIndexByte(purpose, '-')+1:]) {
		return "", fmt.Errorf("%w: purpose %.60q ends in a version", ErrDerivation, purpose)
	}
	label := purpose + "-v" + strconv.Itoa(version)
	return label, checkDomain(label)
}

// isVersion reports whether word is v and digits.
func isVersion(word string) bool {
	digits, ok := strings.CutPrefix(word, "v")
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}
