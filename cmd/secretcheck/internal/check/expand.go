package check

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
	"github.com/llorch/secrets-management/policy"
)

// expand replaces, unit by unit, what systemd works out when a service starts by what it would find on the host: names in
// the credential stores, patterns, directories, and literals that stand in for them. (acquire_credentials in systemd's
// exec-credential.c)
func (c *checker) expand(loads []descriptor.Load) []descriptor.Load {
	if c.cfg.Host == nil {
		return loads
	}
	out := make([]descriptor.Load, 0, len(loads))
	for len(loads) > 0 {
		n := 1
		for n < len(loads) && loads[n].Descriptor == loads[0].Descriptor && loads[n].Unit == loads[0].Unit {
			n++
		}
		if loads[0].Source == policy.SourceCredential && loads[0].Unit != "" {
			e := &expansion{checker: c, taken: map[string]bool{}, fromFile: map[string]int{}, usage: usage{tmpfs: c.cfg.Systemd >= tmpfsSince}}
			out = append(out, e.unit(loads[:n])...)
		} else {
			out = append(out, loads[:n]...)
		}
		loads = loads[n:]
	}
	return out
}

// expansion is the state of one unit.
type expansion struct {
	*checker
	out   []descriptor.Load
	taken map[string]bool
	usage usage

	directories []source       // which come after the other sources: those win, wherever they stand
	fromFile    map[string]int // where in out the credentials are that were found in directories
}

// source is a directory that is loaded from, and its real path.
type source struct {
	load descriptor.Load
	real string
}

func (e *expansion) unit(loads []descriptor.Load) []descriptor.Load {
	var q queue
	var missing []descriptor.Load
	for _, l := range loads {
		switch {
		case l.Fault != nil, l.Doubt != nil && l.Lookup == nil && l.Origin != descriptor.OriginInline:
			e.take(l)
		case q.later(l):
		case !e.load(l):
			missing = append(missing, l)
		}
		for _, f := range l.Fallbacks {
			f.Default = f.Origin == descriptor.OriginInline // which was told about with the line that it is the default for
			q.later(f)
		}
	}
	for _, d := range e.directories {
		if !e.directory(d.load, d.real, d.load.Name, d.load.Origin) {
			e.fail(d.load, RuleMissingSource, "the source is a directory without a file that systemd takes: the service would not get it", "put the secret there")
		}
	}
	slices.SortStableFunc(q.imports, func(a, b descriptor.Load) int { return a.Lookup.Order - b.Lookup.Order })
	for _, l := range q.imports {
		e.imports(l)
	}
	for _, l := range q.literals {
		if e.taken[l.Name] {
			e.beaten(l)
		} else {
			e.take(l)
		}
	}
	for _, l := range missing {
		if !e.taken[l.Name] {
			e.fail(l, RuleMissingSource, "the source is in no credential store: systemd starts the service without it", "put it into /etc/credstore")
		}
	}
	return e.out
}

// queue is what has its turn after all that is loaded, and gives only names that are not taken by then.
type queue struct{ imports, literals []descriptor.Load }

// later reports whether it took a load.
func (q *queue) later(l descriptor.Load) bool {
	switch {
	case l.Origin == descriptor.OriginInline:
		q.literals = append(q.literals, l)
	case l.Lookup != nil && l.Lookup.Import:
		q.imports = append(q.imports, l)
	default:
		return false
	}
	return true
}

// take adds a load that is in force.
func (e *expansion) take(l descriptor.Load) {
	e.taken[l.Name] = true
	e.usage.add(&l)
	e.out = append(e.out, l)
}

// fail adds a load that systemd fails on.
func (e *expansion) fail(l descriptor.Load, rule, message, fix string) {
	l.Doubt = nil
	l.Fault = &descriptor.Doubt{Rule: rule, Message: message, Fix: e.within(fix)}
	e.taken[l.Name] = true
	e.out = append(e.out, l)
}

