package compose

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// workload is a service or a job.
type workload struct {
	*project
	section, name string
	service       string // the subject
	spec          *types.ContainerSpec
	build         *types.BuildConfig
	hooks         []types.PreStartHook
	provided      bool // by another program, in no container
	profiles      []string
	active        bool
	places        []*value // where it is declared, the one in force first
	actions       map[string]*choice
}

// choice is what the service does with a secret, as the project says.
type choice struct {
	at      *value
	action  policy.Action
	purpose string
	used    bool
}

// workloads lists services and jobs by name. Those outside of the active profiles do not start.
func (p *project) workloads(all bool) []*workload {
	var list []*workload
	services := func(set types.Services, active bool) {
		for _, name := range slices.Sorted(maps.Keys(set)) {
			s := set[name]
			list = append(list, &workload{
				project: p, section: "services", name: name, spec: &s.ContainerSpec, build: s.Build, hooks: s.PreStart,
				provided: s.Provider != nil, profiles: s.Profiles, active: active,
			})
		}
	}
	jobs := func(set types.Jobs, active bool) {
		for _, name := range slices.Sorted(maps.Keys(set)) {
			j := set[name]
			list = append(list, &workload{
				project: p, section: "jobs", name: name, spec: &j.ContainerSpec, build: j.Build, profiles: j.Profiles, active: active,
			})
		}
	}
	services(p.model.Services, true)
	jobs(p.model.Jobs, true)
	if all {
		services(p.model.DisabledServices, false)
		jobs(p.model.DisabledJobs, false)
	}
	for _, w := range list {
		for _, s := range p.sources {
			w.places = append(s.declared(p, w.section, w.name, 0), w.places...)
		}
		w.subject()
	}
	return list
}

// declared lists where a file declares an entry: itself, the last document first, then what it extends, then what is
// included.
func (s *source) declared(p *project, section, name string, depth int) (places []*value) {
	if depth > maxDepth {
		return nil
	}
	for _, d := range slices.Backward(s.docs) {
		v := d.get(section, name)
		if v == nil {
			continue
		}
		places = append(places, v)
		ext := v.get("extends")
		switch {
		case ext == nil:
		case ext.mapping && ext.get("file") != nil:
			file := ext.get("file").string()
			for path, from := range p.bases {
				if path == file || path == s.join(file) {
					places = append(places, from.declared(p, section, ext.get("service").string(), depth+1)...)
				}
			}
		case ext.mapping:
			places = append(places, s.declared(p, section, ext.get("service").string(), depth+1)...)
		default:
			places = append(places, s.declared(p, section, ext.string(), depth+1)...)
		}
	}
	for _, i := range slices.Backward(s.included) {
		places = append(places, i.declared(p, section, name, depth+1)...)
	}
	return places
}

const (
	extService = "x-secretcheck-service"
	extAction  = "x-secretcheck-action"
	labelPlace = "secretcheck.llorch.dev/"
)

// at is the first of the places that has a key.
func (w *workload) at(path ...string) *value {
	for _, v := range w.places {
		if found := v.get(path...); found != nil && found.tag != "!reset" {
			return found
		}
	}
	return nil
}

// place is where the workload stands.
func (w *workload) place() *value {
	if len(w.places) > 0 {
		return w.places[0]
	}
	return w.top()
}

// top is the beginning of the project.
func (p *project) top() *value { return &value{from: p.sources[0], line: 1, column: 1} }

// subject is what the service is called to the policy: what an extension or a label says, else its key.
func (w *workload) subject() {
	w.service = w.name
	if v := w.setting(extService, labelPlace+"service"); v.string() != "" {
		w.service = v.string()
	}
}

// setting is an extension of ours, or the label that stands for it.
func (w *workload) setting(extension, label string) *value {
	if v := w.at(extension); v != nil {
		return v
	}
	for _, place := range w.places {
		for _, l := range place.get("labels").entries() {
			if l.name == label && l.value != nil {
				return l.value
			}
		}
	}
	return nil
}

