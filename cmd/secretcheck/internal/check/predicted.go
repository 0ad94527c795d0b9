package check

import (
	"context"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// foretold fills in the file that a platform will make. The host that the check runs on has nothing to do with it.
func foretold(l descriptor.Load, r *policy.Resource, j *judgement) {
	r.Facts, r.Resolved, r.Above, r.Links = policy.FactsPredicted, l.Runtime.Resolved, l.Runtime.Above, l.Runtime.Links
	r.File = l.Runtime.File
	j.barred = l.Runtime.Barred
}

// judgeAll judges a load as each container sees it. One that would be refused makes it a refused load.
func (c *checker) judgeAll(ctx context.Context, l descriptor.Load) judgement {
	j := c.judge(ctx, l)
	for _, other := range l.Also {
		o := c.judge(ctx, other)
		if o.verdict == Denied || o.verdict == Undecided && j.verdict == Allowed {
			j.verdict = o.verdict
		}
		if o.inputDenied && !j.inputDenied {
			j.input, j.inputDenied, j.obligations = o.input, true, o.obligations
		}
		for _, r := range o.reasons {
			j.add(r)
		}
	}
	return j
}

// granted reports whether a finding is void because the policy lets the service ask for what it is about.
func (c *checker) granted(ctx context.Context, f descriptor.Finding) bool {
	if f.Unless == nil {
		return false
	}
	req := request(*f.Unless, policy.LoadSecret, c.cfg.Environment)
	may, err := c.choose(ctx, *f.Unless, req)
	if err != nil {
		c.result.EngineFailed = true
	}
	return may && err == nil
}

// mounted fills in what a container will see of a file of the host that is mounted into it: the file as it is there, on a
// path of the container's own. It reports whether what was seen settles the load already.
func (c *checker) mounted(ctx context.Context, l descriptor.Load, req *policy.Request, j *judgement) bool {
	if c.cfg.Host == nil || l.HostPath == "" {
		return false
	}
	seen, err := c.cfg.Host.See(l.HostPath, 0) // the engine mounts it as root
	j.looked = true
	if err != nil {
		c.onNameAlone(ctx, req, j)
		j.unseen(err)
		return true
	}
	if reason, ok := odd(seen.File.Type); ok {
		c.onNameAlone(ctx, req, j)
		reason.Message, reason.Fix = "the file is a "+seen.File.Type+" on the host", "name the file of one secret"
		j.add(reason)
		return true
	}
	f := seen.File
	f.Symlinks, f.FinalSymlink, f.Mount.ReadOnly = 0, false, true
	f.OwnerIsMe = f.UID == l.UID
	f.Readers, f.Writers = admitted(f, 0o040, 0o004), admitted(f, 0o020, 0o002)
	if f.UID != 0 {
		f.Writers.UIDs = append(f.Writers.UIDs, 0) // of the directories
	}
	req.Resource.Facts, req.Resource.File = policy.FactsPredicted, f
	if l.Barred(f) {
		j.barred = req.Resource.Resolved
	}
	return false
}

// onHost names the file on the host in fixes: what the container calls it does not help who has to change it.
func onHost(l descriptor.Load, reasons []Reason) {
	if !l.Bind || l.HostPath == "" || strings.Trim(l.HostPath, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-") != "" {
		return
	}
	for i := range reasons {
		if strings.HasPrefix(reasons[i].Fix, "chmod ") || strings.HasPrefix(reasons[i].Fix, "chown ") {
			reasons[i].Fix = strings.ReplaceAll(reasons[i].Fix, l.Path, l.HostPath)
		}
	}
}

// admitted is who a mode lets pass.
func admitted(f policy.File, group, other uint32) policy.Principals {
	p := policy.Principals{UIDs: []int64{f.UID}, Everyone: f.Mode&other != 0}
	if f.Mode&group != 0 {
		p.GIDs = []int64{f.GID}
	}
	return p
}
