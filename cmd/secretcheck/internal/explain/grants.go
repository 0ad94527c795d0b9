package explain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/policy"
)

// document is grants data as it is edited: what a grant is made of stays as its author wrote it.
type document struct {
	service string
	others  map[string]json.RawMessage // by service
	grants  []map[string]any           // of the service
}

func readDocument(data []byte, service string) (*document, error) {
	var top struct {
		Secrets struct {
			Services map[string]json.RawMessage `json:"services"`
		} `json:"secrets"`
	}
	if err := json.Unmarshal(data, &top); err != nil {
		return nil, err
	}
	d := &document{service: service, others: top.Secrets.Services}
	if own, ok := d.others[service]; ok {
		dec := json.NewDecoder(bytes.NewReader(own))
		dec.UseNumber()
		if err := dec.Decode(&d.grants); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// with is the data after edits.
func (d *document) with(edits []grantEdit) ([]byte, error) {
	grants := make([]map[string]any, 0, len(d.grants)+1)
	for _, g := range d.grants {
		grants = append(grants, cloned(g))
	}
	for _, e := range edits {
		grants = e.apply(grants)
	}
	own, err := json.Marshal(grants)
	if err != nil {
		return nil, err
	}
	services := maps.Clone(d.others)
	if services == nil {
		services = map[string]json.RawMessage{}
	}
	services[d.service] = own
	return json.Marshal(map[string]any{"secrets": map[string]any{"services": services}})
}

func cloned(g map[string]any) map[string]any {
	c := maps.Clone(g)
	for name, v := range c {
		switch v := v.(type) {
		case []any:
			c[name] = slices.Clone(v)
		case map[string]any:
			c[name] = cloned(v)
		}
	}
	return c
}

// grantEdit is a change to the grants of the service.
type grantEdit struct {
	Change

	grant string // that it changes; empty for a new one
	apply func([]map[string]any) []map[string]any
}

// widenings lists what in the grants could let a denied request pass: of the grants that name it, what they demand of the file and
// the service; where none does, the action in one that has the reference, and a grant of its own.
func widenings(r *policy.Request, grants []policy.Grant, named []string) (list []grantEdit) {
	for i := range grants {
		if g := &grants[i]; slices.Contains(named, g.ID) {
			list = append(list, looser(r, g)...)
		} else if len(named) == 0 {
			list = append(list, otherAction(r, g)...)
		}
	}
	if len(named) == 0 {
		list = append(list, grantNew(r, grants))
	}
	return list
}

// looser is what one grant could demand less.
func looser(r *policy.Request, g *policy.Grant) (list []grantEdit) {
	s := &r.Resource
	f := &s.File
	add := func(field, from, to, text string, change func(g map[string]any)) {
		list = append(list, edited(g.ID, field, from, to, text, change))
	}
	if s.Source == policy.SourceFile && s.Resolved != "" {
		add("paths", strings.Join(g.Paths, ", "), "with "+s.Resolved, "grant "+g.ID+" lists the path "+s.Resolved, listed("paths", s.Resolved))
	}
	if s.Source == policy.SourceCredential && strings.HasPrefix(s.Origin, "/") {
		add("paths", strings.Join(g.Paths, ", "), "with "+s.Origin, "grant "+g.ID+" lists the path "+s.Origin, listed("paths", s.Origin))
	}
	for _, f := range []*policy.File{f, &s.OriginFile} {
		if f.Type == "" {
			continue
		}
		if f.UID != 0 && f.UID != r.Subject.UID && s.Source == policy.SourceFile {
			add("relax.owner", "none", number(f.UID), fmt.Sprintf("grant %s lets uid %d own, change and replace the file", g.ID, f.UID), relaxed("owner", f.UID))
		}
		if gid := f.GID; f.Mode&0o070 != 0 || len(f.Readers.GIDs) > 0 {
			if len(f.Readers.GIDs) > 0 {
				gid = f.Readers.GIDs[0]
			}
			add("relax.group_read", "none", number(gid), fmt.Sprintf("grant %s lets group %d read the file", g.ID, gid), relaxed("group_read", gid))
		}
		if f.Mode&0o077 != 0 || f.Readers.Everyone || len(f.Readers.GIDs) > 0 {
			add("relax.world_read", "none", "true", "grant "+g.ID+" lets everyone read the file", relaxed("world_read", true))
		}
		if f.FinalSymlink {
			add("relax.symlink", "none", "true", "grant "+g.ID+" lets the path end in a symbolic link", relaxed("symlink", true))
		}
		if f.Filesystem != "" && f.Filesystem != local && f.Filesystem != "unknown" {
			add("relax.filesystem", "none", f.Filesystem, "grant "+g.ID+" trusts the file system "+f.Filesystem, relaxed("filesystem", f.Filesystem))
		}
		if g.MaxBytes > 0 && f.Size > g.MaxBytes {
			add("max_bytes", number(g.MaxBytes), number(f.Size), fmt.Sprintf("grant %s takes %d bytes", g.ID, f.Size), func(m map[string]any) { m["max_bytes"] = f.Size })
		}
	}
	if g.Require != (policy.Require{}) {
		add("require", "set", "none", "grant "+g.ID+" requires nothing of the service but its name", func(m map[string]any) { delete(m, "require") })
	}
	if g.MinMemory != "" {
		add("min_memory", string(g.MinMemory), "none", "grant "+g.ID+" asks for no kind of memory", func(m map[string]any) { delete(m, "min_memory") })
	}
	return list
}

// otherAction lets a grant that may have the reference have the action as well.
func otherAction(r *policy.Request, g *policy.Grant) []grantEdit {
	if g.Source != r.Resource.Source || slices.Contains(g.Actions, r.Action) {
		return nil
	}
	return []grantEdit{edited(g.ID, "actions", join(g.Actions), "with "+string(r.Action), fmt.Sprintf("grant %s has the action %s", g.ID, r.Action), func(m map[string]any) {
		listed("actions", string(r.Action))(m)
		if r.Action == policy.DeriveKey {
			listed("purposes", r.Resource.Purpose)(m)
		}
	})}
}

func join(actions []policy.Action) string {
	var list []string
	for _, a := range actions {
		list = append(list, string(a))
	}
	return strings.Join(list, ", ")
}

// grantNew is a grant for nothing but what was asked for.
func grantNew(r *policy.Request, grants []policy.Grant) grantEdit {
	s := &r.Resource
	g := map[string]any{"id": freeID(grants), "actions": []any{string(r.Action)}, "source": string(s.Source)}
	if s.Source == policy.SourceFile {
		g["paths"] = []any{s.Path}
		if s.Resolved != "" && s.Resolved != s.Path {
			g["paths"] = []any{s.Path, s.Resolved}
		}
	} else {
		g["names"] = []any{s.Name}
	}
	if s.Source == policy.SourceCredential && strings.HasPrefix(s.Origin, "/") {
		g["paths"] = []any{s.Origin}
	}
	if r.Action == policy.DeriveKey {
		g["purposes"] = []any{s.Purpose}
	}
	text, _ := json.Marshal(g) // strings always marshal
	words := fmt.Sprintf("a grant in secrets.services of data.json, under %q: %s", r.Subject.Service, text)
	return grantEdit{Change{"grant", "none", string(text), words}, "", func(list []map[string]any) []map[string]any { return append(list, g) }}
}

func freeID(grants []policy.Grant) string {
	for n := 1; ; n++ {
		id := fmt.Sprintf("new-%d", n)
		if !slices.ContainsFunc(grants, func(g policy.Grant) bool { return g.ID == id }) {
			return id
		}
	}
}

func edited(id, field, from, to, text string, change func(map[string]any)) grantEdit {
	return grantEdit{Change{"grant " + id + ": " + field, from, to, text}, id, func(list []map[string]any) []map[string]any {
		for _, g := range list {
			if g["id"] == id {
				change(g)
			}
		}
		return list
	}}
}

// listed adds to a list.
func listed(field, value string) func(map[string]any) {
	return func(g map[string]any) {
		list, _ := g[field].([]any)
		if !slices.Contains(list, any(value)) {
			g[field] = append(list, value)
		}
	}
}

// relaxed loosens one thing.
func relaxed(field string, value any) func(map[string]any) {
	return func(g map[string]any) {
		relax, _ := g["relax"].(map[string]any)
		if relax == nil {
			relax = map[string]any{}
			g["relax"] = relax
		}
		relax[field] = value
	}
}

// removed takes grants away.
func removed(ids ...string) grantEdit {
	text := "grant " + ids[0] + " is taken away"
	if len(ids) > 1 {
		text = "grants " + strings.Join(ids, ", ") + " are taken away"
	}
	return grantEdit{Change{"grant " + strings.Join(ids, ", "), "granted", "none", text}, "", func(list []map[string]any) []map[string]any {
		return slices.DeleteFunc(list, func(g map[string]any) bool {
			id, _ := g["id"].(string)
			return slices.Contains(ids, id)
		})
	}}
}