// choices reads NAME:ACTION[:PURPOSE], a list or one text with any number of them. NAME is a secret's or the path of its file.
func (w *workload) choices() error {
	w.actions = map[string]*choice{}
	for _, v := range w.setting(extAction, labelPlace+"action").texts() {
		for _, one := range strings.FieldsFunc(v.string(), func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
			parts := strings.SplitN(one, ":", 3)
			c := &choice{at: v}
			if len(parts) > 1 {
				c.action = policy.Action(parts[1])
			}
			if len(parts) > 2 {
				c.purpose = parts[2]
			}
			if parts[0] == "" || !descriptor.ValidAction(c.action) || (c.action == policy.DeriveKey) != (c.purpose != "") {
				return v.fault("correct or remove it", extAction+" is not NAME:load_secret, NAME:load_key or NAME:derive_key:PURPOSE")
			}
			if w.actions[parts[0]] == nil {
				w.actions[parts[0]] = c
			}
		}
	}
	for _, place := range w.places {
		for _, f := range place.fields {
			if strings.HasPrefix(strings.ToLower(f.name), "x-secretcheck-") && f.name != extService && f.name != extAction {
				w.tell(descriptor.RuleUnusedSetting, f.at(), w.service, "there is no extension of ours with this name", "correct or remove it: there is "+extService+" and "+extAction)
			}
		}
		for _, l := range place.get("labels").entries() {
			if strings.HasPrefix(l.name, labelPlace) && l.name != labelPlace+"service" && l.name != labelPlace+"action" {
				w.tell(descriptor.RuleUnusedSetting, l.in(place), w.service, "there is no label of ours with this name", "correct or remove it")
			}
		}
	}
	return nil
}

func (w *workload) unusedChoices() {
	for _, name := range slices.Sorted(maps.Keys(w.actions)) {
		if c := w.actions[name]; !c.used {
			w.tell(descriptor.RuleUnusedSetting, c.at, w.service, "it names a secret that the service does not load", "correct or remove it")
		}
	}
}

// at is the place of a key.
func (f field) at() *value { return f.in(f.value) }

// in is the place of a key in the file that v stands in.
func (f field) in(v *value) *value { return &value{from: v.from, line: f.line, column: f.col} }

// entry finds the line of a service that names a secret or config.
func (w *workload) entry(list, source, target string) *value {
	keys := []string{list}
	if list == "build" {
		keys = []string{"build", "secrets"}
	}
	var second *value
	for _, place := range w.places {
		for _, candidate := range append(place.get(keys...).listed(), place.hooks(list)...) {
			switch {
			case candidate.scalar && candidate.string() == source && (target == "" || target == "/run/secrets/"+source):
				return candidate
			case candidate.mapping && candidate.get("source").string() == source:
				if t := candidate.get("target").string(); t == target || t == "" && target == "/run/secrets/"+source {
					return candidate
				}
				second = candidate
			case candidate.scalar && candidate.string() == source:
				second = candidate
			}
		}
	}
	if second != nil {
		return second
	}
	return w.place()
}

// hooks are the entries of the containers that run before.
func (v *value) hooks(list string) (all []*value) {
	for _, h := range v.get("pre_start").listed() {
		all = append(all, h.get(list).listed()...)
	}
	return all
}

// identity fills in who loads. A name is one of the image's accounts.
func (w *workload) identity(l *descriptor.Load, spec *types.ContainerSpec) {
	l.Service, l.UID = w.service, -1
	user, group, _ := strings.Cut(spec.User, ":")
	if uid, err := strconv.ParseUint(user, 10, 31); err == nil {
		l.UID = int64(uid)
	} else if user == "root" {
		l.UID = 0
	}
	if gid, err := strconv.ParseUint(group, 10, 31); err == nil {
		id := int64(gid)
		l.GID, l.Groups = &id, groups(id, spec.GroupAdd)
	}
	l.UIDOpen = l.UID < 0 || spec.UserNSMode != "" && spec.UserNSMode != "host"
}

// groups are all of a process whose group is given: the image adds none then. They are nil where a name is among them.
func groups(own int64, added []string) []int64 {
	all := []int64{own}
	for _, g := range added {
		n, err := strconv.ParseUint(g, 10, 31)
		if err != nil {
			return nil
		}
		all = append(all, int64(n))
	}
	return all
}

// act applies the choice about a load.
func (w *workload) act(l *descriptor.Load, source string) {
	for _, name := range []string{l.Path, source} {
		if c := w.actions[name]; c != nil {
			l.Action, l.Purpose, c.used = c.action, c.purpose, true
			return
		}
	}
}

// targetPath is where Compose puts a secret.
func targetPath(s types.ServiceSecretConfig) string {
	switch {
	case s.Target == "":
		return path.Join("/run/secrets", s.Source)
	case !path.IsAbs(s.Target):
		return path.Join("/run/secrets", s.Target)
	}
	return path.Clean(s.Target)
}
