package systemd

import (
	"path"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/secretname"
	"github.com/llorch/secrets-management/policy"
)

const (
	keyEnvironment     = "Environment"
	keyEnvironmentFile = "EnvironmentFile"
	keyPass            = "PassEnvironment"
	keyUnset           = "UnsetEnvironment"

	credentialsDirectory = "CREDENTIALS_DIRECTORY"
)

// variable is one variable of an environment. Its value is gone.
type variable struct {
	name    string // as it is written, where it is open
	open    bool   // the name has a specifier that is settled elsewhere
	literal bool   // the value is neither empty nor the place of something
	own     bool   // the value is the unit's own directory of credentials
	at      descriptor.Position
}

// notAssignment is what systemd says to a word that is none.
const (
	notAssignment = "not NAME=VALUE with a name of letters, digits and _"
	badQuoting    = "the quotes or escapes are not in order, from here on"
	badSpecifier  = "it has a specifier that systemd does not know"
)

// readEnvironment takes Environment= apart, as config_parse_environ does: words in front of a fault count.
func readEnvironment(unit name, value string, at locate) (list []variable, faults []fault) {
	c := cutter{text: value}
	for !c.done() {
		w, ok := c.word(splitting{unquote: true, unescape: true})
		if !ok {
			return list, at.fault(faults, c.next, len(value), badQuoting)
		}
		v, message := readAssignment(unit, w.text)
		if message != "" {
			faults = at.fault(faults, w.start(), w.end(), message)
			continue
		}
		if told(v) {
			v.at = w.whole(at)
		}
		list = append(list, v)
	}
	return list, faults
}

// told reports whether somebody will ask for the place of a variable.
func told(v variable) bool { return v.open || secretname.Is(v.name) || v.name == credentialsDirectory }

func readAssignment(unit name, text string) (variable, string) {
	resolved, how := unit.expand(text)
	key, value, found := strings.Cut(resolved, "=")
	v := variable{name: key, literal: secretname.Literal(value), own: value == "%d" || value == "/run/credentials/"+unit.full}
	switch {
	case how == unknown:
		return v, badSpecifier
	case how == open && !found:
		v.open = true
		return v, ""
	case how == open:
		written, _, _ := strings.Cut(text, "=")
		if _, how := unit.expand(written); how == open {
			v.open = true
			return v, ""
		}
	}
	if !found || !validVariable(key) || !validUTF8(value) {
		return v, notAssignment
	}
	v.name = strings.Clone(key) // and nothing of the value
	return v, ""
}

// readNames takes PassEnvironment= and UnsetEnvironment= apart. The second takes assignments too, which take out a variable
// with that value only: since values are not kept, they count for nothing.
func readNames(unit name, value string, unset bool, at locate) (list []variable, faults []fault) {
	c := cutter{text: value}
	for !c.done() {
		w, ok := c.word(splitting{unquote: true, unescape: unset})
		if !ok {
			return list, at.fault(faults, c.next, len(value), badQuoting)
		}
		resolved, how := unit.expand(w.text)
		key, rest, assigned := strings.Cut(resolved, "=")
		switch {
		case how == unknown:
			faults = at.fault(faults, w.start(), w.end(), badSpecifier)
		case how == open:
			list = append(list, variable{name: strings.Clone(key), open: true, at: w.whole(at)})
		case !validVariable(key) || assigned && (!unset || !validUTF8(rest)):
			faults = at.fault(faults, w.start(), w.end(), "not a name of letters, digits and _")
		case !assigned:
			v := variable{name: key}
			if told(v) {
				v.at = w.whole(at)
			}
			list = append(list, v)
		}
	}
	return list, faults
}

// environmentFile is an EnvironmentFile= in force.
type environmentFile struct {
	path     string
	optional bool
	open     bool
	at       descriptor.Position
}

// environment is what the settings of an environment come to.
type environment struct {
	set   variables
	pass  variables
	unset variables
	files []environmentFile
}

// variables are in the order of their names' first lines, as systemd keeps them. The zero value is empty.
type variables struct {
	list []variable
	at   map[string]int
}

// put adds v, in place of one with its name if replace, and else behind it.
func (s *variables) put(v variable, replace bool) {
	if s.at == nil {
		s.at = map[string]int{}
	}
	i, known := s.at[v.name]
	switch {
	case !known:
		s.at[v.name] = len(s.list)
		s.list = append(s.list, v)
	case replace:
		s.list[i] = v
	}
}

func (s *variables) has(name string) bool {
	_, ok := s.at[name]
	return ok
}

// variable handles Environment=, PassEnvironment= and UnsetEnvironment=.
func (s *service) variable(a assignment) {
	e := &s.settings.environment
	into := map[string]*variables{keyEnvironment: &e.set, keyPass: &e.pass, keyUnset: &e.unset}[a.key]
	if a.value == "" {
		*into = variables{}
		return
	}
	for _, v := range a.variables {
		into.put(v, a.key == keyEnvironment)
	}
	s.faults(a)
}

