package loader

import (
	"os"

	"github.com/llorch/secrets-management/policy"
)

// subject is who asks: the name is the caller's claim, the rest is what the process can prove about itself.
func (l *Loader) subject() policy.Subject {
	s := policy.Subject{
		Service: l.config.Service, Container: l.config.Container,
		UID: int64(os.Geteuid()), GID: int64(os.Getegid()),
	}
	if s.UID >= 0 { // there are no uids on Windows
		s.Attested.UID, s.Attested.GID = "geteuid", "getegid"
	}
	if exe, err := os.Executable(); err == nil {
		s.Exe, s.Attested.Exe = text(exe), "executable"
	}
	return s
}
