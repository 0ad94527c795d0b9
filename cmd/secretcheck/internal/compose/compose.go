// Package compose reads Compose projects as docker compose does: through compose-go, with overrides, extends, includes,
// profiles and variables. What compose-go does not keep, the place of each thing, is taken from the files themselves.
//
// Nothing is fetched, nothing outside of the folder is read, and of the environment of the job nothing is seen but what was
// given by name. A project that Compose would refuse is one finding with its place, and has no load.
package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// Options are what a project is started with.
type Options struct {
	Profiles  []string
	Variables map[string]string // before those of the .env file
}

// Project is what makes up a project.
type Project struct {
	Options
	Files  []File                            // at least one; the first's folder is the project's
	Within string                            // the folder that other files may lie in, links resolved
	Root   string                            // the folder that stands for the host's root, links resolved; "" for none
	Read   func(path string) ([]byte, error) // bounded, regular files only
	Name   func(path string) string          // as reports name a file
}

// File is one of the files that a project was named with.
type File struct {
	Path string // absolute
	Data []byte
}

// Result is what a project holds.
type Result struct {
	Loads    []descriptor.Load
	Findings []descriptor.Finding
	Used     []string // files that were included or extended
}

// project is a project that is being read.
type project struct {
	Project
	dir      string
	env      map[string]string
	sources  []*source
	bases    map[string]*source // files that services are extended from
	approved map[string]bool    // paths that compose-go may read
	patterns patterns
	chain    []string
	files    int

	model    *types.Project
	profiles []string
	loads    []descriptor.Load
	findings []descriptor.Finding
	told     map[string]bool
	count    map[string]int
}

// patterns are expressions that many texts are looked at with. They are made for each project: a check of other descriptors
// does not pay for them.
type patterns struct{ reference, line *regexp.Regexp }

// Is reports whether a file looks like a Compose file: services is a mapping, where an inventory has a list.
func Is(data []byte) bool {
	if !bytes.Contains(data, []byte("services")) && !bytes.Contains(data, []byte("include")) {
		return false
	}
	return serviceMapping().Match(data) || inBraces().Match(data)
}

// serviceMapping is a key beneath services, or a file beneath include.
func serviceMapping() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^["']?(services|include)["']?:[ \t]*(&\S+[ \t]*)?(#.*)?\r?\n(([ \t]*(#.*)?\r?\n)*[ \t]+["']?[A-Za-z0-9._-]+["']?:|([ \t]*(#.*)?\r?\n)*[ \t]*- [^\n]*\.ya?ml)`)
}

// inBraces is the same in JSON's way.
func inBraces() *regexp.Regexp {
	return regexp.MustCompile(`^[\s\x{feff}]*\{\s*(["']name["']\s*:\s*["'][^"']*["']\s*,\s*)?["']?services["']?\s*:\s*\{|(?m)^services:[ \t]*\{`)
}

// Names lists the files that docker compose looks for in a folder, the preferred first, and the overrides of them.
func Names() (files, overrides []string) {
	return []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"},
		[]string{"compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"}
}

