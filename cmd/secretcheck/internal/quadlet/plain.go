package quadlet

import (
	"fmt"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/plaintext"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
)

const takeSecret = "make a secret of podman's, and give it with Secret=NAME,uid=…,mode=0400"

// arguments looks at what goes around the keys: PodmanArgs= is passed to podman run as it is.
func (r *reader) arguments() {
	for _, a := range inForce(r.all, container, "PodmanArgs") {
		list := words(a.value)
		for i := 0; i < len(list); i++ {
			name, value, with := strings.Cut(list[i].text, "=")
			at := a.at(list[i].offset)
			short := strings.HasPrefix(name, "-e") && !strings.HasPrefix(name, "--") && len(name) > 2
			if short { // -eNAME=VALUE
				name, value, with = "-e", list[i].text[2:], true
			}
			if !with && takesValue(name) && i+1 < len(list) {
				i++
				value, at = list[i].text, a.at(list[i].offset)
			}
			r.argument(name, value, at)
		}
	}
}

func takesValue(name string) bool {
	switch name {
	case "--secret", "--env", "-e", "--env-file", "--volume", "-v", "--label", "-l", "--annotation":
		return true
	}
	return false
}

func (r *reader) argument(name, value string, at descriptor.Position) {
	switch name {
	case "--secret":
		r.tell(descriptor.RuleEscape, at, "a secret goes around Secret=: who looks for secrets there does not see it", "write Secret= instead")
		r.secret(value, at)
	case "--env", "-e":
		r.variable(value, at)
	case "--env-file":
		r.tell(descriptor.RuleEnvFile, at, "variables come from a file that was not looked at", takeSecret)
	case "--env-host":
		r.host(at)
	case "--volume", "-v":
		r.volume(value, at)
	case "--label", "-l", "--annotation":
		r.named(value, at, "a label")
	}
}

// environment looks at variables, labels, volumes and commands.
func (r *reader) environment() {
	for _, key := range []string{"Environment", "Label", "Annotation", "LogOpt"} {
		for _, a := range inForce(r.all, container, key) {
			for _, w := range words(a.value) {
				if key == "Environment" {
					r.variable(w.text, a.at(w.offset))
				} else {
					r.named(w.text, a.at(w.offset), "a label")
				}
			}
		}
	}
	for _, a := range inForce(r.all, container, "EnvironmentFile") {
		r.tell(descriptor.RuleEnvFile, a.at(0), "variables come from a file that was not looked at", takeSecret)
	}
	if a := last(r.all, container, "EnvironmentHost"); a != nil && isTrue(a.value) {
		r.host(a.at(0))
	}
	for _, a := range inForce(r.all, container, "Volume") {
		r.volume(a.value, a.at(0))
	}
	for _, key := range []string{"Exec", "HealthCmd", "HealthStartupCmd", "Entrypoint"} {
		if a := last(r.all, container, key); a != nil {
			r.command(a)
		}
	}
	for _, a := range r.all {
		if a.section == container && plaintext.Address(a.value) {
			r.tell(descriptor.RulePlainText, a.at(0), "an address has a password in it, which everybody on the host can read", takeSecret)
		}
	}
}

func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true", "t", "on":
		return true
	}
	return false
}

// variable is NAME=VALUE, or a NAME whose value the service manager has.
func (r *reader) variable(text string, at descriptor.Position) {
	name, value, with := strings.Cut(text, "=")
	switch {
	case !plaintext.Name(name) || with && !plaintext.Value(value):
		return
	case r.mounted(name):
		r.tell(descriptor.RuleTwice, at, "the same secret is given with Secret=: in a variable it can be seen by podman inspect and in /proc", "read the file, and remove the variable")
	default:
		r.tell(descriptor.RulePlainText, at, "what is called a secret stands in a variable, which everybody on the host can read", takeSecret)
	}
}

// mounted reports whether a secret of that name is given as a file.
func (r *reader) mounted(name string) bool {
	for _, l := range r.loads {
		if strings.HasPrefix(l.Origin, "podman/") && same(strings.TrimPrefix(l.Origin, "podman/")) == same(name) {
			return true
		}
	}
	return false
}

// same is a name without what differs between the ways to write it.
func same(name string) string {
	return strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(name))
}

func (r *reader) named(text string, at descriptor.Position, where string) {
	name, value, _ := strings.Cut(text, "=")
	if plaintext.Name(name[strings.LastIndexByte(name, '/')+1:]) && plaintext.Value(value) {
		r.tell(descriptor.RulePlainText, at, "what is called a secret stands in "+where+", which everybody on the host can read", takeSecret)
	}
}

func (r *reader) host(at descriptor.Position) {
	r.tell(descriptor.RuleEnvFile, at, "every variable of the service manager is passed to the container, whatever it holds", "name the variables that the service needs")
}

// volume tells of a secret that is mounted like any file.
func (r *reader) volume(text string, at descriptor.Position) {
	from, to, found := strings.Cut(text, ":")
	base := from[strings.LastIndexByte(from, '/')+1:]
	stem, _, _ := strings.Cut(base, ".")
	if found && strings.ContainsAny(from[:min(1, len(from))], "/.%") && (strings.HasPrefix(to, "/run/secrets/") || plaintext.Name(stem)) {
		r.tell(descriptor.RuleVolume, at, "what is called a secret is mounted with Volume=: that is no secret to podman, and was not judged", takeSecret)
	}
}

// command looks at --password=VALUE, and --password followed by its value.
func (r *reader) command(a *assignment) {
	list := words(a.value)
	for i, w := range list {
		name, own, with := strings.Cut(w.text, "=")
		if !strings.HasPrefix(name, "-") || !plaintext.Name(name) {
			continue
		}
		if with && plaintext.Value(own) || !with && i+1 < len(list) && !strings.HasPrefix(list[i+1].text, "-") && plaintext.Value(list[i+1].text) {
			r.tell(descriptor.RulePlainText, a.at(w.offset), "what is called a secret stands in an argument, which everybody on the host can read", takeSecret)
		}
	}
}

// Manifests lists what Yaml= of a .kube file names: paths as written, with their places.
func Manifests(f systemd.File) ([]Manifest, *descriptor.Finding) {
	all, bad := parse(f)
	if bad != nil {
		return nil, bad
	}
	var list []Manifest
	for _, a := range inForce(all, "Kube", "Yaml") {
		list = append(list, Manifest{Path: a.value, Position: a.at(0)})
	}
	if len(list) == 0 {
		return nil, refused(descriptor.Position{File: f.Name, Line: 1, Column: 1}, "there is no Yaml= in [Kube]")
	}
	return list, nil
}

// Manifest is a file of Kubernetes' that a .kube file names.
type Manifest struct {
	Path string
	descriptor.Position
}

// ByPodman is what podman makes of a load in a manifest: files that are not the kubelet's, so that nothing is foretold.
func ByPodman(l descriptor.Load) descriptor.Load {
	if l.Source == "file" {
		l.Runtime, l.Also = nil, nil
		if l.Doubt == nil {
			l.Doubt = &descriptor.Doubt{
				Rule: descriptor.RulePlatform, Message: "podman makes the files of a pod otherwise than Kubernetes: their modes are not known",
				Fix: fmt.Sprintf("use a .container file with Secret=NAME,target=%s", l.Path),
			}
		}
	}
	return l
}
