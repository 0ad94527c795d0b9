package collect

import (
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

// systemPath and userPath are where systemd looks for units below the root of a machine, the first place that has a name
// wins: what systemd-analyze unit-paths prints, without the directories in the homes of users. "lib" stands for a /usr
// that is not merged.
func systemPath() []string {
	return []string{
		"etc/systemd/system.control", "run/systemd/system.control", "run/systemd/transient", "run/systemd/generator.early",
		"etc/systemd/system", "etc/systemd/system.attached", "run/systemd/system", "run/systemd/system.attached",
		"run/systemd/generator", "usr/local/lib/systemd/system", "lib/systemd/system", "usr/lib/systemd/system",
		"run/systemd/generator.late",
	}
}

func userPath() []string {
	return []string{
		"etc/xdg/systemd/user", "etc/systemd/user", "run/systemd/user", "usr/local/share/systemd/user",
		"usr/share/systemd/user", "usr/local/lib/systemd/user", "usr/lib/systemd/user",
	}
}

// tree is the search path of one machine: of the root, or of a folder that was given with directories of a search path.
type tree struct {
	dirs   []string        // those that are there, in their order; without a root, those that were asked about
	asked  map[string]bool // what was to be checked
	rooted bool            // the directories that were not asked about are there too
	user   bool            // units of users' managers
}

// tree finds the search path that a directory is of, nil when it is of none.
func (c *collector) tree(dir string) *tree {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil
	}
	prefix, user, ok := cutSearchPath(filepath.ToSlash(abs))
	if !ok {
		return nil
	}
	key := prefix + "\x00system"
	if user {
		key = prefix + "\x00user"
	}
	if c.trees[key] == nil {
		c.trees[key] = c.plant(prefix, user)
	}
	return c.trees[key]
}

// cutSearchPath takes the directory of a search path off a path.
func cutSearchPath(abs string) (prefix string, user, ok bool) {
	best := ""
	for _, path := range [][]string{systemPath(), userPath()} {
		for _, dir := range path {
			if strings.HasSuffix(abs, "/"+dir) && len(dir) > len(best) {
				best = dir
			}
		}
	}
	return strings.TrimSuffix(abs, "/"+best), slices.Contains(userPath(), best), best != ""
}

func (c *collector) plant(prefix string, user bool) *tree {
	t := &tree{asked: map[string]bool{}, user: user}
	if c.options.Root != nil {
		root, err := filepath.Abs(c.options.RootDir)
		t.rooted = err == nil && strings.TrimSuffix(filepath.ToSlash(root), "/") == prefix
	}
	if t.rooted {
		t.dirs = c.searchPath(prefix, user)
	}
	return t
}

// searchPath lists the directories of a search path that are there, each once, and by the name that no link leads to, which
// is the later one: "lib" can be a link, and "etc/xdg/systemd/user" is one in Debian.
func (c *collector) searchPath(prefix string, user bool) []string {
	path := systemPath()
	if user {
		path = userPath()
	}
	var dirs, known []string
	for _, d := range path {
		d = filepath.Join(prefix+"/", filepath.FromSlash(d))
		at, err := c.at(d)
		if err == nil {
			at, err = filepath.EvalSymlinks(at)
		}
		if err != nil {
			continue
		}
		if i := slices.Index(known, at); i >= 0 {
			dirs[i] = d
		} else {
			dirs, known = append(dirs, d), append(known, at)
		}
	}
	return dirs
}

// forest reads the units of all search paths of which directories were asked about.
func (c *collector) forest() {
	keys := make([]string, 0, len(c.trees))
	for k := range c.trees {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		if t := c.trees[k]; len(t.asked) > 0 {
			c.units(t, k)
		}
	}
}

// units reads what the directories that were asked about have a say in: a unit whose file or alias lies there, and one
// elsewhere that gets drop-ins from there.
func (c *collector) units(t *tree, key string) {
	prefix, _, _ := strings.Cut(key, "\x00")
	asked := c.reals(t.asked)
	if !t.rooted {
		for _, d := range c.searchPath(prefix, t.user) {
			if asked[c.realOf(d)] {
				t.dirs = append(t.dirs, d)
			}
		}
	}
	in, err := readFolder(c.view, t.dirs...)
	if err != nil {
		c.unreadable(prefix, err)
		return
	}
	for _, name := range in.names() {
		if t.rooted && !c.concerned(in, name, asked) {
			continue
		}
		c.service(in, name, t.user)
	}
}

// realOf is a directory without symbolic links, to compare.
func (c *collector) realOf(dir string) string {
	at, err := c.at(dir)
	if err == nil {
		at, err = filepath.EvalSymlinks(at)
	}
	if err != nil {
		return dir
	}
	return absolute(at)
}

func (c *collector) reals(dirs map[string]bool) map[string]bool {
	out := map[string]bool{}
	for d := range dirs {
		out[c.realOf(d)] = true
	}
	return out
}

// service reads a unit of a search path, or says that it is masked.
func (c *collector) service(in *folder, name string, user bool) {
	unit := in.canonical(name)
	if p := in.paths[in.fragment(unit)]; p != "" && in.isNull(p) {
		if c.first(p) {
			c.note(p, descriptor.RuleMasked, "the unit is masked: it does not start")
		}
		return
	}
	c.read(in, unit, user)
}

// names lists the services that have a file or drop-ins of their own here, sorted.
func (f *folder) names() []string {
	all := map[string]bool{}
	for name := range f.paths {
		all[name] = true
	}
	for dir := range f.drops {
		unit := strings.TrimSuffix(dir, ".d")
		if strings.HasSuffix(unit, ".service") && !strings.HasSuffix(split(unit).prefix, "-") {
			all[unit] = true
		}
	}
	list := make([]string, 0, len(all))
	for name := range all {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}

// concerned reports whether a directory that was asked about has a say in what a unit is.
func (c *collector) concerned(in *folder, name string, asked map[string]bool) bool {
	unit := in.canonical(name)
	dirs, _ := in.dropInDirs(unit)
	for _, p := range append(dirs, in.paths[name], in.paths[in.fragment(unit)]) {
		if p != "" && asked[c.realOf(filepath.Dir(p))] {
			return true
		}
	}
	return slices.ContainsFunc(in.beaten[name], func(d string) bool { return asked[c.realOf(d)] })
}