// Default lists the files that docker compose takes in a folder when it is given no names: those of COMPOSE_FILE in the .env
// file, else the first of the usual ones and its override. There can be none.
func Default(dir string, read func(string) ([]byte, error)) ([]string, error) {
	data, err := read(filepath.Join(dir, ".env"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	env, err := dotenv.ParseWithLookup(bytes.NewReader(data), func(string) (string, bool) { return "", false })
	if err != nil {
		return nil, errors.New("not lines of NAME=VALUE")
	}
	var files []string
	if list := env["COMPOSE_FILE"]; list != "" {
		separator := env["COMPOSE_PATH_SEPARATOR"]
		if separator == "" {
			separator = ":"
		}
		for name := range strings.SplitSeq(list, separator) {
			if !filepath.IsLocal(name) {
				return nil, errors.New("COMPOSE_FILE leads out of the folder: name the files by hand")
			}
			files = append(files, filepath.Join(dir, name))
		}
		return files, nil
	}
	names, overrides := Names()
	for _, list := range [][]string{names, overrides} {
		for _, name := range list {
			if _, err := read(filepath.Join(dir, name)); err == nil || !errors.Is(err, fs.ErrNotExist) {
				files = append(files, filepath.Join(dir, name))
				break
			}
		}
		if len(files) == 0 {
			return nil, nil
		}
	}
	return files, nil
}

// Read lists the loads of a project, and what is to be told about it.
func Read(in Project) Result {
	p := &project{
		Project: in, dir: filepath.Dir(in.Files[0].Path), bases: map[string]*source{}, approved: map[string]bool{},
		told: map[string]bool{}, count: map[string]int{}, patterns: patterns{plainReference(), line()},
	}
	if err := p.read(); err != nil {
		p.refused(err)
		p.loads = nil
	}
	var used []string
	for path := range p.bases {
		used = append(used, path)
	}
	for _, s := range p.sources {
		used = append(used, s.below()...)
	}
	return Result{p.loads, p.findings, used}
}

func (s *source) below() (paths []string) {
	for _, i := range s.included {
		paths = append(append(paths, i.path), i.below()...)
	}
	return paths
}

func (p *project) read() error {
	if err := p.environment(); err != nil {
		return err
	}
	for _, f := range p.Files {
		s := &source{name: p.Name(f.Path), path: f.Path, base: p.dir, data: f.Data, env: p.env, patterns: p.patterns}
		p.approved[f.Path] = true
		p.chain = []string{f.Path}
		if err := p.add(s); err != nil {
			return err
		}
		p.sources = append(p.sources, s)
	}
	if err := p.resolve(); err != nil {
		return err
	}
	return p.judgeable()
}

// environment is what variables are replaced from: what was given, then the .env file beside the project.
func (p *project) environment() error {
	env := maps.Clone(p.Variables)
	if env == nil {
		env = map[string]string{}
	}
	path := filepath.Join(p.dir, ".env")
	switch all, err := p.variables(path, env); {
	case err == nil:
		env = all
	case !errors.Is(err, fs.ErrNotExist):
		p.findings = append(p.findings, unreadable(p.Name(path), err))
	}
	if p.profiles = p.Profiles; len(p.profiles) == 0 {
		p.profiles = strings.FieldsFunc(env["COMPOSE_PROFILES"], func(r rune) bool { return r == ',' || r == ' ' })
	}
	p.env = mask(env)
	return nil
}

// resolve lets compose-go make one project of the files.
func (p *project) resolve() error {
	files := make([]types.ConfigFile, 0, len(p.sources))
	for _, s := range p.sources {
		files = append(files, types.ConfigFile{Filename: s.path, Content: s.withoutContent()})
	}
	details := types.ConfigDetails{WorkingDir: p.dir, ConfigFiles: files, Environment: maps.Clone(p.env)}
	options := func(o *loader.Options) {
		o.Interpolate.Substitute = substitute
		o.SkipResolveEnvironment, o.SkipResolveLabels = true, true // which would read their files
		o.ResourceLoaders = []loader.ResourceLoader{gate{p.approved}}
		o.Profiles = p.profiles
		o.SetProjectName(p.projectName(), true)
	}
	model, err := load(details, options)
	if err == nil {
		p.model = model
		return nil
	}
	if err := p.diagnose(); err != nil {
		return err
	}
	// Perhaps it is only that something is referred to which is not there: that has a place.
	if p.model, err = load(details, options, func(o *loader.Options) { o.SkipConsistencyCheck = true }); err == nil {
		if err := p.undefined(); err != nil {
			return err
		}
	}
	return &fault{
		file: p.sources[0].name, line: 1, column: 1, fix: "docker compose config --quiet tells what it is",
		message: "Compose would refuse the project: two settings exclude each other, or something is missing",
	}
}

// load is compose-go's. It takes much of a file's form for granted.
func load(details types.ConfigDetails, options ...func(*loader.Options)) (model *types.Project, err error) {
	defer func() {
		if r := recover(); r != nil {
			model, err = nil, errors.New("not the form of a Compose file")
		}
	}()
	logrus.SetOutput(io.Discard) // it quotes what files say
	return loader.LoadWithContext(context.Background(), details, options...)
}

// projectName is the project's, for COMPOSE_PROJECT_NAME.
func (p *project) projectName() string {
	name := p.env["COMPOSE_PROJECT_NAME"]
	for _, s := range p.sources {
		for _, d := range s.docs {
			if n := d.get("name").string(); n != "" && p.env["COMPOSE_PROJECT_NAME"] == "" {
				name = n
			}
		}
	}
	if name == "" {
		name = filepath.Base(p.dir)
	}
	if name = loader.NormalizeProjectName(name); name == "" {
		return "project"
	}
	return name
}

// gate keeps compose-go from files that were not looked at before.
type gate struct{ approved map[string]bool }

// Accept takes what nobody may read.
func (g gate) Accept(path string) bool { return !g.approved[path] }

// Load refuses it.
func (g gate) Load(context.Context, string) (string, error) {
	return "", errors.New("not a file of the project")
}

// Dir is never asked for what is refused.
func (g gate) Dir(path string) string { return filepath.Dir(path) }

// refused tells about a fault.
func (p *project) refused(err error) {
	at := &fault{file: p.Name(p.Files[0].Path), line: 1, column: 1, message: err.Error()}
	_ = errors.As(err, &at)
	fix := at.fix
	if fix == "" {
		fix = "correct it: Compose would refuse it, so nothing of the project was judged"
	}
	p.findings = append(p.findings, descriptor.Finding{
		Rule: descriptor.RuleUnparsable, Severity: policy.SeverityError, Message: at.message, Fix: fix,
		Position: descriptor.Position{File: at.file, Line: at.line, Column: at.column},
	})
}

// maxFindings bounds how many findings of one rule a project can have.
const maxFindings = 200

// tell adds a warning, once for each place.
func (p *project) tell(rule string, at *value, service, message, fix string) {
	p.say(policy.SeverityWarning, rule, at, service, message, fix)
}

func (p *project) say(severity policy.Severity, rule string, at *value, service, message, fix string) {
	f := descriptor.Finding{
		Rule: rule, Severity: severity, Message: message, Fix: fix, Service: service, Position: at.position(),
	}
	key := fmt.Sprint(rule, f.Position, message)
	if p.told[key] {
		return
	}
	p.told[key] = true
	switch p.count[rule]++; {
	case p.count[rule] > maxFindings+1:
		return
	case p.count[rule] == maxFindings+1:
		f.Message, f.Fix = fmt.Sprintf("more than %d of these in the project: the rest is not listed", maxFindings), ""
	}
	p.findings = append(p.findings, f)
}

func (v *value) position() descriptor.Position {
	return descriptor.Position{File: v.from.name, Line: max(v.line, 1), Column: max(v.column, 1)}
}
