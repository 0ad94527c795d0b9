package descriptor

import (
	"slices"

	"github.com/llorch/secrets-management/policy"
)

// Barred reports whether the account of a load surely may not read a file, by its mode: root may, and of an account or of
// groups that are not known nothing is sure.
func (l Load) Barred(f policy.File) bool {
	switch {
	case l.UID <= 0:
		return false
	case l.UID == f.UID:
		return f.Mode&0o400 == 0
	case l.Groups == nil:
		return f.Mode&0o044 == 0
	case slices.Contains(l.Groups, f.GID):
		return f.Mode&0o040 == 0
	}
	return f.Mode&0o004 == 0
}
