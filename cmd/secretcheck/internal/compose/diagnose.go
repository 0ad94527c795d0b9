package compose

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/types"
)

// diagnose finds the first setting that the Compose specification has not. The message of compose-go is not repeated: it can
// quote a value, and of several faults it tells one or another.
func (p *project) diagnose() error {
	for _, s := range p.everything() {
		for _, d := range s.docs {
			if err := document(d); err != nil {
				return err
			}
		}
	}
	return p.undefinedBases()
}

// everything is all files, those that were named first.
func (p *project) everything() []*source {
	var all []*source
	var add func(s *source)
	add = func(s *source) {
		all = append(all, s)
		for _, i := range s.included {
			add(i)
		}
	}
	for _, s := range p.sources {
		add(s)
	}
	paths := make([]string, 0, len(p.bases))
	for path := range p.bases {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		all = append(all, p.bases[path])
	}
	return all
}

// document tries each setting of each entry by itself, then each entry as a whole.
func document(d *value) error {
	for _, section := range d.fields {
		if err := alone(section, map[string]any{section.name: empty(section.value)}); err != nil {
			return err
		}
		for _, entry := range section.value.fields {
			if err := settings(section.name, entry); err != nil {
				return err
			}
			whole := plain(entry.value)
			if m, ok := whole.(map[string]any); ok && section.name == "secrets" && m["content"] != nil { // see withoutContent
				m["environment"] = m["content"]
				delete(m, "content")
			}
			at := map[string]any{section.name: map[string]any{entry.name: whole}}
			if err := alone(entry, at); err != nil {
				return err
			}
		}
	}
	return nil
}

func settings(section string, entry field) error {
	for _, setting := range entry.value.fields {
		if section == "secrets" && setting.name == "content" { // see withoutContent
			setting.name = "environment"
		}
		one := needed(section)
		one[setting.name] = plain(setting.value)
		if err := alone(setting, map[string]any{section: map[string]any{entry.name: one}}); err != nil {
			return err
		}
	}
	return nil
}

// needed is what an entry of a section may not be without.
func needed(section string) map[string]any {
	switch section {
	case "jobs":
		return map[string]any{"triggers": map[string]any{"manual": true}}
	case "models":
		return map[string]any{"model": "x"}
	}
	return map[string]any{}
}

// alone asks the schema about one setting.
func alone(f field, config map[string]any) error {
	if err := schema.Validate(config); err == nil {
		return nil
	}
	at := f.value
	known := &value{from: at.from, line: f.line, column: f.col}
	switch {
	case unknownIn(config, f.name):
		return known.fault("correct its name or its place, or remove it", "there is no key%s here", quoted(f.name))
	}
	return at.fault("", "not what the Compose specification has for%s", quotedOr(f.name, " this key"))
}

// unknownIn reports whether no value at all would do for the key.
func unknownIn(config map[string]any, name string) bool {
	for _, content := range []any{nil, "", "x", true, 1.0, map[string]any{}, []any{}, "1s"} {
		with, _ := replaced(config, name, content).(map[string]any)
		if schema.Validate(with) == nil {
			return false
		}
	}
	return true
}

// replaced is a copy of c in which the innermost value of that name is another.
func replaced(c any, name string, content any) any {
	m, ok := c.(map[string]any)
	if !ok {
		return c
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		inner, _ := v.(map[string]any)
		if _, deeper := inner[name]; k == name && !deeper {
			out[k] = content
		} else {
			out[k] = replaced(v, name, content)
		}
	}
	return out
}

func quotedOr(name, otherwise string) string {
	if q := quoted(name); q != "" {
		return q
	}
	return otherwise
}

// empty is a value without what is beneath it.
func empty(v *value) any {
	if v.mapping {
		return map[string]any{}
	}
	return plain(v)
}

// plain is a value as the schema sees it.
func plain(v *value) any {
	switch {
	case v.mapping:
		m := map[string]any{}
		for _, f := range v.fields {
			m[f.name] = plain(f.value)
		}
		return m
	case v.tag == "!reset":
		return nil
	case v.list:
		l := []any{}
		for _, i := range v.items {
			l = append(l, plain(i))
		}
		return l
	}
	switch v.tag {
	case "!!null":
		return nil
	case "!!int", "!!float":
		return 1
	case "!!bool":
		return true
	}
	return v.string()
}

// undefinedBases finds a service that extends one which is not there.
func (p *project) undefinedBases() error {
	for _, s := range p.everything() {
		for _, d := range s.docs {
			for _, section := range sections() {
				for _, f := range d.get(section).list1() {
					ext := f.value.get("extends")
					name, from := ext, s
					if ext != nil && ext.mapping {
						name = ext.get("service")
						if file := ext.get("file"); file != nil {
							var err error
							if from, err = p.extended(file, s); err != nil {
								return err
							}
						}
					}
					if name != nil && !slices.ContainsFunc(from.docs, func(d *value) bool { return d.get(section, name.string()) != nil }) {
						return name.fault("", "there is no service of that name to extend")
					}
				}
			}
		}
	}
	return nil
}

// undefined finds a secret or config that a service names and nobody defines.
func (p *project) undefined() error {
	for _, w := range p.workloads(true) {
		for _, s := range w.spec.Secrets {
			if _, ok := p.model.Secrets[s.Source]; !ok {
				return w.entry("secrets", s.Source, s.Target).fault("define it at the top, under secrets", "there is no secret of that name: Compose refuses the project")
			}
		}
		for _, c := range w.spec.Configs {
			if _, ok := p.model.Configs[c.Source]; !ok {
				return w.entry("configs", c.Source, c.Target).fault("define it at the top, under configs", "there is no config of that name: Compose refuses the project")
			}
		}
		for _, s := range w.buildSecrets() {
			if _, ok := p.model.Secrets[s.Source]; !ok {
				return w.entry("build", s.Source, s.Target).fault("define it at the top, under secrets", "there is no secret of that name for the build: Compose refuses the project")
			}
		}
	}
	return nil
}

func (w *workload) buildSecrets() []types.ServiceSecretConfig {
	if w.build == nil {
		return nil
	}
	return w.build.Secrets
}

// withoutContent is the file in which the content of secrets, that compose-go does not know, stands under another key of the
// same form. Where it stands is known, and its text is never looked at.
func (s *source) withoutContent() []byte {
	var keys []field
	for _, d := range s.docs {
		for _, secret := range d.get("secrets").list1() {
			for _, f := range secret.value.list1() {
				if f.name == "content" && f.value.from == s {
					keys = append(keys, f)
				}
			}
		}
	}
	slices.SortFunc(keys, func(a, b field) int { return cmp.Or(b.line-a.line, b.col-a.col) }) // from the end, so that no column moves
	lines := bytes.SplitAfter(s.data, []byte("\n"))
	for _, f := range slices.CompactFunc(keys, func(a, b field) bool { return a.line == b.line && a.col == b.col }) {
		if f.line <= len(lines) {
			lines[f.line-1] = renamed(lines[f.line-1], f.col)
		}
	}
	return bytes.Join(lines, nil)
}

// renamed writes environment for content at a column, which counts characters.
func renamed(line []byte, column int) []byte {
	runes := []rune(string(line))
	if column-1 > len(runes) {
		return line
	}
	head, tail := string(runes[:column-1]), string(runes[column-1:])
	for _, form := range []string{`"content"`, `'content'`, "content"} {
		if rest, ok := strings.CutPrefix(tail, form); ok {
			return []byte(head + strings.Replace(form, "content", "environment", 1) + rest)
		}
	}
	return line
}
