package secret

import "runtime"

// Wipe overwrites b with zeros. The compiler cannot drop the stores: the call is never inlined, so that it does not
// know whether anybody reads b again.
//
//go:noinline
func Wipe(b []byte) {
	clear(b)
	runtime.KeepAlive(b)
}

// TrimSpace removes ASCII white space (tab, line feed, vertical tab, form feed, carriage return, space) from both ends
// of buf in place: what is left starts at buf[0], the rest of buf is wiped. It returns the number of bytes left, and is
// meant for the fill function of [New]. Other bytes are not looked at, so that the content need not be valid UTF-8.
func TrimSpace(buf []byte) int {
	end := len(buf)
	for end > 0 && isSpace(buf[end-1]) {
		end--
	}
	start := 0
	for start < end && isSpace(buf[start]) {
		start++
	}
	n := copy(buf, buf[start:end])
	Wipe(buf[n:])
	return n
}

func isSpace(c byte) bool {
	return c == ' ' || '\t' <= c && c <= '\r'
}
