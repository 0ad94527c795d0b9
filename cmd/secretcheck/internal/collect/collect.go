// Package collect finds the descriptors that a check was pointed at, and reads them without trusting them: nothing but
// regular files is opened, and no more than a bounded part is read.
package collect

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/compose"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
	"github.com/llorch/secrets-management/policy"
)

// maxFile bounds a descriptor: systemd itself refuses longer lines, and no unit of any distribution comes near.
const maxFile = 1 << 20

// Options say how descriptors are read.
type Options struct {
	// Root is what units are found and read in. Directories of its search path for units are then read as one, with
	// those that were not named as the background that they belong to. RootDir is its folder.
	Root    Root
	RootDir string

	// AllUnits reads what is enabled in RootDir, "" for this machine, besides the paths.
	AllUnits bool

	// Version is that of systemd.
	Version int

	// Compose is what the files of a project do not tell.
	Compose compose.Options

	// Stdin is what the path [Stdin] stands for; nil has nothing. StdinName is the file that it would be, for the kinds that
	// say by it what they are: NAME.service.
	Stdin     io.Reader
	StdinName string

	// Kind is what every file that is named is, one of [Kinds]; "" lets its name and content tell.
	Kind string

	// Progress is told how many descriptors were read, and of the last one; nil for nobody.
	Progress func(done int, p string)

	// Stop is closed when nobody waits for the result any more; nil never is.
	Stop <-chan struct{}
}

// The kinds of descriptors.
const (
	KindSystemd    = "systemd"
	KindKubernetes = "kubernetes"
	KindCompose    = "compose"
	KindInventory  = "inventory"
)

// Kinds lists the kinds of descriptors.
func Kinds() []string { return []string{KindSystemd, KindKubernetes, KindCompose, KindInventory} }

// Paths reads every descriptor at the given paths, directories with all that is below them. What cannot be read is a
// finding, not an error: the rest is judged all the same.
func Paths(paths []string, o Options) check.Input {
	c := &collector{options: o, seen: map[string]bool{}, used: map[string]bool{}, folders: map[string]*folder{}, trees: map[string]*tree{}}
	var err error
	if c.view, err = newView(o.Root, o.RootDir); err != nil {
		c.view = &view{}
		c.unreadable(o.RootDir, err)
		return c.input
	}
	for _, p := range paths {
		if p == Stdin {
			c.piped()
		} else {
			c.path(p)
		}
	}
	c.manifests.each(c.judgeable)
	for _, p := range c.kubes { // behind the manifests, which they name
		c.kube(p)
	}
	c.projects()
	c.forest()
	for _, p := range c.late {
		c.unit(p)
	}
	if o.AllUnits {
		c.enabled()
	}
	c.unused()
	return c.input
}

type collector struct {
	options Options
	*view

	searched string // the folder that is being searched
	composes []composeFile
	kubes    []string

	input  check.Input
	seen   map[string]bool // absolute paths, so that a file named twice is judged once
	inodes []os.FileInfo   // of units that were read, so that an alias is not judged again

	folders map[string]*folder
	trees   map[string]*tree
	late    []string        // units of search paths that were named: what else was named belongs to them
	shared  []string        // directories with drop-ins for many units
	used    map[string]bool // of these, those that a unit was read with

	manifests manifests
}

func (c *collector) path(p string) {
	info, err := c.stat(p)
	switch {
	case err != nil:
		c.unreadable(p, err)
	case info.IsDir():
		c.searched = p
		c.walk(p)
	case c.options.Kind != "":
		c.forced(p)
	case strings.HasSuffix(p, ".service") && c.tree(filepath.Dir(p)) != nil:
		c.late = append(c.late, p)
	default:
		c.file(p, true)
	}
}

// file reads one descriptor. In a directory that was searched, files of other kinds are passed over.
func (c *collector) file(p string, explicit bool) {
	if c.options.Progress != nil {
		c.options.Progress(c.input.Descriptors+len(c.manifests.found), p)
	}
	if c.stopped() {
		return
	}
	switch {
	case strings.HasSuffix(p, ".service"):
		c.unit(p)
	case strings.HasSuffix(p, ".container"):
		c.quadlet(p)
	case strings.HasSuffix(p, ".kube"):
		c.kubes = append(c.kubes, p)
	case isYAML(p), isJSON(p):
		c.structured(p, explicit)
	case !explicit && otherUnit(p):
		c.other(p)
	case explicit:
		c.byContent(p)
	}
}

func (c *collector) stopped() bool {
	select {
	case <-c.options.Stop:
		return true
	default:
		return false
	}
}

// unit reads the service unit at p as what it is for systemd: with its drop-ins, and an alias as the unit that it stands for.
func (c *collector) unit(p string) {
	in, err := c.folder(filepath.Dir(p))
	if err != nil {
		c.unreadable(filepath.Dir(p), err)
		return
	}
	c.read(in, filepath.Base(p), false)
}

