package systemd

import (
	"path"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// loads lists what is in force at the end: one load for each credential name. Load wins over Import, Import over Set; the
// others of the name are what stands in for a source that is missing (exec-credential.c).
func (s *service) loads() []descriptor.Load {
	most := len(s.loaded.at) + len(s.imported.at) + len(s.literal.at)
	loads, used := make([]descriptor.Load, 0, most), make(map[string]int, most)
	for _, kind := range []credentials{s.loaded, s.imported, s.literal} {
		for _, c := range kind.list {
			if c == nil {
				continue
			}
			l := s.toLoad(c)
			if i, known := used[c.id]; known {
				loads[i].Fallbacks = append(loads[i].Fallbacks, l)
				continue
			}
			used[c.id] = len(loads)
			loads = append(loads, l)
		}
	}
	s.unusedActions(loads)
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
	imported := map[string]bool{}
	for _, c := range s.imported.list {
		if c != nil {
			imported[c.id] = true
		}
	}
	for _, c := range s.literal.list {
		if c != nil && !c.encrypted && (s.loaded.has(c.id) || imported[c.id]) {
			s.findings = append(s.findings, descriptor.Finding{
				Rule: descriptor.RuleInline, Severity: policy.SeverityWarning, Position: c.at,
				Message: descriptor.InlineMessage,
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
	l := descriptor.Load{
		Service: s.service(), Unit: s.name.full,
		User: user, UID: uid, UIDOpen: s.uidOpen(), UnitOpen: s.unitOpen(), Dynamic: s.dynamic,
	}
	if s.manager {
		l.UID, l.User, l.UIDOpen, l.UnitOpen = -1, "", true, true
	}
	return l
}

func (s *service) toLoad(c *credential) descriptor.Load {
	l := s.base()
	l.Source, l.Name, l.Path = policy.SourceCredential, c.id, "/run/credentials/"+s.name.full+"/"+c.id
	l.Encrypted, l.Doubt, l.Fault, l.Position = c.encrypted, c.doubt, c.fault, c.at
	l.Lookup, l.Size, l.Choices = c.lookup, c.size, s.actions
	if l.Lookup != nil && l.Lookup.Import {
		s.order++
		l.Lookup.Order = s.order
	}
	if s.manager {
		l.Path = "/run/user/UID/credentials/" + s.name.full + "/" + c.id
		l.Doubt, l.Lookup = managerDoubt(l.Doubt), nil
	}
	l.Choose()
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

// managerDoubt says why a load of a user's unit is open.
func managerDoubt(other *descriptor.Doubt) *descriptor.Doubt {
	return &descriptor.Doubt{
		Rule:     descriptor.RuleUserUnit,
		Message:  "a user's manager loads it, with that user's rights: who that is, the unit does not say",
		Fix:      "check the service as an inventory, with the uid that it will run as",
		Identity: other != nil && other.Identity,
	}
}
