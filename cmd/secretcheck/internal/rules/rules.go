// Package rules is the list of everything that a report of this program can find, with a page for each. The ids are an
// interface: none changes its meaning or goes away.
package rules

import (
	"slices"
	"strings"

	"github.com/llorch/secrets-management/internal/spelling"
	"github.com/llorch/secrets-management/policy"
)

// Where the findings of a rule come from.
const (
	FromPolicy      = "policy"       // a reason code of the default rules
	FromCheck       = "check"        // secretcheck check
	FromPolicyCheck = "policy check" // secretcheck policy check
)

// Rule is one rule with its page.
type Rule struct {
	ID         string            `json:"id"`
	Severities []policy.Severity `json:"severities"` // more than one where it depends
	From       string            `json:"from"`
	Summary    string            `json:"summary"` // one line
	Means      string            `json:"means"`
	Why        string            `json:"why"`
	Example    string            `json:"example"` // what triggers it
	Fix        string            `json:"fix"`
}

// Severity is how bad a finding is, in words.
func (r Rule) Severity() string {
	var words []string
	for _, s := range r.Severities {
		words = append(words, string(s))
	}
	return strings.Join(words, ", ")
}

// All lists every rule by id.
func All() []Rule {
	list := slices.Concat(ofPolicy(), ofFiles(), originRules(), ofDescriptors(), ofUnits(), ofKubernetes(), ofCompose(), ofHosts(), ofPolicyCheck())
	slices.SortFunc(list, func(a, b Rule) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// Find looks a rule up. Where there is none, it gives the id that was likely meant, or "".
func Find(id string) (r Rule, ok bool, meant string) {
	var ids []string
	for _, r := range All() {
		if r.ID == id {
			return r, true, ""
		}
		ids = append(ids, r.ID)
	}
	return Rule{}, false, spelling.Closest(id, ids)
}

func isError() []policy.Severity   { return []policy.Severity{policy.SeverityError} }
func isWarning() []policy.Severity { return []policy.Severity{policy.SeverityWarning} }
func isNote() []policy.Severity    { return []policy.Severity{policy.SeverityNote} }
func isEither() []policy.Severity {
	return []policy.Severity{policy.SeverityNote, policy.SeverityWarning}
}
