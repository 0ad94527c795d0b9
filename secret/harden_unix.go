//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package secret

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func noCoreFiles() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("secret: RLIMIT_CORE: %w", err) // not covered: everybody may lower a limit
	}
	return nil
}
