package systemd

import (
	"sort"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// subject handles X-Secretcheck-Service=, which names the subject that the policy judges.
func (s *service) subject(a assignment) {
	if a.value != "" && !descriptor.ValidService(a.value) {
		s.misused(a.at, descriptor.RuleUnparsable, "X-Secretcheck-Service= is not a service name")
		return
	}
	s.override = a.value
}

// action handles X-Secretcheck-Action=NAME:ACTION[:PURPOSE]: what the service does with a credential is not in the
// unit, and the grants may leave it open.
func (s *service) action(a assignment) {
	if a.value == "" {
		clear(s.actions)
		return
	}
	parts := strings.SplitN(a.value, ":", 3)
	c := descriptor.Choice{Position: a.at}
	if len(parts) > 1 {
		c.Action = policy.Action(parts[1])
	}
	if len(parts) > 2 {
		c.Purpose = parts[2]
	}
	if !ValidName(parts[0]) || !descriptor.ValidAction(c.Action) || (c.Action == policy.DeriveKey) != (c.Purpose != "") {
		s.misused(a.at, descriptor.RuleUnparsable, "X-Secretcheck-Action= is not NAME:load_secret, NAME:load_key or NAME:derive_key:PURPOSE")
		return
	}
	s.actions[parts[0]] = c
}

// misused records a fault in one of our own settings: systemd ignores them, so nobody else would notice.
func (s *service) misused(at descriptor.Position, rule, message string) {
	severity := policy.SeverityError
	if rule == descriptor.RuleUnusedSetting {
		severity = policy.SeverityWarning
	}
	s.findings = append(s.findings, descriptor.Finding{
		Rule: rule, Severity: severity, Message: message, Fix: "correct or remove the setting", Position: at,
	})
}

// unusedActions tells about choices for credentials that the unit does not have, and cannot get from a directory or by an
// import.
func (s *service) unusedActions(loads []descriptor.Load) {
	gives := map[string]bool{}
	for _, l := range loads {
		gives[l.Name] = true // that of an import can end in an asterisk
		if strings.HasPrefix(l.Origin, "/") {
			gives[l.Name+"_*"] = true // should it be a directory
		}
	}
	var names []string
	for n := range s.actions {
		if !given(gives, n) {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	for _, n := range names {
		s.misused(s.actions[n].Position, descriptor.RuleUnusedSetting, "X-Secretcheck-Action= names a credential that the unit does not load")
	}
}

// given looks a name up, and each beginning of it with an asterisk.
func given(gives map[string]bool, name string) bool {
	for i := range len(name) {
		if gives[name[:i]+"*"] {
			return true
		}
	}
	return gives[name]
}