// environmentFile handles EnvironmentFile=.
func (s *service) environmentFile(a assignment) {
	e := &s.settings.environment
	if a.value == "" {
		e.files = nil
		return
	}
	resolved, how := s.name.expand(a.value)
	f := environmentFile{open: how == open, at: a.at}
	f.path, f.optional = strings.CutPrefix(resolved, "-")
	switch {
	case how == unknown:
		s.dropped(a.at, a.key, badSpecifier)
		return
	case how == settled && (!path.IsAbs(f.path) || !normalized(simplified(f.path))):
		s.dropped(a.at, a.key, "it is not a normalized absolute path")
		return
	}
	if how == settled {
		f.path = simplified(f.path)
	}
	e.files = append(e.files, f)
}

// simplified is systemd's path_simplify: no doubled slashes, no single dots, no slash at the end.
func simplified(p string) string {
	var parts []string
	for part := range strings.SplitSeq(p, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return "/" + strings.Join(parts, "/")
}

// environmentLoads lists the variables that, by their names, bring the service a secret. Of one that is passed on and set,
// what is set is in force.
func (s *service) environmentLoads() ([]descriptor.Load, *descriptor.Environment) {
	e := &s.settings.environment
	common := &descriptor.Environment{Load: s.base(), Unset: map[string]bool{}}
	common.Load.Source = policy.SourceEnv
	for _, v := range e.unset.list {
		if !v.open {
			common.Unset[v.name] = true
		}
	}
	for _, kind := range []credentials{s.loaded, s.imported, s.literal} {
		for _, c := range kind.list {
			if c != nil {
				common.Names = append(common.Names, c.id)
			}
		}
	}
	var loads []descriptor.Load
	for _, v := range e.set.list {
		if v.literal && secretname.Is(v.name) {
			loads = s.tellVariable(loads, common, v, descriptor.RuleEnvironment)
		}
	}
	for _, v := range e.pass.list {
		if secretname.Is(v.name) && !e.set.has(v.name) {
			loads = s.tellVariable(loads, common, v, descriptor.RulePassed)
		}
	}
	for _, f := range e.files {
		s.tellFile(f, common)
	}
	return loads, common
}

// tellVariable adds the load and the finding of one variable. One that is taken out again is no load, but its value is in
// the unit all the same.
func (s *service) tellVariable(loads []descriptor.Load, common *descriptor.Environment, v variable, rule string) []descriptor.Load {
	gone := common.Unset[v.name]
	if gone && rule == descriptor.RulePassed {
		return loads
	}
	s.findings = append(s.findings, EnvironmentFindings(common, rule, v.name, v.at)...)
	if gone {
		return loads
	}
	load := common.Load
	load.Name, load.Position, load.Environment = v.name, v.at, common
	if v.open {
		load.Doubt = specifierDoubt("name of the variable", true)
	}
	return append(loads, load)
}

// EnvironmentFindings are those about a variable that holds a secret, wherever it is set.
func EnvironmentFindings(e *descriptor.Environment, rule, variable string, at descriptor.Position) []descriptor.Finding {
	f := descriptor.Finding{
		Rule: rule, Severity: policy.SeverityWarning, Position: at, Service: e.Load.Service, Source: policy.SourceEnv, Name: variable,
		Message: "by its name the variable is a secret: " + whereItIs(rule),
		Fix:     "move it into a file of mode 0600 and use LoadCredential=",
	}
	list := []descriptor.Finding{f}
	for _, name := range e.Names {
		if secretname.Same(name, variable) {
			f.Rule, f.Message = descriptor.RuleTwice, "the service gets this secret as a credential and in its environment"
			f.Fix = "remove the variable"
			return append(list, f)
		}
	}
	return list
}

func whereItIs(rule string) string {
	switch rule {
	case descriptor.RuleEnvironmentFile:
		return "every process that the service starts gets it too, and so does who may read the file"
	case descriptor.RulePassed:
		return "it comes from the environment of the service manager, which all of its services can be given"
	}
	return "it stands in the unit, and systemctl show prints it to every user"
}

func (s *service) tellFile(f environmentFile, common *descriptor.Environment) {
	finding := descriptor.Finding{
		Rule: descriptor.RuleUnread, Severity: policy.SeverityNote, Position: f.at, Source: policy.SourceEnv, Path: f.path,
		Message: "nobody has looked for secrets in the environment file",
		Fix:     "check with --root",
		Unread:  &descriptor.EnvironmentFile{Path: f.path, Optional: f.optional, Environment: common},
	}
	if f.open {
		finding.Path, finding.Unread = "", nil
		finding.Message = "the environment file's path has a specifier that only the running systemd can resolve"
		finding.Fix = "write it out"
	}
	s.findings = append(s.findings, finding)
}
