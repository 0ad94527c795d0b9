//go:build !unix

package auditlog

import "errors"

// appendSmall: there is no such limit to set.
func appendSmall(string) error { return errors.ErrUnsupported }
