package kubernetes

import (
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// templateOf says where in a kind of object the pod is, and of which group of the API the kind is.
func templateOf(kind string) (group string, path []string, ok bool) {
	switch kind {
	case "Pod":
		return "", nil, true
	case "PodTemplate":
		return "", []string{"template"}, true
	case "ReplicationController":
		return "", []string{"spec", "template"}, true
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet":
		return "apps", []string{"spec", "template"}, true
	case "Job":
		return "batch", []string{"spec", "template"}, true
	case "CronJob":
		return "batch", []string{"spec", "jobTemplate", "spec", "template"}, true
	}
	return "", nil, false
}

// object reads one object. Of kinds that have no pod and no secret, nothing is looked at.
func (f *manifest) object(o object) error {
	switch group, path, ok := templateOf(o.kind); {
	case ok && (o.group == group || o.group == "extensions"):
		return f.workload(o, path)
	case o.group == "" && (o.kind == "Secret" || o.kind == "ConfigMap" || o.kind == "ServiceAccount"):
		if err := f.schema.check(o.body, o.kind, f.unknown("")); err != nil {
			return err
		}
		f.values(o)
	case hasContainers(o.body):
		f.tell(descriptor.RuleNotJudged, o.body, "", "a kind of another controller's that has containers: it was not judged",
			"check the pods that the controller makes of it: kubectl get pods -o yaml | secretcheck check -")
	}
	return nil
}

// hasContainers reports whether there is a list of containers somewhere.
func hasContainers(v *value) bool {
	for _, f := range v.fields {
		if f.name == "containers" && len(f.value.items) > 0 && f.value.items[0].get("image") != nil || hasContainers(f.value) {
			return true
		}
	}
	return slices.ContainsFunc(v.items, hasContainers)
}

// pod is a pod, or the template of many.
type pod struct {
	*manifest
	service   string
	namespace string
	spec      *value
	actions   map[string]*choice
	fsGroup   *int64
	tokenUser *int64          // the owner of projected tokens, where all containers have it
	claims    map[string]bool // volumes that a StatefulSet makes
	refs      []reference
	views     int
}

// reference is a mounted secret, to compare with variables. The key is * where it is all of them.
type reference struct{ secret, key string }

// choice is what the service does with a secret, as an annotation says.
type choice struct {
	at      *value
	action  policy.Action
	purpose string
	used    bool
}

// workload reads the pod of an object. Its loads count only if all of it is in order.
func (f *manifest) workload(o object, path []string) error {
	template := o.body.get(path...)
	service := ""
	name := serviceName(o.body, template)
	if name != nil {
		service = strings.TrimSuffix(name.string(), "-") // as a generateName ends
	}
	if err := f.schema.check(o.body, o.kind, f.unknown(service)); err != nil {
		return err
	}
	if template.get("spec") == nil {
		return o.body.fault("there is no pod in it")
	}
	p := &pod{manifest: f, service: service, spec: template.get("spec"), actions: map[string]*choice{}, claims: map[string]bool{}}
	for _, c := range o.body.get("spec", "volumeClaimTemplates").list() {
		p.claims[c.get("metadata", "name").string()] = true
	}
	if err := rendered(name, o.body.get("metadata", "namespace")); err != nil {
		return err
	}
	p.namespace = "?"
	if ns := o.body.get("metadata", "namespace").string(); ns != "" {
		p.namespace = ns
	}
	loads, findings := len(f.loads), len(f.findings)
	err := p.read(o.body, template)
	if err != nil { // what is not applied has nothing to tell besides
		f.loads, f.findings = f.loads[:loads], f.findings[:findings]
	}
	return err
}

const (
	prefix            = "secretcheck.llorch.dev/"
	serviceAnnotation = prefix + "service"
	actionAnnotation  = prefix + "action"
)

// serviceName is the subject: what the annotation says, else the label of the pod, else the name of the object.
func serviceName(object, template *value) *value {
	for _, v := range []*value{
		template.get("metadata", "annotations", serviceAnnotation),
		object.get("metadata", "annotations", serviceAnnotation),
		template.get("metadata", "labels", "app.kubernetes.io/name"),
		object.get("metadata", "name"),
	} {
		if v.string() != "" {
			return v
		}
	}
	return object.get("metadata", "generateName")
}

func (p *pod) read(object, template *value) error {
	if !descriptor.ValidService(p.service) {
		return object.fault("the name of the service is not of 1 to 255 visible ASCII characters")
	}
	p.fsGroup = p.spec.get("securityContext", "fsGroup").number()
	p.tokenUser = p.commonUser()
	if err := p.annotations(object, template); err != nil {
		return err
	}
	if err := p.volumes(); err != nil {
		return err
	}
	for _, c := range p.containers() {
		if err := p.variables(c); err != nil {
			return err
		}
	}
	p.texts(object, "", p.service)
	p.token()
	p.unusedActions()
	return nil
}

// containers are all of the pod: sidecars stand among the first, and ephemeral ones are added to a running pod.
func (p *pod) containers() []*value {
	return slices.Concat(p.spec.get("initContainers").list(), p.spec.get("containers").list(), p.spec.get("ephemeralContainers").list())
}

// annotations reads ours, and tells about others that are called secrets. Those of the pod come first.
func (p *pod) annotations(object, template *value) error {
	places := []*value{template.get("metadata", "annotations")}
	if object != template {
		places = append(places, object.get("metadata", "annotations"))
	}
	for _, annotations := range places {
		if annotations == nil {
			continue
		}
		for _, a := range annotations.fields {
			name, ours := strings.CutPrefix(a.name, prefix)
			switch {
			case a.name == actionAnnotation:
				if err := p.choices(a.value); err != nil {
					return err
				}
			case a.name == serviceAnnotation:
			case ours:
				p.tell(descriptor.RuleUnusedSetting, &value{line: a.line, column: a.col}, p.service,
					"there is no annotation"+quoted(name)+" of ours", "correct or remove it")
			default:
				p.plainText(a.name, a.value, p.service, "an annotation")
			}
		}
	}
	return nil
}

// choices reads NAME:ACTION[:PURPOSE], any number of them with space or commas between. NAME is a variable or the path of
// a file.
func (p *pod) choices(v *value) error {
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
			return v.fault("the annotation is not NAME:load_secret, NAME:load_key or NAME:derive_key:PURPOSE")
		}
		if p.actions[parts[0]] == nil {
			p.actions[parts[0]] = c
		}
	}
	return nil
}

