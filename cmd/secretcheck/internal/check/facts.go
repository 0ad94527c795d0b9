package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// maxText bounds what a policy or an operating system can put into a report, in bytes.
const maxText = 500

// bounded cuts text off at a whole character.
func bounded(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// request is the question to the policy as far as the descriptor answers it.
func request(l descriptor.Load, action policy.Action, environment string) *policy.Request {
	return &policy.Request{
		Subject: subject(l),
		Action:  action,
		Resource: policy.Resource{
			Source: l.Source, Path: l.Path, Resolved: l.Path, Above: above(l.Path), Name: l.Name, Purpose: l.Purpose,
			Origin: l.Origin, Facts: policy.FactsUnchecked,
		},
		// What memory the process will get is not known before it runs: the obligation binds the load.
		Context: policy.Context{Phase: policy.PhaseRollout, Environment: environment},
	}
}

// byDescriptor is how a fact about the service counts as proven before it runs: a unit file is the unit, and systemd makes
// the uid what User= says.
const byDescriptor = "descriptor"

func subject(l descriptor.Load) policy.Subject {
	s := policy.Subject{Service: l.Service, Container: l.Container, Unit: l.Unit, UID: l.UID, GID: -1}
	if l.GID != nil {
		s.GID = *l.GID
	}
	if l.UID >= 0 && !l.UIDOpen {
		s.Attested.UID = byDescriptor
	}
	if l.Unit != "" && !l.UnitOpen {
		s.Attested.Unit = byDescriptor
	}
	return s
}

// above lists the directories over a clean absolute path, nearest first.
func above(p string) []string {
	var dirs []string
	for i := strings.LastIndexByte(p, '/'); i > 0; i = strings.LastIndexByte(p, '/') {
		p = p[:i]
		dirs = append(dirs, p)
	}
	if p != "" {
		dirs = append(dirs, "/")
	}
	return dirs
}

// lookUpUser settles the uid of a service that names its account.
func (c *checker) lookUpUser(l *descriptor.Load, j *judgement) {
	if l.User == "" || c.cfg.Host == nil {
		return
	}
	uid, ok, err := c.cfg.Host.UID(l.User)
	if ok {
		l.UID = uid
		return
	}
	if l.Dynamic || errors.Is(err, fs.ErrNotExist) { // a root without accounts says nothing about them
		return
	}
	message := fmt.Sprintf("there is no account %.64q: the service would not start", l.User)
	if err != nil {
		message = bounded("the accounts cannot be read: " + err.Error())
	}
	j.add(Reason{
		Code: RuleUnknownUser, Message: message, Severity: policy.SeverityWarning,
		Fix: c.within("create the account, or correct User="),
	})
}

// addFacts fills in what the host shows. It returns the real path of a credential's origin, and reports whether what
// was seen settles the load already.
func (c *checker) addFacts(ctx context.Context, l descriptor.Load, req *policy.Request, j *judgement) (real string, settled bool) {
	r := &req.Resource
	path, self := l.Path, l.UID
	if l.Source == policy.SourceCredential {
		c.predict(l, r)
		path, self = l.Origin, 0 // systemd copies credentials as root
	}
	if l.Runtime != nil {
		foretold(l, r, j)
		return "", false
	}
	if l.Bind {
		return "", c.mounted(ctx, l, req, j)
	}
	if c.cfg.Host == nil && l.Directory {
		c.onNameAlone(ctx, req, j)
		j.add(directorySource())
		return "", true
	}
	if c.cfg.Host == nil || l.Source == policy.SourceEnv || !strings.HasPrefix(path, "/") {
		return "", false
	}
	var seen Seen
	var err error
	if self == 0 {
		seen, err = c.see(path)
	} else {
		seen, err = c.cfg.Host.See(path, self)
	}
	j.looked = true
	switch {
	case errors.Is(err, fs.ErrNotExist) && l.Default: // expand has put the literal in its place, unless a doubt kept it from that
		j.origin, r.Origin, r.Facts = descriptor.OriginInline, descriptor.OriginInline, policy.FactsPredicted
		return "", false
	case err != nil:
		c.onNameAlone(ctx, req, j)
		j.unseen(err)
		return "", true
	case l.Source == policy.SourceFile:
		j.barred = seen.Barred
		r.Facts, r.Resolved, r.Above, r.Links = policy.FactsObserved, seen.Resolved, seen.Above, seen.Links
		r.File = seen.File
		return "", false
	}
	if l.Directory && seen.File.Type != "directory" {
		c.onNameAlone(ctx, req, j)
		j.unseen(errNotDirectory)
		return "", true
	}
	if reason, ok := odd(seen.File.Type); ok {
		c.onNameAlone(ctx, req, j)
		j.add(reason)
		return "", true
	}
	r.Facts, r.OriginFile, r.File.Size = policy.FactsPredicted, seen.File, max(seen.File.Size, 1)
	return seen.Resolved, false
}

// onNameAlone asks the policy about a load whose file cannot be judged: what it refuses whatever the file is like is not
// left for the next check to find. An allow on the name alone is none.
func (c *checker) onNameAlone(ctx context.Context, req *policy.Request, j *judgement) {
	if c.decide(ctx, req, j); j.verdict == Allowed {
		j.verdict = Undecided
	}
}

// errNotDirectory is what the kernel says to a path with a slash behind the name of a file.
var errNotDirectory = errors.New("not a directory, which the slash at its end asks for")

func directorySource() Reason {
	return Reason{
		Code: RuleDirectorySource, Severity: policy.SeverityWarning,
		Message: "the source is a directory: systemd would make a credential of every file in it",
		Fix:     "name each file with its own LoadCredential=",
	}
}

// barred says that the kernel will refuse what the policy allows: a file that belongs to root is open to the policy's
// eyes, and to no service that runs as another user.
func barred(uid int64, at, file string) Reason {
	what := "search the directory "
	if at == file {
		what = "read "
	}
	return Reason{
		Code: RuleNotReadable, Severity: policy.SeverityError,
		Message: bounded(fmt.Sprintf("the service runs as uid %d, which may not %s%s", uid, what, at)),
		Fix:     "give it to that uid, or load it with LoadCredential=, for which systemd reads it as root",
	}
}

// odd tells of the kinds of source that systemd accepts and that no single load can stand for.
func odd(kind string) (Reason, bool) {
	switch kind {
	case "directory":
		return directorySource(), true
	case "socket":
		return Reason{
			Code: RuleSocketSource, Severity: policy.SeverityWarning,
			Message: "the source is a socket: the secret comes from whoever listens when the service starts",
			Fix:     "check the service behind the socket",
		}, true
	}
	return Reason{}, false
}

// unseen settles a load whose file could not be looked at.
func (j *judgement) unseen(err error) {
	var dangling *DanglingError
	switch {
	case errors.As(err, &dangling):
		j.verdict = Denied
		j.add(Reason{
			Code: RuleMissingSource, Severity: policy.SeverityError,
			Message: bounded("the symbolic link " + dangling.Link + " leads out of the root or to nothing: the service would not get the source"),
			Fix:     "put the secret itself there with mode 0600, owned by root, or let the link lead to it inside the root",
		})
	case errors.Is(err, fs.ErrNotExist):
		j.verdict = Denied
		j.add(Reason{
			Code: RuleMissingSource, Severity: policy.SeverityError,
			Message: "the source does not exist: the service would not get it",
			Fix:     "put the secret there with mode 0600, owned by root",
		})
	case errors.Is(err, fs.ErrPermission):
		j.add(Reason{
			Code: RuleUnseen, Severity: policy.SeverityWarning,
			Message: "no permission to look at the source",
			Fix:     "run the check as root",
		})
	default:
		j.verdict = Denied
		j.add(Reason{
			Code: RuleUnwalkable, Severity: policy.SeverityError,
			Message: bounded("the source cannot be reached: " + err.Error()),
			Fix:     "correct the path",
		})
	}
}
