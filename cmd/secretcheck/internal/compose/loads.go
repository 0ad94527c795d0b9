package compose

import (
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// judgeable lists the loads of a project that compose-go takes.
func (p *project) judgeable() error {
	used := map[string]bool{}
	subjects := map[string]string{}
	for _, w := range p.workloads(true) {
		subjects[w.section+"/"+w.name] = w.service
		if err := w.choices(); err != nil {
			return err
		}
		if !descriptor.ValidService(w.service) {
			return w.place().fault("", "the name of the service is not of 1 to 255 visible ASCII characters")
		}
		for _, s := range slices.Concat(w.spec.Secrets, w.buildSecrets()) {
			used[s.Source] = true
		}
		for _, h := range w.hooks {
			for _, s := range h.Secrets {
				used[s.Source] = true
			}
		}
		if !w.active {
			w.resting()
			continue
		}
		if err := w.secrets(); err != nil {
			return err
		}
		w.twice()
		w.unusedChoices()
	}
	p.unused(used)
	p.scan(subjects)
	return nil
}

// resting tells of a service that is not started by default. What it loads is not judged.
func (w *workload) resting() {
	if len(w.spec.Secrets) > 0 {
		w.say(policy.SeverityNote, descriptor.RuleProfile, w.place(), w.service, "the service starts with one of its profiles only: its secrets were not judged",
			"check it too: --profile NAME")
	}
}

// secrets lists the loads of a container, and of those that run before it.
func (w *workload) secrets() error {
	if w.provided {
		if len(w.spec.Secrets) > 0 {
			w.tell(descriptor.RuleIgnoredCompose, w.entry("secrets", w.spec.Secrets[0].Source, w.spec.Secrets[0].Target), w.service,
				"a provider makes the service, and gets no secrets", "remove secrets, or configure the provider")
		}
		return nil
	}
	index := map[string]int{}
	for _, s := range w.spec.Secrets {
		l, err := w.load(s, w.spec)
		if err != nil {
			return err
		}
		if _, known := index[l.Path]; known {
			w.tell(descriptor.RuleIgnoredCompose, w.entry("secrets", s.Source, s.Target), w.service, "two secrets have one target: of one nothing is seen", "give each a target of its own")
			continue
		}
		index[l.Path] = len(w.loads)
		w.loads = append(w.loads, l)
	}
	for i := range w.hooks {
		spec := &w.hooks[i].ContainerSpec
		for _, s := range spec.Secrets {
			l, err := w.load(s, spec)
			if err != nil {
				return err
			}
			at, known := index[l.Path]
			if !known {
				index[l.Path] = len(w.loads)
				w.loads = append(w.loads, l)
				continue
			}
			if first := &w.loads[at]; l.UID != first.UID || l.Origin != first.Origin {
				first.Also = append(first.Also, l)
			}
		}
	}
	return nil
}

// load is one secret as one container sees it.
func (w *workload) load(s types.ServiceSecretConfig, spec *types.ContainerSpec) (descriptor.Load, error) {
	entry := w.entry("secrets", s.Source, s.Target)
	def := w.model.Secrets[s.Source]
	l := descriptor.Load{Source: policy.SourceFile, Path: targetPath(s), Position: entry.position()}
	w.identity(&l, spec)
	w.act(&l, s.Source)
	if len(l.Path) > 4095 || strings.ContainsRune(l.Path, 0) {
		return l, entry.fault("correct target", "not the path of a file")
	}
	if bool(def.External) {
		w.say(policy.SeverityNote, descriptor.RuleExternal, entry, w.service, "plain Compose refuses a secret that is external: it is judged as Swarm makes it", "deploy it with docker stack deploy")
	}
	owner, err := w.owner(s, entry)
	if err != nil {
		return l, err
	}
	p := w.definition(s.Source)
	switch {
	case bool(def.External):
		l.Origin = "external/" + def.Name
		owner.filesystem, owner.mount = "tmpfs", policy.Mount{ReadOnly: true}
		l.Runtime = owner.runtime(l)
	case def.Driver != "":
		l.Origin = "driver/" + def.Driver
		l.Doubt = &descriptor.Doubt{Rule: descriptor.RuleDriver, Message: "what the driver of the secret makes is known to it only", Fix: "look at the file in a running container"}
	case def.File != "":
		l.Bind = true
		l.Origin, l.HostPath = w.hostPath(def.File, p)
		w.notEnforced(entry)
	case p.get("content") != nil:
		l.Origin = descriptor.OriginInline
		l.Runtime = owner.runtime(l)
		w.tell(descriptor.RulePlainText, p.get("content"), w.service, "the value of a secret stands in the file: whoever reads it has it",
			"put it into a file of its own, out of the repository, and change the value")
	case def.Environment != "":
		l.Origin = "environment/" + def.Environment
		l.Runtime = owner.runtime(l)
	}
	w.doubts(&l, entry, p, spec)
	return l, nil
}

// definition is where a secret is defined, the place in force.
func (p *project) definition(name string) *value {
	for _, s := range slices.Backward(p.sources) {
		for _, d := range s.defined("secrets", name) {
			return d
		}
	}
	return nil
}

func (s *source) defined(section, name string) (places []*value) {
	for _, d := range slices.Backward(s.docs) {
		if v := d.get(section, name); v != nil {
			places = append(places, v)
		}
	}
	for _, i := range s.included {
		places = append(places, i.defined(section, name)...)
	}
	return places
}

// doubts keeps what cannot be known from being called allowed.
func (w *workload) doubts(l *descriptor.Load, entry, def *value, spec *types.ContainerSpec) {
	switch {
	case strings.HasPrefix(spec.Platform, "windows"):
		l.Doubt = &descriptor.Doubt{Rule: descriptor.RulePlatform, Message: "the container is for Windows, where files have no modes that could be judged", Fix: "judge it by hand"}
	case entry.undecided() || def != nil && def.undecided():
		l.Doubt = &descriptor.Doubt{Rule: descriptor.RuleUnset, Message: "a variable that nobody sets is a part of it", Fix: "set it: --env NAME=VALUE, or in the .env file of the project"}
	case def.get("file").home():
		l.Doubt = &descriptor.Doubt{Rule: descriptor.RuleUnset, Message: "the path begins in the home of whoever starts the project", Fix: "write it out"}
		l.Origin, l.HostPath = def.get("file").text, ""
	case spec.ReadOnly && l.Runtime != nil && !strings.HasPrefix(l.Origin, "external/"):
		l.Doubt = &descriptor.Doubt{Rule: descriptor.RuleIgnoredCompose, Message: "Compose writes this secret into the container, and that is read-only: it would not start", Fix: "take the secret from a file"}
	}
}

func (v *value) home() bool { return v != nil && strings.HasPrefix(v.string(), "~") }

// hostPath is the file as reports call it, and where it is on the host. What is relative is so to the project; where that
// is not inside the root, nobody knows where the file will be.
func (p *project) hostPath(file string, def *value) (origin, host string) {
	raw := def.get("file")
	written := filepath.IsAbs(raw.string())
	origin = file
	if rel, err := filepath.Rel(p.dir, file); err == nil && !written {
		origin = filepath.ToSlash(rel)
	}
	if raw != nil && strings.Contains(raw.text, "$") { // what variables hold is not shown
		origin = raw.text
	}
	switch {
	case p.Root == "":
	case written:
		host = path.Clean(filepath.ToSlash(file))
	case beneath(p.Root, file):
		rel, _ := filepath.Rel(p.Root, file)
		host = "/" + filepath.ToSlash(rel)
	}
	return origin, host
}

// notEnforced tells of what plain Compose passes over: it mounts the file of the host as it is.
func (w *workload) notEnforced(entry *value) {
	for _, key := range []string{"uid", "gid", "mode"} {
		for _, f := range entry.fields {
			if f.name == key {
				w.tell(descriptor.RuleNotEnforced, f.in(entry), w.service, "plain Compose passes over "+key+" of a secret that is a file: the container sees the file of the host as it is",
					"give the file itself this owner and mode, and remove "+key)
			}
		}
	}
}

// made is a file that Compose or Swarm makes.
type made struct {
	uid, gid   int64
	mode       uint32
	filesystem string
	mount      policy.Mount
}

// owner reads uid, gid and mode. Without them the file is root's, and everybody may read it.
func (w *workload) owner(s types.ServiceSecretConfig, entry *value) (made, error) {
	m := made{mode: 0o444, filesystem: "overlayfs"}
	for _, id := range []struct {
		key, text string
		to        *int64
	}{{"uid", s.UID, &m.uid}, {"gid", s.GID, &m.gid}} {
		if id.text == "" {
			continue
		}
		n, err := strconv.ParseUint(id.text, 10, 31)
		if err != nil {
			return m, entry.key(id.key).fault("write the number", "%s is not a number", id.key)
		}
		*id.to = int64(n)
	}
	if s.Mode != nil {
		if *s.Mode < 0 || *s.Mode > 0o7777 {
			return m, entry.key("mode").fault("write a mode as 0400", "not a mode")
		}
		m.mode = uint32(*s.Mode)
		if raw := entry.get("mode"); raw != nil && raw.tag == "!!int" && slices.Contains([]string{"400", "440", "444", "600", "640", "644", "660"}, raw.text) {
			w.tell(descriptor.RuleDecimalMode, raw, w.service, "a number without a zero before it is decimal: this is another mode", "write 0"+raw.text)
		}
	}
	return m, nil
}

// key is the value of a key, or v itself.
func (v *value) key(name string) *value {
	if at := v.get(name); at != nil {
		return at
	}
	return v
}

// runtime is the file in the container. Compose copies it into the container's own file system, Swarm mounts it.
func (m made) runtime(l descriptor.Load) *descriptor.Runtime {
	f := policy.File{
		Type: "regular", Mode: m.mode, UID: m.uid, GID: m.gid, OwnerIsRoot: m.uid == 0, OwnerIsMe: m.uid == l.UID, Size: 1, NLink: 1,
		Filesystem: m.filesystem, Mount: m.mount,
		Readers: principals(m, 0o040, 0o004), Writers: principals(m, 0o020, 0o002),
	}
	if m.uid != 0 {
		f.Writers.UIDs = append(f.Writers.UIDs, 0) // of the directories
	}
	r := &descriptor.Runtime{Resolved: l.Path, File: f, Fix: "give it uid and mode: \"" + strconv.FormatInt(max(l.UID, 0), 10) + "\" and 0400"}
	for dir := l.Path; dir != "/"; {
		dir = path.Dir(dir)
		r.Above = append(r.Above, dir)
	}
	if l.Barred(f) {
		r.Barred = r.Resolved
	}
	return r
}

// principals is who a mode admits.
func principals(m made, group, other uint32) policy.Principals {
	p := policy.Principals{UIDs: []int64{m.uid}, Everyone: m.mode&other != 0}
	if m.mode&group != 0 {
		p.GIDs = []int64{m.gid}
	}
	return p
}

// unused tells of secrets that nobody gets.
func (p *project) unused(used map[string]bool) {
	for _, s := range p.sources {
		for _, d := range s.docs {
			for _, f := range d.get("secrets").list1() {
				if _, defined := p.model.Secrets[f.name]; defined && !used[f.name] {
					p.tell(descriptor.RuleIgnoredCompose, f.in(d), "", "no service uses this secret: nobody gets it", "remove it, or name it in the service that needs it")
				}
			}
		}
	}
}
