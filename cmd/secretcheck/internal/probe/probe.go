// Package probe makes up the requests that grants are about: what a policy answers to them tells what it grants, without
// anybody reading grants as the rules do.
package probe

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/change"
	"github.com/llorch/secrets-management/policy"
)

// Probe is one request, and what it is about.
type Probe struct {
	Request *policy.Request
	About   change.Subject

	// Plain is the place in the list of the probe for the same secret with nothing to be said of its circumstances, and
	// Usual that with the same state of the file by a service that proves nothing special of itself. Each may be the probe itself.
	Plain, Usual int
}

// ref is what may be asked for.
type ref struct {
	action              policy.Action
	source              policy.Source
	name, path, purpose string
	origin              string
}

// Service lists what grants of a service are about: every action on every file, credential and variable in them, each as a
// service would ask for it whose file is in the best order, and then in each state that a grant relaxes; by the service as
// anybody can run it, and then as each grant requires. A directory is stood for by DIR/*, and a credential is asked for as at
// run time, and as at rollout for each place that it may be copied from.
func Service(service string, grants []policy.Grant, environment string) []Probe {
	states, identities := states(grants), identities(grants)
	var list []Probe
	for _, x := range refs(grants) {
		first := len(list)
		for i, who := range identities {
			for s, state := range states {
				if x.source == policy.SourceEnv && s > 0 {
					continue
				}
				r := request(service, x, environment)
				who.set(r)
				ideal(r)
				state.set(r)
				usual := len(list)
				if i > 0 {
					usual = first + s
				}
				list = append(list, Probe{r, about(service, x, who.text, state.text), first, usual})
			}
		}
	}
	return list
}

// Corner is the worst request that one grant takes: everything that it relaxes at once, the largest file, and the memory that
// protects least. What grants do together bears on none of the requests of [Service]: where a stricter grant takes them too,
// its conditions are what the answer has.
type Corner struct {
	Request *policy.Request
	About   change.Subject

	// Near are the requests of [Service] that differ from it in what the same grant takes.
	Near []change.Subject
}

// Corners lists the corner of each grant for everything that it names, each once. Where a credential is copied from is left
// to [Service].
func Corners(service string, grants []policy.Grant, environment string) (list []Corner) {
	seen := map[change.Subject]bool{}
	for i := range grants {
		g, one := &grants[i], grants[i:i+1]
		whos, relaxed := identities(one), states(one)
		who := whos[len(whos)-1]
		for _, x := range refs(one) {
			if x.origin != "" {
				continue
			}
			c := Corner{Request: request(service, x, environment), Near: []change.Subject{about(service, x, who.text)}}
			who.set(c.Request)
			ideal(c.Request)
			words := []string{who.text}
			for _, state := range append(relaxed, worst(g, x)...) {
				c.Near = append(c.Near, about(service, x, who.text, state.text))
				state.set(c.Request)
				words = append(words, state.text)
			}
			if c.About = about(service, x, words...); !seen[c.About] {
				seen[c.About] = true
				list = append(list, c)
			}
		}
	}
	return list
}

// worst is what a grant takes that is no relaxation.
func worst(g *policy.Grant, x ref) []variant {
	size, memory := int64(policy.MaxSecretBytes), policy.MemoryHeap
	if x.action == policy.LoadKey {
		size = policy.MaxKeyBytes
	}
	if g.MaxBytes > 0 {
		size = min(size, g.MaxBytes)
	}
	if g.MinMemory != "" {
		memory = g.MinMemory
	}
	list := []variant{{"when memory is protected as " + string(memory), func(r *policy.Request) { r.Context.Memory = memory }}}
	if x.source == policy.SourceEnv {
		return list
	}
	return append(list, variant{fmt.Sprintf("when the file has %d bytes", size), func(r *policy.Request) { r.Resource.File.Size = size }})
}

