//go:build !linux

package probe

import "errors"

func memfdSecret() error { return errors.ErrUnsupported }
