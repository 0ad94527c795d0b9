// Package systemd reads service units as systemd itself does, and works out the credentials that they give to a
// service. It follows systemd's own parser (conf-parser.c, load-fragment.c, exec-credential.c of 252 and 257) and not
// the usual INI habits: those lose the line after a comment that ends in a backslash and keep one of repeated keys,
// and both hide secrets.
package systemd

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/internal/spelling"
	"github.com/llorch/secrets-management/policy"
)

// The settings that are read.
const (
	keyLoad          = "LoadCredential"
	keyLoadEncrypted = "LoadCredentialEncrypted"
	keySet           = "SetCredential"
	keySetEncrypted  = "SetCredentialEncrypted"
	keyImport        = "ImportCredential"
	keyUser          = "User"
	keyDynamic       = "DynamicUser"
	keyPrivateUsers  = "PrivateUsers"
	keyDelegate      = "Delegate"
	keySlice         = "Slice"
	keyService       = "X-Secretcheck-Service"
	keyAction        = "X-Secretcheck-Action"

	ownPrefix = "x-secretcheck-"
)

// File is one file of a unit: its fragment, or a drop-in.
type File struct {
	Name string // as reports name it
	Data []byte
}

// Unit is a service unit with its drop-ins, in the order in which systemd reads them.
type Unit struct {
	Name    string // "queen-rbee.service"
	Partial bool   // drop-ins only: the fragment lies elsewhere
	User    bool   // it runs under a user's manager, and not the system's
	Version int    // of systemd; 0 stands for the newest that is known
	Files   []File
}

// Read works out what the unit loads. A unit with a file that does not parse has no loads, only the finding.
func Read(u Unit) ([]descriptor.Load, []descriptor.Finding) {
	var all []assignment
	s := newService(u)
	for _, f := range u.Files {
		assignments, bad := parse(s.name, f.Name, f.Data)
		if bad != nil {
			return nil, []descriptor.Finding{*bad}
		}
		all = append(all, assignments...)
	}
	for _, a := range all {
		if !wanted(a.section, a.key) {
			s.unknown(a)
			continue
		}
		if first := since(a.key); s.version < first {
			s.ignored(a, "", fmt.Sprintf("it is unknown before systemd %d, and this is %d", first, s.version))
			continue
		}
		handler(a.key)(s, a)
		if s.expanded > maxExpanded {
			return nil, []descriptor.Finding{tooMuch(a.at)}
		}
	}
	s.handOver()
	return s.loads(), s.findings
}

// maxExpanded bounds what the settings of a unit come to, in bytes: a specifier of two bytes can stand for a whole name, and
// a unit of a million bytes for hundreds of them.
const maxExpanded = 16 << 20

func tooMuch(at descriptor.Position) descriptor.Finding {
	return descriptor.Finding{
		Rule: descriptor.RuleUnparsable, Severity: policy.SeverityError, Position: at,
		Message: fmt.Sprintf("the specifiers in the settings up to here stand for more than %d bytes", maxExpanded), Fix: "write fewer credentials",
	}
}

// expand resolves specifiers and keeps account of the result.
func (s *service) expand(text string) (string, bool) {
	value, resolved := s.name.resolve(text)
	s.expanded += len(value) + len(s.name.full)
	return value, resolved
}

// handler holds the meaning of each setting; it is nil for one that has none here.
func handler(key string) func(*service, assignment) {
	switch key {
	case keyLoad, keyLoadEncrypted:
		return (*service).load
	case keySet, keySetEncrypted:
		return (*service).set
	case keyImport:
		return (*service).imports
	case keyUser, keyGroup:
		return (*service).account
	case keyDynamic:
		return (*service).dynamicUser
	case keyPrivateUsers:
		return func(s *service, a assignment) { s.privateUsers = a.value }
	case keyDelegate:
		return func(s *service, a assignment) { s.delegates = !isFalse(a.value) }
	case keySlice:
		return func(s *service, a assignment) { s.slice = a.value }
	case keyService:
		return (*service).subject
	case keyAction:
		return (*service).action
	}
	if isExec(key) {
		return (*service).exec
	}
	return settingHandler(key)
}

