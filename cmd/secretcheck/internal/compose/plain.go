package compose

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/plaintext"
)

const takeFile = "put it into a file of its own and give it with secrets"

// scan looks for secrets that stand where everybody can read them, in every file of the project.
func (p *project) scan(subjects map[string]string) {
	for _, s := range p.everything() {
		for _, d := range s.docs {
			for _, section := range d.fields {
				for _, entry := range section.value.fields {
					service := ""
					if section.name == "services" || section.name == "jobs" {
						if service = subjects[section.name+"/"+entry.name]; service == "" {
							service = entry.name
						}
						p.container(s, entry.value, service)
					}
					p.resource(section.name, entry)
				}
				section.value.all(func(_ string, v *value) { p.address(v) })
			}
		}
	}
}

// address tells of a password in an address.
func (p *project) address(v *value) {
	if v.scalar && plaintext.Address(v.text) {
		p.tell(descriptor.RulePlainText, v, "", "an address has a password in it, which everybody who sees the file can read", takeFile)
	}
}

// container looks at a service, a job, or a hook.
func (p *project) container(s *source, v *value, service string) {
	p.named(v.get("environment"), service, "the environment")
	p.lists(s, v.get("env_file"), service, "variables")
	p.lists(s, v.get("label_file"), service, "labels")
	for _, path := range [][]string{
		{"labels"},
		{"annotations"},
		{"deploy", "labels"},
		{"build", "args"},
		{"build", "labels"},
		{"logging", "options"},
		{"storage_opt"},
		{"sysctls"},
		{"provider", "options"},
	} {
		p.named(v.get(path...), service, path[len(path)-1])
	}
	for _, path := range [][]string{{"command"}, {"entrypoint"}, {"healthcheck", "test"}} {
		p.arguments(v.get(path...), service)
	}
	for _, hooks := range []string{"pre_start", "post_start", "pre_stop"} {
		for _, h := range v.get(hooks).listed() {
			p.container(s, h, service)
		}
	}
	for _, h := range v.get("develop", "watch").listed() {
		p.container(s, h.get("exec"), service)
	}
	for _, m := range v.get("volumes").listed() {
		p.volume(m, service)
		p.named(m.get("volume", "labels"), service, "labels")
	}
	for _, n := range v.get("networks").list1() {
		p.named(n.value.get("driver_opts"), service, "driver_opts")
	}
	for _, d := range slices.Concat(v.get("gpus").listed(), v.get("deploy", "resources", "reservations", "devices").listed()) {
		p.named(d.get("options"), service, "options")
	}
	for _, o := range slices.Concat(v.get("build", "cache_from").listed(), v.get("build", "cache_to").listed()) {
		p.commas(o, service)
	}
	p.lines(v.get("build", "dockerfile_inline"), service)
	for _, c := range v.get("configs").listed() {
		p.config(c, service)
	}
	if api := v.get("use_api_socket"); api != nil && api.string() == "true" {
		p.tell(descriptor.RuleAPISocket, api, service, "the container gets the socket of the engine and the passwords of the registries: it can do and read everything",
			"remove use_api_socket")
	}
}

// named looks at NAME and VALUE, in a mapping or a list. A name without a value is one of whoever starts the project.
func (p *project) named(v *value, service, where string) {
	for _, e := range v.entries() {
		if !plaintext.Name(e.name[strings.LastIndexByte(e.name, '/')+1:]) {
			continue
		}
		switch {
		case !holds(e.value):
		case e.value.null() || strings.Contains(e.value.text, "$"):
			if where == "the environment" || where == "args" {
				p.tell(descriptor.RulePlainText, e.in(v), service, "what is called a secret is put into "+where+" of the container, where it can be seen by docker inspect and in /proc", takeFile)
			}
		default:
			p.tell(descriptor.RulePlainText, e.in(v), service, "what is called a secret stands in "+where+", which everybody who sees the file can read", takeFile)
		}
	}
}

// holds reports whether a variable can have the secret that its name promises. One that has no value here takes that of
// whoever starts the project.
func holds(v *value) bool {
	switch {
	case v.null():
		return true
	case !v.scalar || strings.HasPrefix(v.text, "file:"):
		return false
	}
	return plaintext.Value(v.text) || strings.Contains(v.text, "${") && !strings.HasPrefix(v.text, "/")
}

// lists looks at files of NAME=VALUE that lie in the project.
func (p *project) lists(s *source, v *value, service, what string) {
	for _, f := range v.texts() {
		at := f
		if f.mapping {
			at = f.get("path")
		}
		if at == nil || at.null() {
			continue
		}
		path, err := p.inside(at, at.string(), s.base)
		if err != nil {
			continue // it need not be there before the rollout
		}
		data, err := p.Read(path)
		if err != nil {
			continue
		}
		values, err := dotenv.ParseWithLookup(bytes.NewReader(data), s.lookup)
		if err != nil {
			p.tell(descriptor.RuleIgnoredCompose, at, service, "the file is not lines of NAME=VALUE: Compose refuses it", "correct the file")
			continue
		}
		n := 0
		for name, value := range values {
			if plaintext.Name(name) && plaintext.Value(value) {
				n++
			}
		}
		if n > 0 {
			p.tell(descriptor.RulePlainText, at, service, fmt.Sprintf("of the %s in the file, %d are called secrets: they can be seen by docker inspect and in /proc", what, n), takeFile)
		}
	}
}

