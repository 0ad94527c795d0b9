//go:build !linux

package identity

import (
	"os"
	"strings"
)

// Read looks at this process. There are neither user namespaces nor systemd units here.
func Read() Process {
	p := Process{Doubts: []string{"unit: there is no systemd on this system"}}
	if os.Geteuid() >= 0 { // there are no uids on Windows
		p.Attested.UID, p.Attested.GID = "geteuid", "getegid"
	}
	if exe, err := os.Executable(); err == nil {
		p.Exe, p.Attested.Exe = strings.ToValidUTF8(exe, "\uFFFD"), "executable"
	}
	return p
}
