//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package secret

import (
	"errors"
	"fmt"
)

// HardenProcess does nothing here and returns an error that matches [errors.ErrUnsupported].
func HardenProcess() error {
	return fmt.Errorf("secret: hardening the process: %w", errors.ErrUnsupported)
}
