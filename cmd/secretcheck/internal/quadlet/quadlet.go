// Package quadlet reads the files of which podman's generator makes services: .container with its drop-ins, and .kube. It
// reads them as systemd's syntax, which they are written in, and follows podman in what a line means.
package quadlet

import (
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
	"github.com/llorch/secrets-management/internal/spelling"
	"github.com/llorch/secrets-management/policy"
)

// Unit is a file with its drop-ins, in the order in which they apply.
type Unit struct {
	Name  string // "queen-rbee.container"
	User  bool   // for the services of a user: podman runs in a user namespace
	Files []systemd.File
}

const container = "Container"

// Read works out what the container loads. A file that does not parse has no loads, only the finding.
func Read(u Unit) ([]descriptor.Load, []descriptor.Finding) {
	r := &reader{unit: u, choices: map[string]choice{}}
	for _, f := range u.Files {
		part, bad := parse(f)
		if bad != nil {
			return nil, []descriptor.Finding{*bad}
		}
		r.all = append(r.all, part...)
	}
	r.service = serviceName(u.Name)
	if v := last(r.all, "Service", "X-Secretcheck-Service"); v != nil && descriptor.ValidService(v.value) {
		r.service = v.value
	} else if v := last(r.all, "Unit", "X-Secretcheck-Service"); v != nil && descriptor.ValidService(v.value) {
		r.service = v.value
	}
	if !descriptor.ValidService(r.service) {
		return nil, []descriptor.Finding{*refused(r.top(), "the name of the service is not of 1 to 255 visible ASCII characters")}
	}
	if last(r.all, container, "Image") == nil && last(r.all, container, "Rootfs") == nil {
		return nil, []descriptor.Finding{*refused(r.top(), "there is no Image= and no Rootfs= in [Container]")}
	}
	if at, many := r.tooMany(); many {
		return nil, []descriptor.Finding{*refused(at, "more than "+strconv.Itoa(maxWords)+" secrets, variables and arguments")}
	}
	r.actions()
	r.secrets()
	r.arguments()
	r.environment()
	r.misspelt()
	r.generated()
	return r.loads, r.findings
}

// maxWords bounds what a file says of one container.
const maxWords = 2000

// tooMany finds where a file has more than that.
func (r *reader) tooMany() (at descriptor.Position, many bool) {
	n := 0
	for _, a := range r.all {
		if a.section == container {
			if n += strings.Count(a.value, " ") + strings.Count(a.value, "\t") + 1; n > maxWords {
				return a.line.At(0), true
			}
		}
	}
	return at, false
}

// reader is a file that is being read.
type reader struct {
	unit     Unit
	service  string
	all      []assignment
	choices  map[string]choice
	loads    []descriptor.Load
	findings []descriptor.Finding
}

type choice struct {
	action  policy.Action
	purpose string
	at      descriptor.Position
	used    bool
}

// serviceName is the file's stem, without the instance of a template.
func serviceName(name string) string {
	stem, _, _ := strings.Cut(strings.TrimSuffix(name, filepath.Ext(name)), "@")
	return stem
}

func (r *reader) top() descriptor.Position {
	at := descriptor.Position{Line: 1, Column: 1}
	if len(r.unit.Files) > 0 {
		at.File = r.unit.Files[0].Name
	}
	return at
}

func (r *reader) tell(rule string, at descriptor.Position, message, fix string) {
	r.findings = append(r.findings, descriptor.Finding{
		Rule: rule, Severity: policy.SeverityWarning, Message: message, Fix: fix, Position: at, Service: r.service,
	})
}

// actions reads X-Secretcheck-Action=NAME:ACTION[:PURPOSE]. A fault in one the systemd reader tells.
func (r *reader) actions() {
	for _, a := range inForce(r.all, "Service", "X-Secretcheck-Action") {
		parts := strings.SplitN(a.value, ":", 3)
		if len(parts) < 2 {
			continue
		}
		c := choice{action: policy.Action(parts[1]), at: a.at(0)}
		if len(parts) > 2 {
			c.purpose = parts[2]
		}
		if descriptor.ValidAction(c.action) && (c.action == policy.DeriveKey) == (c.purpose != "") {
			r.choices[parts[0]] = c
		}
	}
}

