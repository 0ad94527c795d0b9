package collect

import (
	"cmp"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
)

// enabled reads the system services that a machine starts: those that are linked from a .wants, .requires or .upholds
// directory of the search path, those with an alias in /etc or /run, and those that a socket, timer or path which is
// enabled starts.
func (c *collector) enabled() {
	root := cmp.Or(c.options.RootDir, "/")
	abs, err := filepath.Abs(root)
	if err != nil {
		c.unreadable(root, err)
		return
	}
	dirs := c.searchPath(strings.TrimSuffix(filepath.ToSlash(abs), "/"), false)
	if len(dirs) == 0 {
		return
	}
	in, err := readFolder(c.view, dirs...)
	if err != nil {
		c.unreadable(root, err)
		return
	}
	names := map[string]string{}
	for _, dir := range dirs {
		if err := c.wanted(dir, names); err != nil {
			c.unreadable(dir, err)
			return
		}
	}
	for link := range in.links {
		if at := filepath.ToSlash(in.paths[link]); strings.Contains(at, "/etc/systemd/") || strings.Contains(at, "/run/systemd/") {
			names[link] = at
		}
	}
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	sort.Strings(sorted)
	for _, name := range sorted {
		if unit := in.canonical(name); in.fragment(unit) == "" {
			c.note(names[name], descriptor.RuleNotJudged, "it is enabled, and there is no unit of that name")
			continue
		}
		c.service(in, name, false)
	}
}

// wanted adds the services that the links of a directory ask for.
func (c *collector) wanted(dir string, names map[string]string) error {
	entries, err := c.list(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains([]string{".wants", ".requires", ".upholds"}, filepath.Ext(e.Name())) {
			continue
		}
		at := filepath.Join(dir, e.Name())
		links, err := c.list(at)
		if err != nil {
			return err
		}
		for _, l := range links {
			for _, unit := range c.starts(filepath.Join(at, l.Name())) {
				names[unit] = filepath.Join(at, l.Name())
			}
		}
	}
	return nil
}

// starts lists the services that a unit which is enabled starts: itself, or what it activates.
func (c *collector) starts(p string) []string {
	name := filepath.Base(p)
	kind := filepath.Ext(name)
	stem := strings.TrimSuffix(name, kind)
	switch kind {
	case ".service":
		return []string{name}
	case ".socket", ".timer", ".path":
		data, _, err := c.view.read(p)
		if err != nil {
			return nil
		}
		activates, each := systemd.Activates(data)
		switch {
		case strings.HasSuffix(activates, ".service"):
			return []string{activates}
		case activates != "":
			return nil
		case each:
			return []string{stem + "@.service"}
		}
		return []string{stem + ".service"}
	}
	return nil
}
