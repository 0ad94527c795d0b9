//go:build freebsd || netbsd || openbsd || dragonfly

package secret

import (
	"errors"
	"fmt"
)

// HardenProcess sets a limit of zero for core files. It always returns an error, which matches [errors.ErrUnsupported]
// alone if that is done: here is no call that keeps debuggers out.
func HardenProcess() error {
	return errors.Join(noCoreFiles(), fmt.Errorf("secret: no way to keep debuggers out: %w", errors.ErrUnsupported))
}
