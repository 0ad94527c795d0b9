package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/plaintext"
	"github.com/llorch/secrets-management/policy"
)

// maxFiles bounds what a project can include and extend.
const maxFiles = 100

// source is a file of a project: one that was named, one that is included, or one whose services are extended.
type source struct {
	name     string // in reports
	path     string
	base     string // the folder that its paths start from
	data     []byte
	docs     []*value
	env      map[string]string
	unset    map[string]bool // variables that it uses and nobody sets
	included []*source
	depth    int // of includes
	patterns patterns
}

// expand replaces variables as Compose does. What cannot be replaced stays.
func (s *source) expand(text string) string {
	if !strings.Contains(text, "$") {
		return text
	}
	out, err := substitute(text, s.lookup)
	if err != nil {
		return text
	}
	return out
}

func (s *source) lookup(name string) (string, bool) {
	v, ok := s.env[name]
	return v, ok
}

func substitute(text string, lookup template.Mapping) (string, error) {
	return template.SubstituteWithOptions(text, lookup, template.WithoutLogging)
}

// masked stands for the value of a variable that is called a secret. No name or path is made of one.
const masked = "masked"

// mask takes what is called a secret out of an environment, unless it is a path.
func mask(env map[string]string) map[string]string {
	out := make(map[string]string, len(env))
	for name, v := range env {
		if plaintext.Name(name) && plaintext.Value(v) && !strings.HasPrefix(v, "./") && !strings.HasPrefix(v, "../") {
			v = masked
		}
		out[name] = v
	}
	return out
}

// variables reads a file of NAME=VALUE. What is known already is not replaced.
func (p *project) variables(path string, known map[string]string) (map[string]string, error) {
	data, err := p.Read(path)
	if err != nil {
		return nil, err
	}
	more, err := dotenv.ParseWithLookup(bytes.NewReader(data), func(name string) (string, bool) {
		v, ok := known[name]
		return v, ok
	})
	if err != nil { // its text can quote a value
		return nil, errors.New("not lines of NAME=VALUE")
	}
	all := maps.Clone(more)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, known)
	return all, nil
}

