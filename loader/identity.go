package loader

import (
	"os"
	"strings"

	"github.com/llorch/secrets-management/policy"
)

// subject is who asks: the name is the caller's claim, the rest is what the process can prove about itself.
func (l *Loader) subject() policy.Subject {
	return policy.Subject{
		Service: l.config.Service, Container: l.config.Container,
		UID: int64(os.Geteuid()), GID: int64(os.Getegid()),
		Unit: l.process.Unit, Exe: l.process.Exe, Attested: l.process.Attested,
	}
}

// unproven says what the process cannot prove and why, for the error of a load that was refused for it.
func (l *Loader) unproven() string { return strings.Join(l.process.Doubts, "; ") }
