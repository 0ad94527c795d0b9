package check

import (
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// tmpfsSince is the version of systemd that prefers a tmpfs which is never swapped out to a ramfs. It takes Linux 6.3; an
// older kernel leaves the ramfs, of which the same users can read the same files.
const tmpfsSince = 254

// predict describes the file that systemd will make of a credential, on a file system of the service's own that is mounted
// read-only. On a ramfs it belongs to the service; a tmpfs has ACLs, and there the service gets an entry in that of a file
// which stays root's. (write_credential in systemd's exec-credential.c)
func (c *checker) predict(l descriptor.Load, r *policy.Resource) {
	r.File = policy.File{
		Type: "regular", Mode: 0o400, UID: l.UID, GID: 0, OwnerIsRoot: l.UID == 0, OwnerIsMe: true, Size: 1, NLink: 1,
		Filesystem: "ramfs", Mount: policy.Mount{ReadOnly: true, NoSUID: true, NoDev: true, NoExec: true},
		Readers: policy.Principals{UIDs: []int64{l.UID}}, Writers: policy.Principals{UIDs: []int64{0}},
	}
	if l.UID != 0 {
		r.File.Writers.UIDs = []int64{0, l.UID} // an owner could change the mode, were it not for the mount
	}
	if c.cfg.Systemd >= tmpfsSince {
		r.File.Filesystem = "tmpfs"
		if l.UID != 0 {
			r.File.Mode, r.File.ACL = 0o440, true
			r.File.UID, r.File.OwnerIsRoot, r.File.OwnerIsMe = 0, true, false
			r.File.Readers.UIDs, r.File.Writers.UIDs = []int64{0, l.UID}, []int64{0}
		}
	}
	if l.Origin == descriptor.OriginInline {
		r.File.Size = max(l.Size, 1)
		r.Facts = policy.FactsPredicted // there is no file behind it to look at
	}
}
