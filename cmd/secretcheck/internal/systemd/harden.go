package systemd

import (
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// harden tells of the settings that keep a load from succeeding or make it worse. Each is what a service with package
// loader does under a real systemd, 252 and 257; those that turned out harmless (PrivateUsers=, ProtectProc=, ProcSubset=,
// PrivateMounts=, RestrictAddressFamilies=, TemporaryFileSystem= over the credentials) are not told about.
func (s *service) harden() {
	s.filtered()
	s.hidden()
	s.noDirectory()
	if n := s.settings.noExec; n.value {
		s.findings = append(s.findings, descriptor.Finding{
			Rule: descriptor.RuleInterpreted, Severity: policy.SeverityNote, Position: n.at,
			Message: "the policy is interpreted, not compiled: a decision takes about 40 times as long, 0.4 ms",
			Fix:     "leave it so, unless the service makes many loads",
		})
	}
	const page = 4096
	if m := s.settings.memlock; m.at.Line > 0 && m.value < page && !s.isRoot() {
		s.heap(m.at, "the limit leaves no page to lock: secrets lie in ordinary memory, which can be swapped out",
			"set LimitMEMLOCK=64K or more")
	}
}

// isRoot reports whether the service runs as root, which no limit on locked memory binds.
func (s *service) isRoot() bool {
	user, uid := s.identity()
	return user == "" && uid == 0
}

func (s *service) heap(at descriptor.Position, message, fix string) {
	s.findings = append(s.findings, descriptor.Finding{
		Rule: descriptor.RuleHeap, Severity: policy.SeverityWarning, Position: at, Message: message, Fix: fix,
	})
}

// filtered tells of a filter that takes a load a system call.
func (s *service) filtered() {
	f := &s.settings.filter
	var fatal, lost []string
	for name := range neededCalls() {
		refused, kills := f.value.refuses(name, s.settings.errno)
		switch {
		case refused && (kills || !spared(name)):
			fatal = append(fatal, name)
		case refused && name != shortcut:
			lost = append(lost, name)
		}
	}
	slices.Sort(fatal)
	slices.Sort(lost)
	if len(fatal) > 0 {
		s.breakLoads(f.at, descriptor.Break{
			Rule:    descriptor.RuleBreaks,
			Message: "the filter refuses system calls that every load makes: " + strings.Join(fatal, ", "),
			Fix:     "allow them, or @system-service, which has them all",
		})
	}
	if len(lost) > 0 {
		s.heap(f.at, "the filter refuses "+strings.Join(lost, ", ")+": secrets lie in ordinary memory, which can be swapped out",
			"allow them, or @system-service, which has them all")
	}
}

// hidden tells of paths that are covered and that every load needs: the credentials, and /proc, through which files are
// looked at.
func (s *service) hidden() {
	for _, key := range []string{keyHidden, keyTemporary} {
		for _, c := range s.settings.covered[key] {
			if !s.needs(key, c.value) {
				continue
			}
			s.breakLoads(c.at, descriptor.Break{
				Rule: descriptor.RuleBreaks, Message: key + "= hides what every load needs: the credentials, or /proc",
				Fix: "leave /proc and /run/credentials as they are",
			})
		}
	}
}

// needs reports whether a load fails when p is covered. systemd mounts the credentials over a temporary file system.
func (s *service) needs(key, p string) bool {
	if p == "/proc" {
		return true
	}
	own := "/run/credentials/" + s.name.full
	return key == keyHidden && (p == "/run" || p == "/run/credentials" || p == own || p == "/proc/self" || p == "/proc/self/fd")
}

// noDirectory tells of a service that cannot find its credentials.
func (s *service) noDirectory() {
	e := &s.settings.environment
	for _, v := range e.unset.list {
		if v.name == credentialsDirectory {
			s.breakLoads(v.at, descriptor.Break{
				Rule: descriptor.RuleBreaks, Message: "without CREDENTIALS_DIRECTORY the service does not find its credentials",
				Fix: "leave the variable to systemd",
			})
			return
		}
	}
	for _, v := range e.set.list {
		if v.name == credentialsDirectory && !v.own {
			s.breakLoads(v.at, descriptor.Break{
				Rule: descriptor.RuleBreaks, Message: "CREDENTIALS_DIRECTORY leads elsewhere: the service does not find its credentials",
				Fix: "leave the variable to systemd",
			})
		}
	}
}
