// Package narrow finds which grants decisions need, and takes what nothing needs out of the grants' text.
package narrow

import (
	"maps"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/policy"
)

// Usage is what decisions needed of grants. It is for one goroutine.
type Usage struct {
	grants *policy.Grants
	used   map[key]map[part]bool // by grant
}

type key struct{ service, id string }

// part is an item of one of a grant's lists.
type part struct{ field, value string }

// NewUsage takes the grants that the policy has.
func NewUsage(g *policy.Grants) *Usage { return &Usage{g, map[key]map[part]bool{}} }

// Add notes that a decision on a request named grants: those that allowed it or, of a denial, those that would have if the
// file were in order.
func (u *Usage) Add(r *policy.Request, ids []string) {
	grants := u.grants.Services[r.Subject.Service]
	for i := range grants {
		g := &grants[i]
		if !slices.Contains(ids, g.ID) {
			continue
		}
		k := key{r.Subject.Service, g.ID}
		if u.used[k] == nil {
			u.used[k] = map[part]bool{}
		}
		for p := range parts(g) {
			if needs(r, p) {
				u.used[k][p] = true
			}
		}
	}
}

// parts lists the items of a grant's lists that can be told to be of no use.
func parts(g *policy.Grant) map[part]bool {
	all := map[part]bool{}
	for _, a := range g.Actions {
		all[part{"actions", string(a)}] = true
	}
	for field, list := range map[string][]string{"paths": g.Paths, "dirs": g.Dirs, "names": g.Names, "purposes": g.Purposes} {
		if g.Source == policy.SourceCredential && (field == "paths" || field == "dirs") {
			continue // where a credential was copied from is not known when it is loaded
		}
		for _, v := range list {
			all[part{field, v}] = true
		}
	}
	return all
}

// needs reports whether a request uses an item. It errs on the side of yes: what stays in a grant is proven by a replay, and
// so is what goes.
func needs(r *policy.Request, p part) bool {
	s := &r.Resource
	switch p.field {
	case "actions":
		return p.value == string(r.Action)
	case "purposes":
		return p.value == s.Purpose
	case "names":
		return p.value == s.Name
	case "paths":
		return p.value == s.Path || p.value == s.Resolved
	case "dirs":
		return strings.HasPrefix(s.Path, p.value+"/") || strings.HasPrefix(s.Resolved, p.value+"/")
	}
	return true
}

// Idle is what nothing needed: a grant as a whole, where Field is empty, or items of one of its lists.
type Idle struct {
	Service string   `json:"service"`
	Grant   string   `json:"grant"`
	Field   string   `json:"field"`
	Items   []string `json:"items"`
}

// Idle lists what nothing needed, in the order of services, grants and fields. With wholly, grants as a whole only.
func (u *Usage) Idle(wholly bool) []Idle {
	list := []Idle{}
	for _, service := range slices.Sorted(maps.Keys(u.grants.Services)) {
		for i := range u.grants.Services[service] {
			g := &u.grants.Services[service][i]
			used := u.used[key{service, g.ID}]
			if used == nil {
				list = append(list, Idle{Service: service, Grant: g.ID, Items: []string{}})
			} else if !wholly {
				list = append(list, idleItems(service, g, used)...)
			}
		}
	}
	return list
}

func idleItems(service string, g *policy.Grant, used map[part]bool) (list []Idle) {
	for _, field := range []string{"actions", "paths", "dirs", "names", "purposes"} {
		var items []string
		for p := range parts(g) {
			if p.field == field && !used[p] {
				items = append(items, p.value)
			}
		}
		if len(items) > 0 {
			slices.Sort(items)
			list = append(list, Idle{service, g.ID, field, items})
		}
	}
	return list
}