// read reads a unit of a folder and its drop-ins. Where the unit itself lies elsewhere, the drop-ins are read as one.
func (c *collector) read(in *folder, name string, user bool) {
	name = in.canonical(name)
	if !c.first(filepath.Join(in.dirs[0], name)) {
		return
	}
	p := cmp.Or(in.paths[name], filepath.Join(in.dirs[0], name))
	files, err := c.dropIns(in, name)
	if err != nil {
		c.unreadable(p, err)
		return
	}
	u := systemd.Unit{Name: name, User: user, Version: c.options.Version}
	fragment := in.fragment(name)
	if u.Partial = fragment == ""; !u.Partial {
		files = append([]string{in.paths[fragment]}, files...)
	}
	if len(files) == 0 {
		return
	}
	for i, f := range files {
		data, info, err := c.view.read(f)
		if err != nil {
			c.unreadable(f, err)
			return
		}
		if i == 0 && !u.Partial {
			c.inodes = append(c.inodes, info)
			if len(data) == 0 {
				c.note(f, descriptor.RuleMasked, "the unit is masked, because its file is empty: it does not start")
				return
			}
		}
		c.input.Files = append(c.input.Files, info)
		u.Files = append(u.Files, systemd.File{Name: report(f), Data: data})
	}
	loads, findings := systemd.Read(u)
	textsOf(u.Files).show(loads, findings)
	c.judgeable(p, loads, findings)
}

// folder lists a directory once. One of a search path is listed with the others.
func (c *collector) folder(dir string) (*folder, error) {
	if f := c.folders[dir]; f != nil {
		return f, nil
	}
	dirs := []string{dir}
	if t := c.tree(dir); t != nil && slices.ContainsFunc(t.dirs, func(d string) bool { return c.realOf(d) == c.realOf(dir) }) {
		dirs = t.dirs
	}
	f, err := readFolder(c.view, dirs...)
	if err == nil {
		c.folders[dir] = f
	}
	return f, err
}

// dropIns lists the drop-ins of a unit, and keeps in mind the directories that were looked at.
func (c *collector) dropIns(in *folder, name string) ([]string, error) {
	dirs, _ := in.dropInDirs(name)
	for _, d := range dirs {
		c.used[absolute(d)] = true
	}
	return in.dropIns(name)
}

// absolute is p as a key.
func absolute(p string) string {
	if abs, err := filepath.Abs(p); err == nil {
		return abs
	}
	return p
}

func (c *collector) first(p string) bool {
	key := absolute(p)
	known := c.seen[key]
	c.seen[key] = true
	return !known
}

// judgeable adds a descriptor that was read, and notes one that is in order and loads nothing: a section or a setting
// may have got lost.
func (c *collector) judgeable(p string, loads []descriptor.Load, findings []descriptor.Finding) {
	if len(loads) == 0 && !slices.ContainsFunc(findings, descriptor.Finding.Bad) {
		c.input.Silent = append(c.input.Silent, report(p))
	}
	c.add(loads, findings)
}

// add counts a descriptor. One that is bad counts too: it was found, and it is told about.
func (c *collector) add(loads []descriptor.Load, findings []descriptor.Finding) {
	c.input.Descriptors++
	for i := range loads {
		loads[i].Descriptor = c.input.Descriptors
	}
	c.input.Loads = append(c.input.Loads, loads...)
	c.input.Findings = append(c.input.Findings, findings...)
}

func (c *collector) unreadable(p string, err error) {
	c.add(nil, []descriptor.Finding{{
		Rule: descriptor.RuleUnreadable, Severity: policy.SeverityError, Message: reason(err),
		Fix:      "name a readable descriptor, or a directory with descriptors",
		Position: descriptor.Position{File: report(p), Line: 1, Column: 1},
	}})
}

// reason leaves out the path, which the finding has already.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

func (c *collector) note(p, rule, message string) { c.tell(p, rule, policy.SeverityNote, message) }

func (c *collector) tell(p, rule string, severity policy.Severity, message string) {
	c.input.Findings = append(c.input.Findings, descriptor.Finding{
		Rule: rule, Severity: severity, Message: message,
		Position: descriptor.Position{File: report(p), Line: 1, Column: 1},
	})
}

// report is the name of a file in reports and fingerprints: relative to the working directory where it lies below, so
// that it is the same in every checkout.
func report(p string) string {
	p = filepath.Clean(p)
	if !filepath.IsAbs(p) { // where the working directory is plays no part
		return filepath.ToSlash(p)
	}
	wd, err := os.Getwd()
	if err != nil || wd == "/" {
		return filepath.ToSlash(p)
	}
	if rel, err := filepath.Rel(wd, p); err == nil && filepath.IsLocal(rel) {
		p = rel
	}
	return filepath.ToSlash(p)
}

// notRegular is the complaint about anything that is no plain file.
func notRegular(mode fs.FileMode) error {
	return fmt.Errorf("not a regular file (%s)", mode.Type())
}
