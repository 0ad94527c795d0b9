//go:build linux && !(amd64 || arm64 || riscv64)

package secret

import "errors"

// memfdSecret is for the architectures on which Linux has the call.
func memfdSecret() (fd int, err error) { return -1, errors.ErrUnsupported }
