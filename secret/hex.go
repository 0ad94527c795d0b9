package secret

import "fmt"

// decodeHex decodes len(dst) bytes from twice as many hex digits. Unlike encoding/hex it has no table that a secret digit
// indexes and no branch on one: all digits are looked at, and only then does the whole count as valid or not.
func decodeHex(dst, digits []byte) error {
	if len(digits) != 2*len(dst) {
		return ErrInvalidFormat
	}
	valid := uint32(1)
	for i := range dst {
		hi, okHi := nibble(digits[2*i])
		lo, okLo := nibble(digits[2*i+1])
		dst[i] = byte((hi<<4 | lo) & 0xff)
		valid &= okHi & okLo
	}
	if valid == 0 {
		return fmt.Errorf("%w: not hexadecimal", ErrInvalidFormat)
	}
	return nil
}

// nibble returns the value of a hex digit and 1, or 0 and 0, by arithmetic alone.
func nibble(c byte) (value, ok uint32) {
	digit := uint32(c) - '0'
	letter := uint32(c|0x20) - 'a'
	isDigit := below(digit, 10)
	isLetter := below(letter, 6)
	return digit*isDigit + (letter+10)*isLetter, isDigit | isLetter
}

// below returns 1 if x < n and else 0. n is less than 1<<31; an x that wrapped around below zero counts as large.
func below(x, n uint32) uint32 {
	return uint32((uint64(x) - uint64(n)) >> 63)
}