// act applies the choice about a load.
func (p *pod) act(l *descriptor.Load) {
	name := l.Name
	if l.Source == policy.SourceFile {
		name = l.Path
	}
	if c := p.actions[name]; c != nil {
		l.Action, l.Purpose, c.used = c.action, c.purpose, true
	}
}

func (p *pod) unusedActions() {
	names := make([]string, 0, len(p.actions))
	for name, c := range p.actions {
		if !c.used {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		p.tell(descriptor.RuleUnusedSetting, p.actions[name].at, p.service,
			"the annotation names a variable or file that the pod does not load", "correct or remove it")
	}
}

// user and group are those of a container's processes, nil where the image says it.
func (p *pod) user(c *value) *int64 { return p.ofContext(c, "runAsUser") }

func (p *pod) group(c *value) *int64 { return p.ofContext(c, "runAsGroup") }

func (p *pod) ofContext(c *value, name string) *int64 {
	if own := c.get("securityContext", name).number(); own != nil {
		return own
	}
	return p.spec.get("securityContext", name).number()
}

// commonUser is FsUserFrom of the kubelet (pkg/volume/util): the user of all containers, if they have one.
func (p *pod) commonUser() *int64 {
	var common *int64
	for _, c := range slices.Concat(p.spec.get("initContainers").list(), p.spec.get("containers").list()) {
		user := p.user(c)
		if user == nil || common != nil && *common != *user {
			return nil
		}
		common = user
	}
	return common
}

// identity fills in who loads. Users are mapped where the pod has a user namespace of its own.
func (p *pod) identity(l *descriptor.Load, c *value) {
	l.Service, l.Container, l.UID, l.GID = p.service, c.get("name").string(), -1, p.group(c)
	if user := p.user(c); user != nil && *user >= 0 {
		l.UID = *user
	}
	l.UIDOpen = l.UID < 0 || p.spec.get("hostUsers").isFalse()
	if p.windows() {
		l.Doubt = &descriptor.Doubt{
			Rule: descriptor.RulePlatform, Message: "the pod is for Windows, where files have no modes that could be judged",
			Fix: "judge it by hand",
		}
	}
}

func (p *pod) windows() bool { return p.spec.get("os", "name").string() == "windows" }