func about(service string, x ref, texts ...string) change.Subject {
	texts = slices.DeleteFunc(texts, func(s string) bool { return s == "" })
	return change.Subject{
		Service: service, Action: x.action, Source: x.source, Name: x.name, Path: x.path, Purpose: x.purpose, Origin: x.origin,
		When: strings.Join(texts, ", "),
	}
}

// refs lists what grants name, each once.
func refs(grants []policy.Grant) (list []ref) {
	seen := map[ref]bool{}
	add := func(x ref) {
		if !seen[x] {
			seen[x] = true
			list = append(list, x)
		}
	}
	for i := range grants {
		g := &grants[i]
		for _, action := range g.Actions {
			for _, purpose := range purposes(g, action) {
				x := ref{action: action, source: g.Source, purpose: purpose}
				for _, p := range Places(g) {
					if x.path = p; g.Source == policy.SourceFile {
						add(x)
					}
				}
				for _, n := range g.Names {
					x.name, x.path, x.origin = n, "", ""
					add(x)
					for _, x.origin = range Places(g) {
						add(x)
					}
				}
			}
		}
	}
	return list
}

// purposes are those of an action: of none but one there are any.
func purposes(g *policy.Grant, action policy.Action) []string {
	if action != policy.DeriveKey {
		return []string{""}
	}
	return g.Purposes
}

// Places lists the paths of a grant, and for each directory one that stands for everything beneath it.
func Places(g *policy.Grant) []string {
	list := slices.Clone(g.Paths)
	for _, d := range g.Dirs {
		list = append(list, d+"/*")
	}
	return list
}

// variant is a way in which a request can differ from the usual one.
type variant struct {
	text string
	set  func(r *policy.Request)
}

// account is the user of a service of which nothing is required. It owns its files.
const account = 60_001

// identities are who grants require a service to be.
func identities(grants []policy.Grant) []variant {
	list := []variant{{"", func(*policy.Request) {}}}
	seen := map[string]bool{}
	for i := range grants {
		q := grants[i].Require
		var words []string
		if q.UID != nil {
			words = append(words, fmt.Sprintf("running as uid %d", *q.UID))
		}
		if q.Unit != "" {
			words = append(words, "running as unit "+q.Unit)
		}
		text := strings.Join(words, " and ")
		if text == "" || seen[text] {
			continue
		}
		seen[text] = true
		list = append(list, variant{text, func(r *policy.Request) {
			if q.UID != nil {
				r.Subject.UID = *q.UID
			}
			if q.Unit != "" {
				r.Subject.Unit, r.Subject.Attested.Unit = q.Unit, "cgroup"
			}
		}})
	}
	return list
}

// states are those of a file that grants relax.
func states(grants []policy.Grant) []variant {
	list := []variant{{"", func(*policy.Request) {}}}
	seen := map[string]bool{}
	add := func(text string, set func(*policy.File)) {
		if !seen[text] {
			seen[text] = true
			list = append(list, variant{text, func(r *policy.Request) {
				set(&r.Resource.File)
				if r.Resource.OriginFile.Type != "" {
					set(&r.Resource.OriginFile)
				}
			}})
		}
	}
	for i := range grants {
		x := grants[i].Relax
		if x.Owner != nil {
			add(fmt.Sprintf("when uid %d owns the file", *x.Owner), func(f *policy.File) {
				f.UID, f.OwnerIsMe, f.OwnerIsRoot = *x.Owner, false, false
				f.Writers.UIDs = []int64{0, *x.Owner}
			})
		}
		if x.GroupRead != nil {
			add(fmt.Sprintf("when group %d can read the file", *x.GroupRead), func(f *policy.File) {
				f.GID, f.Mode, f.Readers.GIDs = *x.GroupRead, f.Mode|0o040, []int64{*x.GroupRead}
			})
		}
		if x.WorldRead {
			add("when everyone can read the file", func(f *policy.File) {
				f.Mode, f.Readers.Everyone = f.Mode|0o044, true
			})
		}
		if x.Symlink {
			add("when the path ends in a symbolic link", func(f *policy.File) { f.Symlinks, f.FinalSymlink = 1, true })
		}
		if x.Filesystem != "" {
			add("when the file is on "+x.Filesystem, func(f *policy.File) { f.Filesystem = x.Filesystem })
		}
	}
	return list
}

