// Package collect finds the descriptors that a check was pointed at, and reads them without trusting them: nothing but
// regular files is opened, and no more than a bounded part is read.
package collect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/kubernetes"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
	"github.com/llorch/secrets-management/policy"
)

// maxFile bounds a descriptor: systemd itself refuses longer lines, and no unit of any distribution comes near.
const maxFile = 1 << 20

// Paths reads every descriptor at the given paths, directories with all that is below them. What cannot be read is a
// finding, not an error: the rest is judged all the same.
func Paths(paths []string) check.Input { return PathsAnd(paths, strings.NewReader("")) }

// PathsAnd is Paths where a path can be [Stdin], which stands for in.
func PathsAnd(paths []string, in io.Reader) check.Input { return Read(paths, in, Options{}) }

// Read is PathsAnd with what descriptors alone do not tell.
func Read(paths []string, in io.Reader, options Options) check.Input {
	c := &collector{options: options, seen: map[string]bool{}, used: map[string]bool{}, folders: map[string]*folder{}}
	for _, p := range paths {
		if p == Stdin {
			c.piped(in)
		} else {
			c.path(p)
		}
	}
	for _, p := range c.kubes { // behind the manifests, which they name
		c.kube(p)
	}
	c.projects()
	c.unused()
	return c.input
}

type collector struct {
	options  Options
	searched string // the folder that is being searched
	composes []composeFile
	kubes    []string

	input  check.Input
	seen   map[string]bool // absolute paths, so that a file named twice is judged once
	inodes []os.FileInfo   // of units that were read, so that an alias is not judged again

	manifests *kubernetes.Reader // made for the first manifest
	folders   map[string]*folder
	shared    []string        // directories with drop-ins for many units
	used      map[string]bool // of these, those that a unit was read with
}

func (c *collector) path(p string) {
	info, err := os.Stat(p)
	switch {
	case err != nil:
		c.unreadable(p, err)
	case info.IsDir():
		c.searched = p
		c.walk(p)
	default:
		c.file(p, true)
	}
}

// file reads one descriptor. In a directory that was searched, files of other kinds are passed over.
func (c *collector) file(p string, explicit bool) {
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
		c.unreadable(p, errors.New("no known kind of descriptor; known are *.service, *.container, *.kube, *.yaml, *.yml and *.json"))
	}
}

// unit reads a service unit and the drop-ins next to it. Where the unit itself lies elsewhere, the drop-ins are read as
// one; an alias is read as the unit that it stands for.
func (c *collector) unit(p string) {
	dir := filepath.Dir(p)
	in, err := c.folder(dir)
	if err != nil {
		c.unreadable(dir, err)
		return
	}
	name := in.canonical(filepath.Base(p))
	p = filepath.Join(dir, name)
	if !c.first(p) {
		return
	}
	files, err := c.dropIns(in, name)
	if err != nil {
		c.unreadable(p, err)
		return
	}
	u := systemd.Unit{Name: name}
	fragment := in.fragment(name)
	if u.Partial = fragment == ""; !u.Partial {
		files = append([]string{filepath.Join(dir, fragment)}, files...)
	}
	if len(files) == 0 {
		return
	}
	for i, f := range files {
		data, info, err := readRegular(f)
		if err != nil {
			c.unreadable(f, err)
			return
		}
		if i == 0 && !u.Partial {
			c.inodes = append(c.inodes, info)
		}
		c.input.Files = append(c.input.Files, info)
		u.Files = append(u.Files, systemd.File{Name: report(f), Data: data})
	}
	loads, findings := systemd.Read(u)
	c.judgeable(p, loads, findings)
}

// folder lists a directory once.
func (c *collector) folder(dir string) (*folder, error) {
	if f := c.folders[dir]; f != nil {
		return f, nil
	}
	f, err := readFolder(dir)
	if err == nil {
		c.folders[dir] = f
	}
	return f, err
}

// dropIns lists the drop-ins of a unit, and keeps in mind the directories that were looked at.
func (c *collector) dropIns(in *folder, name string) ([]string, error) {
	dirs, _ := in.dropInDirs(name)
	for _, d := range dirs {
		c.used[filepath.Join(in.dir, d)] = true
	}
	return in.dropIns(name)
}

func (c *collector) first(p string) bool {
	key, err := filepath.Abs(p)
	if err != nil {
		key = p
	}
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
	wd, err := os.Getwd()
	if err != nil || wd == "/" || !filepath.IsAbs(p) {
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
