package secret

import "fmt"

// base64Size is the number of base64 characters for a key, without padding: ten groups of four for 30 bytes, three for
// the last two.
const base64Size = (KeySize*8 + 5) / 6

func decodeBase64Std(dst, text []byte) error { return decodeBase64(dst, text, '+', '/') }

func decodeBase64URL(dst, text []byte) error { return decodeBase64(dst, text, '-', '_') }

// decodeBase64 decodes KeySize bytes from base64Size characters, or one more which is the padding. As in decodeHex, no
// table and no branch depends on a character, and all are looked at before the whole counts as valid or not.
func decodeBase64(dst, text []byte, char62, char63 byte) error {
	if len(dst) != KeySize || len(text) != base64Size && len(text) != base64Size+1 {
		return ErrInvalidFormat
	}
	valid := uint32(1)
	if len(text) > base64Size {
		valid = same(text[base64Size], '=')
	}
	var bits uint32 // those that no byte has taken yet
	have, next := 0, 0
	for _, c := range text[:base64Size] {
		v, ok := sextet(c, char62, char63)
		valid &= ok
		bits = bits<<6 | v
		have += 6
		if have >= 8 {
			have -= 8
			dst[next] = byte(bits >> have & 0xff)
			next++
		}
	}
	valid &= below(bits&(1<<have-1), 1) // a canonical text has zeros there
	if valid == 0 {
		return fmt.Errorf("%w: not canonical base64", ErrInvalidFormat)
	}
	return nil
}

// sextet returns the value of a base64 character and 1, or 0 and 0, by arithmetic alone.
func sextet(c, char62, char63 byte) (value, ok uint32) {
	upper, lower, digit := uint32(c)-'A', uint32(c)-'a', uint32(c)-'0'
	isUpper, isLower, isDigit := below(upper, 26), below(lower, 26), below(digit, 10)
	is62, is63 := same(c, char62), same(c, char63)
	value = upper*isUpper + (lower+26)*isLower + (digit+52)*isDigit + 62*is62 + 63*is63
	return value, isUpper | isLower | isDigit | is62 | is63
}

// same returns 1 if a and b are equal and else 0.
func same(a, b byte) uint32 {
	return below(uint32(a^b), 1)
}
