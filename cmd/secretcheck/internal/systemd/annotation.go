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
	c := choice{at: a.at}
	if len(parts) > 1 {
		c.action = policy.Action(parts[1])
	}
	if len(parts) > 2 {
		c.purpose = parts[2]
	}
	if !validName(parts[0]) || !descriptor.ValidAction(c.action) || (c.action == policy.DeriveKey) != (c.purpose != "") {
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

// unusedActions tells about choices for credentials that the unit does not have.
func (s *service) unusedActions(used map[string]bool) {
	var names []string
	for n := range s.actions {
		if !used[n] {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	for _, n := range names {
		s.misused(s.actions[n].at, descriptor.RuleUnusedSetting, "X-Secretcheck-Action= names a credential that the unit does not load")
	}
}