// load takes LoadCredential= and LoadCredentialEncrypted=. It reports false where there is nothing at the source, and
// systemd goes on without it.
func (e *expansion) load(l descriptor.Load) bool {
	if l.Lookup != nil {
		return e.fromStore(l)
	}
	seen, err := e.see(l.Origin)
	switch {
	case errors.Is(err, fs.ErrNotExist) && l.Default:
		return false
	case err == nil && seen.File.Type == "directory":
		e.directories = append(e.directories, source{l, seen.Resolved})
	default: // what else is wrong with it, judging tells
		if err == nil {
			l.Size = seen.File.Size
		}
		e.take(l)
	}
	return true
}

// fromStore looks a name up in the credential stores.
func (e *expansion) fromStore(l descriptor.Load) bool {
	var stores []string
	if l.Encrypted || e.cfg.Systemd >= allStoresSince {
		stores = e.stores(true)
	}
	for _, dir := range append(stores, e.stores(false)...) {
		at := path.Join(dir, l.Lookup.Name)
		seen, err := e.see(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		e.found(l, at, seen, err)
		return true
	}
	return false
}

// found takes a file of a credential store.
func (e *expansion) found(l descriptor.Load, at string, seen Seen, err error) {
	l.Origin, l.Doubt, l.Lookup, l.Size = at, nil, nil, seen.File.Size
	l.Path = path.Join(path.Dir(l.Path), l.Name)
	switch {
	case err == nil && seen.File.Type == "directory":
		e.fail(l, RuleBadSource, "the source is a directory in a credential store: systemd does not start the service", "put a file there")
	case err == nil && seen.File.Type != "regular":
		e.fail(l, RuleBadSource, "the source in the credential store is no file: systemd does not start the service", "put a file there")
	default:
		l.Choose()
		e.take(l)
	}
}

// allStoresSince is the version of systemd from which a name is looked up in the stores for ciphertext first, also by
// LoadCredential=, which then hands the ciphertext to the service.
const allStoresSince = 254

// stores lists the credential stores: what the machine was given when it started, then what lies in directories.
func (e *expansion) stores(encrypted bool) []string {
	name, given := "credstore", "@system"
	if encrypted {
		name, given = "credstore.encrypted", "@encrypted"
	}
	var dirs []string
	if e.cfg.Root == "" { // a folder has not been started with anything
		dirs = append(dirs, "/run/credentials/"+given)
	}
	dirs = append(dirs, "/etc/"+name, "/run/"+name, "/usr/local/lib/"+name, "/usr/lib/"+name)
	if e.cfg.Systemd < 255 {
		dirs = append(dirs, "/lib/"+name) // of a /usr that is not merged
	}
	return dirs
}

// imports takes ImportCredential=. What bears a name that is taken already stays out.
func (e *expansion) imports(l descriptor.Load) {
	if strings.Contains(l.Lookup.Name, `\`) {
		e.take(l) // a backslash is one more that the C library's glob takes away
		return
	}
	any := false
	for _, encrypted := range []bool{false, true} {
		for _, dir := range e.stores(encrypted) {
			for _, name := range e.matches(dir, l.Lookup.Name) {
				any = true
				one := l
				one.Name, one.Encrypted = renamed(*l.Lookup, name), encrypted
				if systemd.ValidName(one.Name) && !e.taken[one.Name] {
					e.imported(one, path.Join(dir, name))
				}
			}
		}
	}
	if !any {
		e.nothing(l)
	}
}

func (e *expansion) imported(l descriptor.Load, at string) {
	seen, err := e.see(at)
	if errors.Is(err, fs.ErrNotExist) {
		l.Origin = at
		e.fail(l, RuleBadSource, "the link in the credential store leads to nothing: systemd does not start the service", "remove or correct it")
		return
	}
	e.found(l, at, seen, err)
}

// see looks at a file as root finds it, once.
func (c *checker) see(name string) (Seen, error) {
	known, ok := c.looks[name]
	if !ok {
		known.seen, known.err = c.cfg.Host.See(name, 0)
		c.looks[name] = known
	}
	return known.seen, known.err
}

// look is what was seen.
type look struct {
	seen Seen
	err  error
}

// matches lists the entries of a store that a pattern stands for, as glob(3) does.
func (e *expansion) matches(dir, pattern string) []string {
	entries, err := e.cfg.Host.List(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, entry := range entries {
		name := entry.Name()
		head, any := strings.CutSuffix(pattern, "*")
		switch {
		case !any && name != pattern, any && !strings.HasPrefix(name, head):
		case any && head == "" && strings.HasPrefix(name, "."): // an asterisk does not stand for a dot in front
		default:
			names = append(names, name)
		}
	}
	return names
}

// renamed is the name that the service sees of a file in a store.
func renamed(l descriptor.Lookup, name string) string {
	if l.Rename == "" {
		return name
	}
	return l.Rename + name[len(strings.TrimSuffix(l.Name, "*")):]
}

// directory takes the files of a directory, and of those in it, as systemd does: sorted, without those whose names begin
// with a dot, and without links. It reports whether there was any.
func (e *expansion) directory(l descriptor.Load, real, id, origin string) (any bool) {
	entries, err := e.cfg.Host.List(real)
	if err != nil { // what is in it stays open
		e.take(l)
		return true
	}
	for _, entry := range entries {
		one := l
		one.Directory, one.Fallbacks, one.Default = false, nil, false
		one.Name = id + "_" + entry.Name()
		one.Origin = path.Join(origin, entry.Name())
		one.Path = path.Join(path.Dir(l.Path), one.Name)
		switch kind := entry.Type(); {
		case strings.HasPrefix(entry.Name(), "."), kind&^(fs.ModeDir|fs.ModeSocket) != 0: // passed over
			continue
		case kind.IsDir():
			any = e.directory(l, path.Join(real, entry.Name()), one.Name, one.Origin) || any
			continue
		case !systemd.ValidName(one.Name):
			one.Name = l.Name
			e.fail(one, RuleBadSource, fmt.Sprintf("the directory has a file whose name makes none of a credential, %.80q: systemd does not start the service", entry.Name()), "rename the file")
		case e.taken[one.Name]: // another line has it
			e.whichDirectory(one)
		case !kind.IsRegular():
			e.fail(one, RuleBadSource, "the directory has a socket, which systemd cannot read there: it does not start the service", "take it out of the directory")
		default:
			one.Choose()
			if seen, err := e.see(one.Origin); err == nil {
				one.Size = seen.File.Size
			}
			e.fromFile[one.Name] = len(e.out)
			e.take(one)
		}
		any = true
	}
	return any
}

// whichDirectory doubts a credential that two directories give: systemd goes through lines in no order.
func (e *expansion) whichDirectory(l descriptor.Load) {
	if i, ok := e.fromFile[l.Name]; ok && (e.out[i].Line != l.Line || e.out[i].File != l.File) {
		e.out[i].Doubt = &descriptor.Doubt{
			Rule: descriptor.RuleOrigin, Message: "two directories have a file for it, and which of them is loaded is not determined", Fix: "rename one of the files",
		}
	}
}

// beaten tells of a literal for a name that comes from elsewhere: it is no load, but in the unit all the same.
func (e *expansion) beaten(l descriptor.Load) {
	if l.Encrypted || l.Default {
		return
	}
	e.report(descriptor.Finding{
		Rule: descriptor.RuleInline, Severity: policy.SeverityWarning, Message: descriptor.InlineMessage,
		Fix: "remove it, or move it into a file of mode 0600", Position: l.Position, Service: l.Service, Source: l.Source, Name: l.Name,
	})
}

// nothing tells of an import without effect.
func (e *expansion) nothing(l descriptor.Load) {
	e.report(descriptor.Finding{
		Rule: descriptor.RuleImport, Severity: policy.SeverityNote, Message: "nothing in the credential stores matches: the service gets no credential by this line",
		Position: l.Position, Service: l.Service, Source: l.Source, Name: l.Name,
	})
}
