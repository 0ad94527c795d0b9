// Package unused finds grants that no descriptor needs: what may be asked for and is not is there for an attacker only.
package unused

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// Rule is that of a grant without a load.
const Rule = "unused_grant"

// Grants tells of each grant that none of the loads could use, whether it would be allowed or not. File is the policy's name
// in reports. Of a service with a load whose name is not known, nothing is told.
func Grants(file string, grants *policy.Grants, loads []descriptor.Load) []descriptor.Finding {
	byService := map[string][]descriptor.Load{}
	for _, l := range loads {
		byService[l.Service] = append(append(byService[l.Service], l), l.Also...)
	}
	var findings []descriptor.Finding
	for _, service := range slices.Sorted(maps.Keys(grants.Services)) {
		for _, g := range grants.Services[service] {
			if slices.ContainsFunc(byService[service], func(l descriptor.Load) bool { return uses(l, g) }) {
				continue
			}
			findings = append(findings, descriptor.Finding{
				Rule: Rule, Severity: policy.SeverityWarning, Service: service, Source: g.Source, Name: g.ID,
				Message:  fmt.Sprintf("grant %.64q lets service %.64q load what no descriptor of this check loads", g.ID, service),
				Fix:      "remove the grant, or name the descriptor that needs it",
				Position: descriptor.Position{File: file, Line: 1, Column: 1},
			})
		}
	}
	return findings
}

// uses reports whether a load is one that a grant is about.
func uses(l descriptor.Load, g policy.Grant) bool {
	if l.Source != g.Source || !does(l, g) {
		return false
	}
	if l.Doubt != nil && l.Doubt.Identity {
		return true
	}
	if g.Source == policy.SourceFile {
		return covers(g, l.Path)
	}
	return slices.Contains(g.Names, l.Name)
}

// does reports whether the action is one of the grant's. Where a descriptor leaves it open, it is a plain one.
func does(l descriptor.Load, g policy.Grant) bool {
	if l.Action == "" {
		return slices.Contains(g.Actions, policy.LoadSecret) || slices.Contains(g.Actions, policy.LoadKey)
	}
	return slices.Contains(g.Actions, l.Action) && (l.Action != policy.DeriveKey || slices.Contains(g.Purposes, l.Purpose))
}

// covers is the grant's own test. A path that ends in an asterisk stands for every file of a directory.
func covers(g policy.Grant, path string) bool {
	if dir, every := strings.CutSuffix(path, "/*"); every && slices.ContainsFunc(g.Paths, func(p string) bool { return strings.HasPrefix(p, dir+"/") }) {
		return true
	}
	return slices.Contains(g.Paths, path) || slices.ContainsFunc(g.Dirs, func(d string) bool { return strings.HasPrefix(path, strings.TrimSuffix(d, "/")+"/") })
}