// secrets reads Secret=, each word of which is a secret with its options.
func (r *reader) secrets() {
	for _, a := range inForce(r.all, container, "Secret") {
		for _, w := range words(a.value) {
			r.secret(w.text, a.at(w.offset))
		}
	}
}

// secret is one argument of --secret: NAME[,OPTION=VALUE]…
func (r *reader) secret(text string, at descriptor.Position) {
	parts := strings.Split(text, ",")
	name, kind, target := parts[0], "mount", ""
	f := policy.File{Type: "regular", Mode: 0o444, Size: 1, NLink: 1, Filesystem: "ext4"}
	if !validName(name) {
		r.ignored(at, "the name of the secret is not one that podman has")
		return
	}
	given := map[string]bool{}
	for _, p := range parts[1:] {
		key, value, found := strings.Cut(p, "=")
		ok := found
		switch key {
		case "type":
			kind, ok = value, value == "mount" || value == "env"
		case "target":
			target = value
		case "mode":
			n, err := strconv.ParseUint(value, 8, 32)
			f.Mode, ok = uint32(n), err == nil && n <= 0o7777
		case "uid", "gid":
			n, err := strconv.ParseUint(value, 10, 31)
			if ok = err == nil; key == "uid" {
				f.UID = int64(n)
			} else {
				f.GID = int64(n)
			}
		default:
			ok = false
		}
		if !ok {
			r.ignored(at, "an option of the secret that podman does not take")
			return
		}
		given[key] = true
	}
	if kind == "env" && (given["uid"] || given["gid"] || given["mode"]) {
		r.ignored(at, "uid, gid and mode are for secrets that are mounted")
		return
	}
	if _, open := specifiers(name + target); open {
		r.add(descriptor.Load{Source: policy.SourceFile, Path: "/run/secrets/" + name, Position: at, Doubt: specifierDoubt()}, name)
		return
	}
	if kind == "env" {
		if target == "" {
			target = name
		}
		r.add(descriptor.Load{Source: policy.SourceEnv, Name: target, Origin: "podman/" + name, Position: at}, name)
		return
	}
	if target == "" {
		target = name
	}
	if !path.IsAbs(target) {
		target = "/run/secrets/" + target
	}
	l := descriptor.Load{Source: policy.SourceFile, Path: path.Clean(target), Origin: "podman/" + name, Position: at}
	r.identity(&l)
	l.Runtime = runtime(f, l)
	r.add(l, name)
}

func validName(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsAny(s, "=/,") && strings.Trim(s, " \x00") == s && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}

// ignored says that podman refuses to start the container. The argument is not quoted: it may hold a value.
func (r *reader) ignored(at descriptor.Position, message string) {
	r.findings = append(r.findings, descriptor.Finding{
		Rule: descriptor.RuleUnparsable, Severity: policy.SeverityError, Message: message, Position: at, Service: r.service,
		Fix: "write Secret=NAME,type=mount,target=…,uid=…,gid=…,mode=0400, or Secret=NAME,type=env,target=…",
	})
}

// specifiers reports whether a text has one that only the running systemd knows.
func specifiers(s string) (string, bool) {
	return s, strings.Contains(strings.ReplaceAll(s, "%%", ""), "%")
}

func specifierDoubt() *descriptor.Doubt {
	return &descriptor.Doubt{
		Rule: descriptor.RuleSpecifier, Identity: true, Message: "the secret has a specifier that only the running systemd can resolve", Fix: "write it out",
	}
}

// add appends a load with what is the same for all.
func (r *reader) add(l descriptor.Load, name string) {
	r.identity(&l)
	for _, key := range []string{l.Path, l.Name, name} {
		if c, ok := r.choices[key]; ok && key != "" {
			c.used = true
			r.choices[key] = c
			l.Action, l.Purpose = c.action, c.purpose
			break
		}
	}
	if i := slices.IndexFunc(r.loads, func(o descriptor.Load) bool {
		return o.Source == l.Source && o.Path == l.Path && o.Name == l.Name && o.Unit == ""
	}); i >= 0 {
		r.ignored(l.Position, "two secrets have one target")
		return
	}
	r.loads = append(r.loads, l)
}

