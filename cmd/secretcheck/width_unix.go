//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// width is that of a terminal in characters, 0 where it does not say.
func width(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}