// add parses a file and everything that it leads to.
func (p *project) add(s *source) error {
	if p.files++; p.files > maxFiles {
		return &fault{file: s.name, line: 1, column: 1, message: fmt.Sprintf("more than %d files in one project", maxFiles)}
	}
	docs, err := s.parse(s.data)
	if err != nil {
		return err
	}
	s.docs, s.unset = docs, map[string]bool{}
	if err := p.replace(s); err != nil {
		return err
	}
	for _, d := range docs {
		if err := p.includes(s, d); err != nil {
			return err
		}
	}
	for _, d := range docs {
		for _, section := range sections() {
			for _, f := range d.get(section).list1() {
				if err := p.extends(s, section, f.value, nil); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// list1 is the fields of a mapping, none of nil.
func (v *value) list1() []field {
	if v == nil {
		return nil
	}
	return v.fields
}

// sections are where containers are declared.
func sections() []string { return []string{"services", "jobs"} }

func plainReference() *regexp.Regexp {
	return regexp.MustCompile(`\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))`)
}

// replace looks at each text with variables: what nobody sets is told, at the first place.
func (p *project) replace(s *source) (err error) {
	for _, d := range s.docs {
		d.all(func(_ string, v *value) {
			if err != nil || !v.scalar || !strings.Contains(v.text, "$") {
				return
			}
			missing := map[string]bool{}
			_, failed := substitute(v.text, func(name string) (string, bool) {
				content, ok := s.lookup(name)
				missing[name] = !ok
				return content, ok
			})
			var required *template.MissingRequiredError
			switch {
			case errors.As(failed, &required):
				err = v.fault("set it: --env NAME=VALUE, or in the .env file of the project",
					"a variable that has to be set%s is not", upper(required.Variable))
			case failed != nil:
				err = v.fault("write $$ for a dollar sign", "not the form of a variable")
			default:
				p.unset(s, v, missing)
			}
		})
	}
	return err
}

func (p *project) unset(s *source, v *value, missing map[string]bool) {
	for _, m := range v.from.patterns.reference.FindAllStringSubmatch(v.text, -1) {
		name := m[1] + m[2]
		if name == "" || !missing[name] || s.unset[name] {
			continue
		}
		s.unset[name] = true
		shown := ""
		if m[1] != "" { // without braces it can be a part of a password
			shown = upper(name)
		}
		p.tell(descriptor.RuleUnset, v, "", "a variable"+shown+" is not set: Compose takes an empty text for it",
			"set it: --env NAME=VALUE, or in the .env file of the project")
	}
}

func upperName() *regexp.Regexp { return regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`) }

// upper is the name of a variable, behind a comma, where it looks like one.
func upper(name string) string {
	if !upperName().MatchString(name) {
		return ""
	}
	return ", " + name + ","
}

// undecided reports whether a text beneath v has a variable that nobody sets.
func (v *value) undecided() (open bool) {
	v.all(func(_ string, v *value) {
		if !v.scalar {
			return
		}
		for _, m := range v.from.patterns.reference.FindAllStringSubmatch(v.text, -1) {
			open = open || v.from.unset[m[1]+m[2]]
		}
	})
	return open
}

// open reads a file that the project refers to. It may not lead out of the folder that the check was pointed at.
func (p *project) open(v *value, name, base string) (*source, error) {
	path, err := p.inside(v, name, base)
	if err != nil {
		return nil, err
	}
	data, err := p.Read(path)
	if err != nil {
		return nil, v.fault("correct the path", "the file cannot be read: %s", reason(err))
	}
	return &source{name: p.Name(path), path: path, data: data, env: v.from.env, patterns: p.patterns}, nil
}

// inside resolves a path. Nothing is fetched from elsewhere, and nothing outside of the folder is looked at.
func (p *project) inside(v *value, name, base string) (string, error) {
	switch {
	case remote(name):
		return "", v.fault("copy the file into the project", "a file from elsewhere: nothing is fetched")
	case name == "" || strings.HasPrefix(name, "~") || strings.ContainsRune(name, 0):
		return "", v.fault("correct the path", "not the path of a file in the project")
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(base, path)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", v.fault("correct the path", "the file cannot be read: %s", reason(err))
	}
	if !beneath(p.Within, real) {
		return "", v.fault("check the folder that holds both", "a file outside of the folder that is checked: it is not read")
	}
	p.approved[name], p.approved[path] = true, true
	return path, nil
}

// remote reports whether Compose would fetch the file from a repository or a registry.
func remote(name string) bool {
	for _, prefix := range []string{"git@", "github.com/", "oci:", "docker.io/"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return strings.Contains(name, "://") || strings.Contains(name, ".git#") || strings.HasSuffix(name, ".git")
}

func beneath(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// reason leaves out the path, which is not always one to be shown.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// includes reads the projects that a document includes.
func (p *project) includes(s *source, doc *value) error {
	for _, v := range doc.get("include").listed() {
		if s.depth >= maxDepth {
			return v.fault("", "includes nested deeper than %d levels", maxDepth)
		}
		if err := p.include(s, v); err != nil {
			return err
		}
	}
	return nil
}

func (v *value) listed() []*value {
	if v == nil {
		return nil
	}
	return v.items
}

// texts are the scalars of a scalar or a list.
func (v *value) texts() []*value {
	switch {
	case v == nil || v.mapping:
		return nil
	case v.list:
		return v.items
	}
	return []*value{v}
}

func (p *project) include(s *source, v *value) error {
	paths, env := v.texts(), s.env
	if v.mapping {
		paths = v.get("path").texts()
		if s.depth > 0 && (v.get("env_file") != nil || v.get("project_directory") != nil) {
			return v.fault("name path only", "an include inside of an include has a folder or variables of its own")
		}
	}
	var base string
	for i, at := range paths {
		child, err := p.open(at, at.string(), s.base)
		if err != nil {
			return err
		}
		if i == 0 {
			if base = filepath.Dir(child.path); v.get("project_directory").string() != "" {
				if base, err = p.inside(v, v.get("project_directory").string(), s.base); err != nil {
					return err
				}
			}
			if env, err = p.includeEnv(s, v, base); err != nil {
				return err
			}
		}
		for _, above := range p.chain {
			if above == child.path {
				return at.fault("remove one of the includes", "files that include each other")
			}
		}
		child.base, child.depth, child.env = base, s.depth+1, env
		p.chain = append(p.chain, child.path)
		err = p.add(child)
		p.chain = p.chain[:len(p.chain)-1]
		if err != nil {
			return err
		}
		s.included = append(s.included, child)
	}
	return nil
}

// includeEnv is the variables of an included project: those of the including one, and of its own files.
func (p *project) includeEnv(s *source, v *value, base string) (map[string]string, error) {
	files := v.get("env_file").texts()
	if len(files) == 0 {
		own := filepath.Join(base, ".env")
		env, err := p.variables(own, s.env)
		if errors.Is(err, fs.ErrNotExist) {
			return s.env, nil
		}
		if err != nil {
			return nil, v.fault("correct the file", ".env of the included project: %s", reason(err))
		}
		return mask(env), nil
	}
	env := s.env
	for _, f := range files {
		if f.string() == "/dev/null" {
			continue
		}
		path, err := p.inside(f, f.string(), s.base)
		if err != nil {
			return nil, err
		}
		if env, err = p.variables(path, env); err != nil {
			return nil, f.fault("correct the file", "the file of variables: %s", reason(err))
		}
		env = mask(env)
	}
	return env, nil
}

// extends reads the file that a service extends one of, and those that it leads to.
func (p *project) extends(s *source, section string, service *value, chain []*value) error {
	ext := service.get("extends")
	if ext == nil || ext.null() {
		return nil
	}
	for _, c := range chain {
		if c == service {
			return ext.fault("remove one of them", "services that extend each other")
		}
	}
	chain = append(chain, service)
	if len(chain) > maxDepth {
		return ext.fault("", "services that extend each other more than %d times", maxDepth)
	}
	name, file := ext, ext.get("file")
	if ext.mapping {
		name = ext.get("service")
	}
	if name == nil || !name.scalar || file != nil && !file.scalar {
		return ext.fault("extends is {file, service}, or the name of a service", "not what extends takes")
	}
	from := s
	if file != nil {
		var err error
		if from, err = p.extended(file, s); err != nil {
			return err
		}
	}
	for _, d := range from.docs {
		if base := d.get(section, name.string()); base != nil {
			if err := p.extends(from, section, base, chain); err != nil {
				return err
			}
		}
	}
	return nil
}

// extended is the file that services are taken from, read once.
func (p *project) extended(file *value, s *source) (*source, error) {
	path, err := p.inside(file, file.string(), s.base)
	if err != nil {
		return nil, err
	}
	if known := p.bases[path]; known != nil {
		return known, nil
	}
	from, err := p.open(file, file.string(), s.base)
	if err != nil {
		return nil, err
	}
	from.base, from.depth = filepath.Dir(path), s.depth
	if p.files++; p.files > maxFiles {
		return nil, file.fault("", "more than %d files in one project", maxFiles)
	}
	if from.docs, err = from.parse(from.data); err != nil {
		return nil, err
	}
	from.unset = map[string]bool{}
	p.bases[path] = from
	return from, p.replace(from)
}

// unreadable is what is told about a file of variables.
func unreadable(file string, err error) descriptor.Finding {
	return descriptor.Finding{
		Rule: descriptor.RuleUnreadable, Severity: policy.SeverityError, Message: reason(err), Fix: "correct the file, or remove it",
		Position: descriptor.Position{File: file, Line: 1, Column: 1},
	}
}

// join is a path of the file, absolute.
func (s *source) join(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.base, name)
}