// request asks for a secret, so far without a file.
func request(service string, x ref, environment string) *policy.Request {
	r := &policy.Request{
		Subject: policy.Subject{Service: service, UID: account, GID: account, Attested: policy.Attested{UID: "getuid", GID: "getgid"}},
		Action:  x.action,
		Resource: policy.Resource{
			Source: x.source, Path: x.path, Name: x.name, Purpose: x.purpose, Origin: x.origin, Facts: policy.FactsObserved,
		},
		Context: policy.Context{Phase: policy.PhaseRuntime, Environment: environment, Memory: policy.MemorySecret},
	}
	if x.origin != "" {
		r.Resource.Facts, r.Context.Phase, r.Context.Memory = policy.FactsPredicted, policy.PhaseRollout, ""
	}
	if x.source == policy.SourceCredential {
		r.Resource.Path = "/run/credentials/" + service + ".service/" + x.name
	}
	return r
}

// ideal gives a request a file that no rule could object to: of the service alone, and a credential's origin of root alone.
func ideal(r *policy.Request) {
	s := &r.Resource
	if s.Source == policy.SourceEnv {
		return
	}
	uid := r.Subject.UID
	s.Resolved, s.Above = s.Path, above(s.Path)
	s.File = policy.File{
		Type: "regular", Mode: 0o400, UID: uid, OwnerIsRoot: uid == 0, OwnerIsMe: true, Size: 1, NLink: 1, Filesystem: "ext4",
		Readers: policy.Principals{UIDs: []int64{uid}}, Writers: policy.Principals{UIDs: slices.Compact([]int64{0, uid})},
	}
	if s.Origin != "" {
		s.OriginFile = s.File
		s.OriginFile.UID, s.OriginFile.OwnerIsRoot, s.OriginFile.OwnerIsMe = 0, true, uid == 0
		s.OriginFile.Readers.UIDs, s.OriginFile.Writers.UIDs = []int64{0}, []int64{0}
	}
}

func above(p string) (list []string) {
	for p != "/" && p != "." {
		p = path.Dir(p)
		list = append(list, p)
	}
	return list
}

// Ask is a request for one secret by a service in the best order, as one of the identities that its grants require, or none.
type Ask struct {
	Request *policy.Request
	Who     string
}

// Asking lists the requests of a service for a file, or for a credential or variable of a name, or for a credential that is
// copied from a file: each action, and each purpose and identity that the grants of the service have.
func Asking(service string, grants []policy.Grant, environment, target string) (list []Ask) {
	for _, x := range targets(grants, target) {
		for _, who := range identities(grants) {
			r := request(service, x, environment)
			who.set(r)
			ideal(r)
			list = append(list, Ask{r, who.text})
		}
	}
	return list
}

func targets(grants []policy.Grant, target string) (list []ref) {
	var names, labels []string
	for i := range grants {
		labels = append(labels, grants[i].Purposes...)
		if grants[i].Source == policy.SourceCredential {
			names = append(names, grants[i].Names...)
		}
	}
	slices.Sort(names)
	slices.Sort(labels)
	names, labels = slices.Compact(names), slices.Compact(labels)
	add := func(x ref) {
		for _, x.action = range []policy.Action{policy.LoadSecret, policy.LoadKey} {
			list = append(list, x)
		}
		x.action = policy.DeriveKey
		for _, x.purpose = range labels {
			list = append(list, x)
		}
	}
	if !strings.HasPrefix(target, "/") {
		add(ref{source: policy.SourceCredential, name: target})
		add(ref{source: policy.SourceEnv, name: target})
		return list
	}
	add(ref{source: policy.SourceFile, path: target})
	for _, n := range names {
		add(ref{source: policy.SourceCredential, name: n, origin: target})
	}
	return list
}