// wanted reports whether a setting has a meaning for us in a section. Nothing else is kept.
func wanted(section, key string) bool {
	if key == keyService && section == "[Unit]" {
		return true
	}
	return section == "[Service]" && handler(key) != nil
}

// ours lists the settings that are read, as they can have been meant.
func ours() []string {
	return []string{
		keyLoad, keyLoadEncrypted, keySet, keySetEncrypted, keyImport, keyUser, keyDynamic, keyService, keyAction,
		keyEnvironment, keyEnvironmentFile, keyPass,
	}
}

// mistaken reports whether a setting without a meaning looks like one of ours: misspelt, in another section, or about
// credentials and none that systemd has. It would be lost without a sound, and the secret with it. Other keys that begin
// with X- are for other programs.
func mistaken(section, key string) bool {
	lower := strings.ToLower(key)
	switch {
	case strings.HasPrefix(lower, ownPrefix):
		return true
	case strings.HasPrefix(lower, "x-"):
		return false
	case section != "[Service]":
		return slices.Contains(ours(), key)
	}
	return strings.Contains(lower, "credential") || spelling.Closest(key, ours()) != ""
}

// service is the state of a unit while its settings are applied, and the effective unit after the last.
type service struct {
	name     name
	partial  bool
	manager  bool // a user's manager runs it
	version  int
	override string // of the subject
	user     string
	dynamic  bool

	// what takes a service the proof of who it is, see package internal/identity
	privateUsers string
	delegates    bool
	slice        string

	loaded   credentials
	literal  credentials
	imported credentials
	actions  map[string]descriptor.Choice
	expanded int
	order    int // of imports
	byName   *descriptor.Doubt
	byGlob   *descriptor.Doubt
	findings []descriptor.Finding

	settings settings
}

func newService(u Unit) *service {
	n := splitName(u.Name)
	n.manager = u.User
	return &service{
		name: n, partial: u.Partial, manager: u.User, version: cmp.Or(u.Version, Newest), actions: map[string]descriptor.Choice{},
		settings: newSettings(),
	}
}

// load handles LoadCredential= and LoadCredentialEncrypted=, which share one list.
func (s *service) load(a assignment) {
	if a.value == "" {
		s.loaded = credentials{}
		return
	}
	c, rest, ok := s.identify(a)
	if !ok {
		return
	}
	c.path = c.id // the name alone means the credential store
	if rest != "" {
		path, resolved := s.expand(rest)
		if !resolved {
			c.doubt, path = specifierDoubt("source path", false), ""
		} else if !validSource(path) {
			s.ignored(a, c.id, "the source is neither a normalized absolute path nor a credential name")
			return
		}
		c.path = path
	}
	if c.doubt == nil && !strings.HasPrefix(c.path, "/") {
		c.doubt = s.originDoubt()
		c.lookup = &descriptor.Lookup{Name: c.path}
	}
	s.loaded.put(c)
}

// originDoubt and importDoubt are the same for every load of the unit: there can be many.
func (s *service) originDoubt() *descriptor.Doubt {
	if s.byName == nil {
		s.byName = &descriptor.Doubt{
			Rule:    descriptor.RuleOrigin,
			Message: "systemd looks the source up in the credential store, where another secret can have its name",
			Fix:     "check with --root, or name an absolute path as the source",
		}
	}
	return s.byName
}

func (s *service) importDoubt() *descriptor.Doubt {
	if s.byGlob == nil {
		s.byGlob = &descriptor.Doubt{
			Rule:     descriptor.RuleImport,
			Message:  "what ImportCredential= matches is known on the host only",
			Fix:      "check with --root, or name each credential with LoadCredential=",
			Identity: true,
		}
	}
	return s.byGlob
}

// validSource is what systemd accepts behind the colon: a normalized absolute path, or a credential's name.
func validSource(path string) bool {
	if strings.HasPrefix(path, "/") {
		return normalized(path)
	}
	return ValidName(path)
}

