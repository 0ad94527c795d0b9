package kubernetes

import (
	"path"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// item is a file of a volume, or all files of it.
type item struct {
	at     *value
	path   string // beneath the volume
	whole  bool   // every key, whatever it is called
	mode   uint32
	owner  int64
	origin string
	ref    reference
	doubt  *descriptor.Doubt
}

// every is the path of files whose names are not known.
const every = "*"

// mount is a place where a container sees a volume.
type mount struct {
	container *value
	at        *value
	path      string
	subPath   string
	open      bool // by an expression that the node resolves
}

// volumes reads the volumes of the pod that secrets come from, and where they are mounted.
func (p *pod) volumes() error {
	mounts, err := p.mounts()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, v := range p.spec.get("volumes").list() {
		name := v.get("name").string()
		if name == "" || seen[name] {
			return v.fault("a volume without a name of its own")
		}
		seen[name] = true
		items, err := p.items(v)
		if err != nil {
			return err
		}
		for _, i := range items {
			if err := p.load(i, mounts[name]); err != nil {
				return err
			}
		}
		if len(items) > 0 {
			p.subPaths(mounts[name])
		}
	}
	for _, c := range p.containers() {
		for _, m := range c.get("volumeMounts").list() {
			if name := m.get("name"); !seen[name.string()] && !p.claims[name.string()] {
				return name.fault("there is no volume of that name")
			}
		}
	}
	return nil
}

// mounts lists the mounts of each volume.
func (p *pod) mounts() (map[string][]mount, error) {
	all := map[string][]mount{}
	for _, c := range p.containers() {
		for _, m := range c.get("volumeMounts").list() {
			at, name := m.get("mountPath"), m.get("name").string()
			if at.string() == "" || name == "" {
				return nil, m.fault("a mount has a name and a mountPath")
			}
			if err := rendered(at, m.get("subPath"), m.get("name")); err != nil {
				return nil, err
			}
			one := mount{container: c, at: m, path: path.Join("/", at.string())}
			if strings.ContainsAny(at.string(), ":\x00") || len(one.path) > 4095 {
				return nil, at.fault("not a path for a mount")
			}
			if sub := m.get("subPath").string(); sub != "" {
				if path.IsAbs(sub) || strings.Contains("/"+sub+"/", "/../") {
					return nil, m.get("subPath").fault("subPath leaves the volume")
				}
				one.subPath = strings.TrimPrefix(path.Clean(sub), ".")
			}
			one.open = m.get("subPathExpr").string() != ""
			all[name] = append(all[name], one)
		}
	}
	return all, nil
}

// items lists what a volume brings. The default modes are the API server's.
func (p *pod) items(v *value) ([]item, error) {
	switch {
	case v.get("secret") != nil:
		s := v.get("secret")
		mode, err := p.mode(s.get("defaultMode"), 0o644)
		if err != nil {
			return nil, err
		}
		return p.secret(s, s.get("secretName"), mode)
	case v.get("projected") != nil:
		return p.projected(v.get("projected"))
	case v.get("csi") != nil:
		return p.driver(v.get("csi"))
	}
	return nil, nil
}

// secret lists the keys of a secret that a volume has.
func (p *pod) secret(s, name *value, mode uint32) ([]item, error) {
	if name.string() == "" {
		return nil, s.fault("the name of the secret is missing")
	}
	if err := rendered(name); err != nil {
		return nil, err
	}
	p.optional(s)
	origin := p.namespace + "/" + name.string()
	if len(s.get("items").list()) == 0 {
		return []item{{at: name, path: every, whole: true, mode: mode, origin: origin, ref: reference{name.string(), every}}}, nil
	}
	var items []item
	paths := map[string]bool{}
	for _, i := range s.get("items").list() {
		key, to := i.get("key"), i.get("path")
		if key.string() == "" || to.string() == "" {
			return nil, i.fault("an item has a key and a path")
		}
		if err := rendered(key, to); err != nil {
			return nil, err
		}
		if err := descending(to); err != nil {
			return nil, err
		}
		m, err := p.mode(i.get("mode"), mode)
		if err != nil {
			return nil, err
		}
		at := path.Clean(to.string())
		if paths[at] {
			return nil, to.fault("two items have one path")
		}
		paths[at] = true
		items = append(items, item{at: key, path: at, mode: m, origin: origin + "/" + key.string(), ref: reference{name.string(), key.string()}})
	}
	return items, nil
}

// descending refuses the paths that the API server does.
func descending(v *value) error {
	s := v.string()
	if path.IsAbs(s) || strings.Contains("/"+s+"/", "/../") || strings.HasPrefix(s, "..") || strings.ContainsRune(s, 0) || len(s) > 1000 {
		return v.fault("not a path beneath the volume: relative, without .. and not beginning with two dots")
	}
	return nil
}

// projected lists the secrets and tokens of a projected volume. With a group for files, or a user that all containers
// share, the kubelet closes tokens and gives them to that user (pkg/volume/projected).
func (p *pod) projected(v *value) (items []item, err error) {
	mode, err := p.mode(v.get("defaultMode"), 0o644)
	if err != nil {
		return nil, err
	}
	token := item{mode: mode}
	if p.fsGroup != nil || p.tokenUser != nil {
		token.mode = 0o600
	}
	if p.tokenUser != nil {
		token.owner = *p.tokenUser
	}
	for _, source := range v.get("sources").list() {
		if s := source.get("secret"); s != nil {
			more, err := p.secret(s, s.get("name"), mode)
			if err != nil {
				return nil, err
			}
			items = append(items, more...)
		}
		for _, file := range []struct {
			at     *value
			origin string
		}{
			{source.get("serviceAccountToken", "path"), "serviceAccountToken"},
			{source.get("podCertificate", "credentialBundlePath"), "podCertificate"},
			{source.get("podCertificate", "keyPath"), "podCertificate"},
		} {
			if file.at.string() == "" {
				continue
			}
			if err := descending(file.at); err != nil {
				return nil, err
			}
			one := token
			one.at, one.path, one.origin = file.at, path.Clean(file.at.string()), p.namespace+"/"+file.origin
			items = append(items, one)
		}
		if t := source.get("serviceAccountToken"); t != nil && t.get("path").string() == "" {
			return nil, t.fault("a token has a path")
		}
	}
	seen := map[string]bool{}
	for _, i := range items {
		if seen[i.path] && !i.whole {
			return nil, i.at.fault("two files of the volume have one path")
		}
		seen[i.path] = true
	}
	return items, nil
}

// driver is a volume that a CSI driver fills. What it puts there, and how, is known to it alone.
func (p *pod) driver(v *value) ([]item, error) {
	name := v.get("driver")
	if name.string() == "" {
		return nil, v.fault("the name of the driver is missing")
	}
	origin := p.namespace + "/csi/" + name.string()
	if class := v.get("volumeAttributes", "secretProviderClass").string(); class != "" {
		origin += "/" + class
	}
	return []item{{at: name, path: every, whole: true, origin: origin, doubt: &descriptor.Doubt{
		Rule: descriptor.RuleDriver, Message: "what the CSI driver mounts, and with which modes, is known to it only",
		Fix: "look at the files in a running pod",
	}}}, nil
}

// load is one load for each item, seen by every container that mounts it.
func (p *pod) load(i item, mounts []mount) error {
	var views []descriptor.Load
	for _, m := range mounts {
		l, visible := p.view(i, m)
		if !visible {
			continue
		}
		if p.views++; p.views > maxViews {
			return i.at.fault("more than %d files in the containers of one pod", maxViews)
		}
		l.Position = p.position(i.at)
		p.act(&l)
		views = append(views, l)
	}
	if len(views) == 0 {
		p.tell(descriptor.RuleDropped, i.at, p.service, "no container mounts it: no service gets it",
			"remove it, or mount it where it is needed")
		return nil
	}
	if i.ref.secret != "" {
		p.refs = append(p.refs, i.ref)
	}
	first := views[0]
	first.Also = views[1:]
	p.loads = append(p.loads, first)
	return nil
}

// maxViews bounds the files of a pod times the containers that see them.
const maxViews = 10000

// view is an item as a container sees it, if it does.
func (p *pod) view(i item, m mount) (l descriptor.Load, visible bool) {
	l.Source, l.Origin = policy.SourceFile, i.origin
	p.identity(&l, m.container)
	if m.open {
		l.Path, l.Doubt = path.Join(m.path, every), &descriptor.Doubt{
			Rule: descriptor.RuleExpression, Message: "subPathExpr is resolved on the node: which file is there is not known before",
			Fix: "name the file with subPath",
		}
		return l, true
	}
	rest, single := i.path, false
	if m.subPath != "" {
		switch beneath, in := strings.CutPrefix(i.path, m.subPath+"/"); {
		case in:
			rest = beneath
		case i.path == m.subPath, i.whole && !strings.Contains(m.subPath, "/") && i.doubt == nil:
			single = true
			if i.whole {
				l.Origin += "/" + m.subPath
			}
		case i.doubt != nil:
		default:
			return l, false
		}
	}
	l.Path = m.path
	if !single {
		l.Path = path.Join(m.path, rest)
	}
	if i.doubt != nil {
		l.Doubt = i.doubt
	}
	if l.Doubt == nil {
		l.Runtime = p.file(i, m, l)
	}
	return l, true
}