// identity is who runs in the container: a number, where the file gives one.
func (r *reader) identity(l *descriptor.Load) {
	l.Service, l.UID = r.service, -1
	if a := last(r.all, container, "User"); a != nil {
		user, group, _ := strings.Cut(a.value, ":")
		if n, err := strconv.ParseUint(user, 10, 31); err == nil {
			l.UID = int64(n)
		} else if user == "root" {
			l.UID = 0
		}
		if g := last(r.all, container, "Group"); g != nil && group == "" {
			group = g.value
		}
		if n, err := strconv.ParseUint(group, 10, 31); err == nil {
			id := int64(n)
			l.GID, l.Groups = &id, r.groups(id)
		}
	}
	mapped := r.unit.User
	for _, key := range []string{"UserNS", "RemapUsers", "UIDMap", "SubUIDMap"} {
		if a := last(r.all, container, key); a != nil && a.value != "" && a.value != "host" {
			mapped = true
		}
	}
	l.UIDOpen = l.UID < 0 || mapped
}

// groups are all of a process whose group is given, nil where a name is among them.
func (r *reader) groups(own int64) []int64 {
	all := []int64{own}
	for _, a := range inForce(r.all, container, "GroupAdd") {
		n, err := strconv.ParseUint(a.value, 10, 31)
		if err != nil {
			return nil
		}
		all = append(all, int64(n))
	}
	return all
}

// runtime is the file that podman makes of a secret: a file beside the container's, on a local file system, that is mounted
// into it and may be written to.
func runtime(f policy.File, l descriptor.Load) *descriptor.Runtime {
	f.OwnerIsRoot, f.OwnerIsMe = f.UID == 0, f.UID == l.UID
	f.Readers, f.Writers = principals(f, 0o040, 0o004), principals(f, 0o020, 0o002)
	if f.UID != 0 {
		f.Writers.UIDs = append(f.Writers.UIDs, 0) // of the directories
	}
	r := &descriptor.Runtime{Resolved: l.Path, File: f, Fix: "add uid=" + strconv.FormatInt(max(l.UID, 0), 10) + ",mode=0400"}
	for dir := l.Path; dir != "/"; {
		dir = path.Dir(dir)
		r.Above = append(r.Above, dir)
	}
	if l.Barred(f) {
		r.Barred = r.Resolved
	}
	return r
}

func principals(f policy.File, group, other uint32) policy.Principals {
	p := policy.Principals{UIDs: []int64{f.UID}, Everyone: f.Mode&other != 0}
	if f.Mode&group != 0 {
		p.GIDs = []int64{f.GID}
	}
	return p
}

// misspelt tells of a key that looks like Secret= and is none: the generator makes no unit of the file.
func (r *reader) misspelt() {
	ours := []string{"Secret", "Environment", "EnvironmentFile", "EnvironmentHost", "PodmanArgs"}
	for _, a := range r.all {
		if a.section != container || slices.Contains(known(), a.key) {
			continue
		}
		if meant := spelling.Closest(a.key, ours); meant != "" && meant != a.key {
			r.findings = append(r.findings, *refused(a.line.At(0), "an unknown key, for which podman's generator refuses the file"))
			r.findings[len(r.findings)-1].Fix = "did you mean " + meant + "=?"
		}
	}
}

// known are keys that are one or two letters away from others.
func known() []string {
	return []string{"Secret", "Environment", "EnvironmentFile", "EnvironmentHost", "PodmanArgs"}
}

// generated reads what the service has besides the container: credentials, which are the service's own. The generator delegates
// the cgroup.
func (r *reader) generated() {
	service := systemd.Unit{Name: strings.TrimSuffix(r.unit.Name, filepath.Ext(r.unit.Name)) + ".service"}
	service.Files = append(slices.Clone(r.unit.Files), systemd.File{Name: r.top().File, Data: []byte("[Service]\nDelegate=yes\n")})
	loads, findings := systemd.Read(service)
	for i := range loads {
		loads[i].Service, loads[i].UIDOpen = r.service, loads[i].UIDOpen || r.unit.User
	}
	used := map[descriptor.Position]bool{}
	for _, c := range r.choices {
		used[c.at] = c.used
	}
	for _, f := range findings {
		at := f.Position
		at.EndLine, at.EndColumn = 0, 0 // only the systemd reader knows ends
		if f.Rule != descriptor.RuleUnusedSetting || !used[at] {
			f.Service = r.service
			r.findings = append(r.findings, f)
		}
	}
	r.loads = append(r.loads, loads...)
}
