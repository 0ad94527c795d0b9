package check

import (
	"fmt"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

// What systemd allows for (creds-util.h). On a tmpfs, files besides take whole pages of the same million bytes.
const (
	maxCredential = 1 << 20 // bytes of one, and of all of a service with their names
	maxCiphertext = maxCredential + 128<<10
)

// usage adds up what the credentials of a unit take. How long ciphertext is when it is decrypted is not known: it counts as
// nothing.
type usage struct {
	bytes, pages int64
	tmpfs        bool
}

const page = 4096

// add counts a load, and marks the one that goes over a limit: systemd would not start the service.
func (u *usage) add(l *descriptor.Load) {
	most := int64(maxCredential)
	if l.Encrypted {
		most = maxCiphertext
	}
	if l.Size > most {
		l.Fault = tooLarge(fmt.Sprintf("the source has %d bytes, systemd takes at most %d", l.Size, most), "store less")
		return
	}
	if l.Encrypted {
		l.Size = 0
	}
	size := max(l.Size, 0)
	u.bytes += int64(len(l.Name)) + size
	u.pages += (size + page - 1) / page
	if u.tmpfs && u.pages > maxCredential/page && l.Fault == nil {
		l.Fault = tooLarge(fmt.Sprintf("the credentials of the service fill more than %d pages of memory, which is all that their tmpfs has", maxCredential/page), "give the service fewer credentials")
	}
	if u.bytes > maxCredential && l.Fault == nil {
		l.Fault = tooLarge(fmt.Sprintf("the credentials of the service have more than %d bytes with their names", maxCredential), "give the service fewer or smaller credentials")
	}
}

func tooLarge(message, fix string) *descriptor.Doubt {
	return &descriptor.Doubt{Rule: RuleTooLarge, Message: message + ": it does not start the service", Fix: fix}
}
