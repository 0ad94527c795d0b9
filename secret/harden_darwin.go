package secret

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// HardenProcess keeps the memory of this process from core dumps and debuggers: PT_DENY_ATTACH, and a limit of zero for
// core files. See its documentation for Linux.
func HardenProcess() error {
	var errs []error
	if err := unix.PtraceDenyAttach(); err != nil {
		errs = append(errs, fmt.Errorf("secret: PT_DENY_ATTACH: %w", err))
	}
	return errors.Join(append(errs, noCoreFiles())...)
}
