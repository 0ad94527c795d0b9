// Package collect finds the descriptors that a check was pointed at, and reads them without trusting them: nothing but
// regular files is opened, and no more than a bounded part is read.
package collect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/inventory"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
	"github.com/llorch/secrets-management/policy"
)

// maxFile bounds a descriptor: systemd itself refuses longer lines, and no unit of any distribution comes near.
const maxFile = 1 << 20

// Paths reads every descriptor at the given paths, directories with all that is below them. What cannot be read is a
// finding, not an error: the rest is judged all the same.
func Paths(paths []string) check.Input {
	c := &collector{seen: map[string]bool{}}
	for _, p := range paths {
		c.path(p)
	}
	return c.input
}

type collector struct {
	input  check.Input
	seen   map[string]bool // absolute paths, so that a file named twice is judged once
	inodes []os.FileInfo   // of units that were read, so that an alias is not judged again
}

func (c *collector) path(p string) {
	info, err := os.Stat(p)
	switch {
	case err != nil:
		c.unreadable(p, err)
	case info.IsDir():
		c.walk(p)
	default:
		c.file(p, true)
	}
}

// file reads one descriptor. In a directory that was searched, files of other kinds are passed over.
func (c *collector) file(p string, explicit bool) {
	switch {
	case strings.HasSuffix(p, ".service"):
		c.unit(p, false)
	case isYAML(p):
		c.inventory(p, explicit)
	case explicit:
		c.unreadable(p, errors.New("no known kind of descriptor; known are *.service, *.yaml and *.yml"))
	}
}

func isYAML(p string) bool { return strings.HasSuffix(p, ".yaml") || strings.HasSuffix(p, ".yml") }

// unit reads a service unit and the drop-ins next to it.
func (c *collector) unit(p string, dropInsOnly bool) {
	if !c.first(p) {
		return
	}
	u := systemd.Unit{Name: filepath.Base(p), Partial: dropInsOnly}
	files, err := dropIns(p + ".d")
	if err != nil {
		c.unreadable(p+".d", err)
		return
	}
	if !dropInsOnly {
		files = append([]string{p}, files...)
	}
	if len(files) == 0 {
		return
	}
	for _, f := range files {
		data, info, err := readRegular(f)
		if err != nil {
			c.unreadable(f, err)
			return
		}
		if f == p {
			c.inodes = append(c.inodes, info)
		}
		c.input.Files = append(c.input.Files, info)
		u.Files = append(u.Files, systemd.File{Name: report(f), Data: data})
	}
	loads, findings := systemd.Read(u)
	c.judgeable(p, loads, findings)
}

// dropIns lists the drop-ins of a directory in the order in which systemd applies them. One that is a link to the null
// device masks a vendor's and is empty itself.
func dropIns(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		p := filepath.Join(dir, e.Name())
		if !strings.HasSuffix(e.Name(), ".conf") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if info, err := os.Stat(p); err == nil && info.Mode()&fs.ModeCharDevice != 0 && e.Type()&fs.ModeSymlink != 0 {
			continue
		}
		files = append(files, p)
	}
	return files, nil
}

func (c *collector) inventory(p string, explicit bool) {
	if !c.first(p) {
		return
	}
	data, info, err := readRegular(p)
	switch {
	case err != nil:
		c.unreadable(p, err)
	case !explicit && !inventory.IsInventory(data):
		c.note(p, descriptor.RuleNoDescriptor, `not an inventory: there is no list under "services"`)
	default:
		c.input.Files = append(c.input.Files, info)
		loads, findings := inventory.Read(report(p), data)
		c.judgeable(p, loads, findings)
	}
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

func (c *collector) note(p, rule, message string) {
	c.input.Findings = append(c.input.Findings, descriptor.Finding{
		Rule: rule, Severity: policy.SeverityNote, Message: message,
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
