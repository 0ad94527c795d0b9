package recorded

import "bytes"

// Quick finds the parts of a line that an answer depends on without decoding it, where the line is written as the writers of
// decision logs do: one object, no escapes in names, and in lower case. It is a way to find again what [Parse] has read
// before, byte by byte, and proves nothing: whatever is unusual makes it report false.
func Quick(line []byte) (e Entry, ok bool) {
	i, seen := 1, 0
	if line = bytes.TrimSuffix(line, []byte("\n")); len(line) < 2 || line[0] != '{' {
		return e, false
	}
	for {
		end := ended(line, i)
		if end < 0 || end >= len(line) || line[end] != ':' {
			return e, false
		}
		name := line[i+1 : end-1]
		i = end + 1
		if end = value(line, i); end < 0 || end >= len(line) {
			return e, false
		}
		raw := line[i:end]
		bit := 0
		switch string(name) {
		case "input":
			e.Input, bit = raw, 1
		case "result":
			e.Result, bit = raw, 2
		case "error":
			e.Error, bit = raw, 4
		case "path":
			if len(raw) < 2 || bytes.IndexByte(raw, '\\') >= 0 {
				return e, false
			}
			e.Path, bit = string(raw[1:len(raw)-1]), 8
		case "decision_id":
			bit = 16
		case "outcome", "erased", "masked":
			return e, false
		default:
			if !plain(name) {
				return e, false
			}
		}
		seen |= bit
		switch i = end + 1; {
		case line[end] == '}':
			return e, i == len(line) && seen&27 == 27
		case line[end] != ',':
			return e, false
		}
	}
}

// plain reports whether a name is written in lower case, so that no reader takes it for another.
func plain(name []byte) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && c != '_' && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// ended gives where a string ends that begins at i, or -1.
func ended(line []byte, i int) int {
	if i >= len(line) || line[i] != '"' {
		return -1
	}
	for i++; ; {
		n := bytes.IndexByte(line[i:], '"')
		if n < 0 {
			return -1
		}
		i += n + 1
		slashes := 0
		for k := i - 2; line[k] == '\\'; k-- {
			slashes++
		}
		if slashes%2 == 0 {
			return i
		}
	}
}

// value gives where a value ends that begins at i, or -1.
func value(line []byte, i int) int {
	depth := 0
	for i < len(line) {
		switch line[i] {
		case '"':
			if i = ended(line, i); i < 0 {
				return -1
			}
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return -1
}
