package loader

import "golang.org/x/sys/unix"

const atSecure = 23 // AT_SECURE in <elf.h>

// secureExecution reports whether the kernel started this program with more rights than its caller has. When it cannot
// be told, it is.
func secureExecution() bool {
	aux, err := unix.Auxv()
	if err != nil {
		return true
	}
	for _, pair := range aux {
		if pair[0] == atSecure {
			return pair[1] != 0
		}
	}
	return true
}