// arguments looks at --password=VALUE, and --password followed by its value.
func (p *project) arguments(v *value, service string) {
	var words []string
	places := map[int]*value{}
	for _, t := range v.texts() {
		for _, w := range strings.Fields(t.text) {
			places[len(words)] = t
			words = append(words, w)
		}
	}
	for i, w := range words {
		name, own, with := strings.Cut(w, "=")
		called := strings.HasPrefix(name, "-") && plaintext.Name(name) || with && plaintext.Name(name)
		if called && with && couldBe(own) || called && !with && i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") && couldBe(words[i+1]) {
			p.tell(descriptor.RulePlainText, places[i], service, "what is called a secret stands in an argument, which everybody on the host can read", takeFile)
		}
	}
}

// couldBe is plaintext.Value for what has variables too: those of Compose are values once the container runs. What the
// shell of the container reads from a file is none.
func couldBe(s string) bool {
	s = strings.Trim(s, `"'`)
	return plaintext.Value(s) && !strings.Contains(s, "$") || strings.HasPrefix(s, "${") || strings.HasPrefix(s, "$") && !strings.HasPrefix(s, "$$") && !strings.HasPrefix(s, "$(")
}

// volume tells of a secret that is mounted like any file.
func (p *project) volume(v *value, service string) {
	from, to := v.get("source").string(), v.get("target").string()
	if v.scalar {
		parts := strings.Split(v.string(), ":")
		if len(parts) < 2 {
			return
		}
		from, to = parts[0], parts[1]
	}
	host := strings.HasPrefix(from, ".") || strings.HasPrefix(from, "/") || strings.HasPrefix(from, "~")
	stem := strings.TrimSuffix(strings.TrimSuffix(path.Base(from), path.Ext(from)), "_file")
	if host && (strings.HasPrefix(to, "/run/secrets/") || plaintext.Name(stem)) {
		p.tell(descriptor.RuleVolume, v, service, "what is called a secret is mounted with volumes: that is no secret to Compose, and was not judged", "define it under secrets, and name it in the service")
	}
}

// config tells of a secret that is given as a config.
func (p *project) config(v *value, service string) {
	name := v.string()
	if v.mapping {
		name = v.get("source").string()
	}
	if plaintext.Name(name) {
		p.tell(descriptor.RulePlainText, v, service, "what is called a secret is given as a config, which everybody in the container can read", "define it under secrets")
	}
}

func line() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^[ \t]*(?:export[ \t]+|ENV[ \t]+|ARG[ \t]+|-[ \t]+)?["']?([A-Za-z][A-Za-z0-9_.-]*)["']?[ \t]*[:=][ \t]*["']?([^\s"']+)`)
}

// resource looks at what is defined at the top.
func (p *project) resource(section string, entry field) {
	v := entry.value
	p.named(v.get("driver_opts"), "", "driver_opts")
	p.named(v.get("ipam", "options"), "", "options")
	p.named(v.get("labels"), "", "labels")
	switch section {
	case "volumes":
		p.commas(v.get("driver_opts", "o"), "")
	case "models":
		p.arguments(v.get("runtime_flags"), "")
	case "configs":
		p.lines(v.get("content"), "")
		if env := v.get("environment"); env != nil && plaintext.Name(env.string()) {
			p.tell(descriptor.RulePlainText, env, "", "what is called a secret is given as a config, which everybody in the container can read", "define it under secrets")
		}
	}
}

// commas looks at options with commas between them.
func (p *project) commas(v *value, service string) {
	if v == nil {
		return
	}
	for option := range strings.SplitSeq(v.text, ",") {
		if name, content, _ := strings.Cut(option, "="); plaintext.Name(name) && couldBe(content) {
			p.tell(descriptor.RulePlainText, v, service, "what is called a secret stands in an option, which everybody who sees the file can read", "use a file of credentials")
		}
	}
}

// lines looks at a text that is a file.
func (p *project) lines(v *value, service string) {
	if v == nil {
		return
	}
	for _, m := range p.patterns.line.FindAllStringSubmatch(v.text, -1) {
		if plaintext.Name(m[1]) && couldBe(m[2]) {
			p.tell(descriptor.RulePlainText, v, service, "what is called a secret stands in a file that is written here, which everybody who sees it can read", takeFile)
		}
	}
}

// twice tells of a secret that the service has as a file and in a variable.
func (w *workload) twice() {
	have := map[string]bool{}
	for _, s := range w.spec.Secrets {
		have[same(s.Source)] = true
		if env := w.model.Secrets[s.Source].Environment; env != "" && w.definition(s.Source).get("content") == nil {
			have[same(env)] = true
		}
	}
	for _, place := range w.places {
		vars := place.get("environment")
		files := map[string]bool{}
		for _, e := range vars.entries() {
			if name, ok := strings.CutSuffix(e.name, "_FILE"); ok {
				files[same(name)] = true
			}
		}
		for _, e := range vars.entries() {
			if _, set := w.spec.Environment[e.name]; set && plaintext.Name(e.name) && holds(e.value) && (have[same(e.name)] || files[same(e.name)]) {
				w.tell(descriptor.RuleTwice, e.in(vars), w.service, "the same secret is given as a file: in a variable it can be seen by docker inspect and in /proc", "read the file, and remove the variable")
			}
		}
	}
}

// same is a name without what differs between the ways to write it.
func same(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == '.' {
			return -1
		}
		return r
	}, strings.ToLower(name))
}