// set handles SetCredential= and SetCredentialEncrypted=, which share one list. The value is gone already.
func (s *service) set(a assignment) {
	if a.value == "" && a.fault == "" {
		s.literal = credentials{}
		return
	}
	if a.fault != "" {
		s.ignored(a, "", a.fault)
		return
	}
	c, _, ok := s.identify(a)
	if !ok {
		return
	}
	c.inline, c.size = true, a.size
	s.literal.put(c)
}

// imports handles ImportCredential=GLOB[:NEWNAME]. What is imported twice counts where it stands first.
func (s *service) imports(a assignment) {
	if a.value == "" {
		s.imported = credentials{}
		return
	}
	word, rest, ok := a.value, "", true
	if s.version >= sinceRename {
		word, rest, ok = firstWord(a.value)
	}
	glob, resolved := s.expand(word)
	switch {
	case !ok || resolved && !validGlob(glob):
		s.ignored(a, "", "the glob is not a credential name or the beginning of one and an asterisk")
		return
	case rest != "" && !ValidName(rest):
		s.ignored(a, "", "the new name is not a valid credential name")
		return
	}
	c := credential{id: visible(glob, rest), at: a.at, doubt: s.importDoubt(), lookup: &descriptor.Lookup{Name: glob, Import: true, Rename: rest}}
	if !resolved {
		c.doubt, c.lookup = specifierDoubt("credential name", true), nil
	}
	s.imported.add(glob+"\x00"+rest, c)
}

// visible is the name that the service sees of what a glob matches.
func visible(glob, rename string) string {
	switch {
	case rename == "":
		return glob
	case strings.HasSuffix(glob, "*"):
		return rename + "*"
	}
	return rename
}

// identify reads the credential's name at the start of a value.
func (s *service) identify(a assignment) (c credential, rest string, ok bool) {
	encrypted := a.key == keyLoadEncrypted || a.key == keySetEncrypted
	word, rest, ok := firstWord(a.value)
	if !ok {
		s.ignored(a, "", "the name ends in a backslash")
		return c, "", false
	}
	id, resolved := s.expand(word)
	if !resolved {
		return credential{id: word, at: a.at, encrypted: encrypted, doubt: specifierDoubt("credential name", true)}, rest, true
	}
	if !ValidName(id) {
		s.ignored(a, "", "the name before the colon is not a valid credential name")
		return c, "", false
	}
	return credential{id: id, at: a.at, encrypted: encrypted}, rest, true
}

func specifierDoubt(where string, identity bool) *descriptor.Doubt {
	return &descriptor.Doubt{
		Rule:     descriptor.RuleSpecifier,
		Message:  "the " + where + " has a specifier that only the running systemd can resolve",
		Fix:      "write it out, or use only %n %N %p %i %j %% in units that are not templates",
		Identity: identity,
	}
}

// unknown records a line whose key means nothing there. The key is not quoted either: what a continuation gone wrong has
// made of a secret can stand there.
func (s *service) unknown(a assignment) {
	f := descriptor.Finding{
		Rule: descriptor.RuleIgnored, Severity: policy.SeverityWarning, Position: a.at,
		Message: "systemd would ignore this line: unknown key",
		Fix:     "correct the key; the service gets no such credential",
	}
	if strings.HasPrefix(strings.ToLower(a.key), ownPrefix) { // these systemd ignores without a log message
		f.Rule, f.Message = descriptor.RuleUnusedSetting, "unknown key: there is X-Secretcheck-Service= and X-Secretcheck-Action="
		f.Fix = "correct or remove the setting"
	}
	if meant := spelling.Closest(a.key, ours()); meant == a.key {
		f.Fix = "move it to [Service]"
	} else if meant != "" {
		f.Fix = "did you mean " + meant + "=?"
	}
	s.findings = append(s.findings, f)
}

// ignored records a line that systemd would log and drop. It never quotes the line: who confuses LoadCredential= with
// SetCredential= has written a secret there.
func (s *service) ignored(a assignment, id, message string) {
	s.findings = append(s.findings, descriptor.Finding{
		Rule: descriptor.RuleIgnored, Severity: policy.SeverityWarning,
		Message: fmt.Sprintf("systemd would ignore this %s=: %s", a.key, message),
		Fix:     "correct the line; the service gets no such credential", Position: a.at,
		Source: policy.SourceCredential, Name: id,
	})
}
