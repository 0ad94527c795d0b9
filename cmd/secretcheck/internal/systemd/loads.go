package systemd

import (
	"path"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// loads lists what is in force at the end: one load for each credential name. Load wins over Import, Import over Set;
// a Set beside a Load of the same name is only its default for a missing source (exec-credential.c).
func (s *service) loads() []descriptor.Load {
	var loads []descriptor.Load
	used := map[string]bool{}
	for _, kind := range []credentials{s.loaded, s.imported, s.literal} {
		for _, c := range kind.list {
			if c == nil || used[c.id] {
				continue
			}
			used[c.id] = true
			loads = append(loads, s.toLoad(c))
		}
	}
	s.unusedActions(used)
	s.defaults()
	loads = s.withSettings(loads)
	service := s.service()
	for i := range s.findings {
		s.findings[i].Service = service
	}
	return loads
}

// defaults tells of literals that stand beside a load of the same name: they are no loads, but in the unit all the same.
func (s *service) defaults() {
	for _, c := range s.literal.list {
		if c != nil && !c.encrypted && (s.loaded.has(c.id) || s.imported.has(c.id)) {
			s.findings = append(s.findings, descriptor.Finding{
				Rule: descriptor.RuleInline, Severity: policy.SeverityWarning, Position: c.at,
				Message: "the value stands in the unit, which every user of the host can read",
				Fix:     "remove it, or move it into a file of mode 0600", Source: policy.SourceCredential, Name: c.id,
			})
		}
	}
}

// service is the subject: the unit without suffix and instance, unless the unit says otherwise.
func (s *service) service() string {
	if s.override != "" {
		return s.override
	}
	return s.name.prefix
}

// base is what every load of the service has.
func (s *service) base() descriptor.Load {
	user, uid := s.identity()
	return descriptor.Load{
		Service: s.service(), Unit: s.name.full,
		User: user, UID: uid, UIDOpen: s.uidOpen(), UnitOpen: s.unitOpen(), Dynamic: s.dynamic,
	}
}

func (s *service) toLoad(c *credential) descriptor.Load {
	l := s.base()
	l.Source, l.Name, l.Path = policy.SourceCredential, c.id, "/run/credentials/"+s.name.full+"/"+c.id
	l.Encrypted, l.Doubt, l.Position = c.encrypted, c.doubt, c.at
	if a, ok := s.actions[c.id]; ok {
		l.Action, l.Purpose = a.action, a.purpose
	}
	switch {
	case c.inline:
		l.Origin = descriptor.OriginInline
	case strings.HasPrefix(c.path, "/"):
		l.Origin = path.Clean(c.path)
		l.Directory = strings.HasSuffix(c.path, "/")
		l.Default = s.literal.has(c.id)
	}
	return l
}
