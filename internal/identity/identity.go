// Package identity says who this process is, as far as the kernel vouches for it: its executable, the systemd unit that it
// runs in, and whether its uid and gid mean what they say. A claim that cannot be proven is no error; it is reported as
// not proven, with the reason.
package identity

import "github.com/llorch/secrets-management/policy"

// How a fact was proven, for [policy.Attested].
const (
	byID     = "geteuid"        // and every id means the same outside
	byGroup  = "getegid"        // the same
	byLink   = "/proc/self/exe" // and the path leads to what runs
	byCgroup = "cgroup"         // into which only the system manager, or root, can have put the process
)

// Process is what is known of this process. Uid and gid are not in it, since a process can change them: Attested says
// only what the effective ones of the moment are worth.
type Process struct {
	Exe      string // path of the executable, "" if unknown
	Unit     string // the systemd unit; "" unless it is proven
	Attested policy.Attested
	Doubts   []string // what is not proven, and why
}

// prove takes a proof over, or the reason why there is none.
func (p *Process) prove(fact string, how *string, proof string, err error) {
	if err != nil {
		p.Doubts = append(p.Doubts, fact+": "+err.Error())
		return
	}
	*how = proof
}
