package rego

import (
	"maps"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/policy"
)

// OutlinedRule is a rule in the sources that a bundle carries.
type OutlinedRule struct {
	Name    string // with its package: data.secrets.load.site_reasons
	File    string // in the bundle
	Line    int
	Default bool // of the default rules
}

// Outline lists the rules in a bundle's sources, in the order of files and lines. They are what the bundle says that it was
// built from: only building them again shows whether it was. The error is about a source that is no Rego.
func Outline(b *policy.Bundle) ([]OutlinedRule, error) {
	modules, err := parse(b.Rego)
	if err != nil {
		return nil, err
	}
	rules := []OutlinedRule{}
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		for _, rule := range modules[name].Rules {
			rules = append(rules, OutlinedRule{
				modules[name].Package.Path.String() + "." + ruleName(rule), name, rule.Location.Row, strings.HasPrefix(name, defaultDir),
			})
		}
	}
	return rules, nil
}
