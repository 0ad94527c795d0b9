package collect

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// folder is a directory with units, as far as their names and the links among them go.
type folder struct {
	dir   string
	names map[string]bool   // of all entries
	links map[string]string // units that are links to a unit of the folder, and its name
}

// sharedDropIns is the directory whose drop-ins apply to every service.
const sharedDropIns = "service.d"

// readFolder lists a directory.
func readFolder(dir string) (*folder, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	f := &folder{dir: dir, names: map[string]bool{}, links: map[string]string{}}
	for _, e := range entries {
		f.names[e.Name()] = true
	}
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 || !strings.HasSuffix(e.Name(), ".service") {
			continue
		}
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		name := filepath.Base(target)
		if err == nil && strings.HasSuffix(name, ".service") && f.fragment(name) != "" && f.within(filepath.Dir(target)) {
			f.links[e.Name()] = name
		}
	}
	return f, nil
}

// within reports whether a link to that directory stays among the units of the folder: in it, or in one where systemd
// looks for units, which for a name is the same.
func (f *folder) within(dir string) bool {
	if !filepath.IsAbs(dir) {
		return filepath.Join(f.dir, dir) == filepath.Clean(f.dir)
	}
	if abs, err := filepath.Abs(f.dir); err == nil && abs == filepath.Clean(dir) {
		return true
	}
	return strings.HasSuffix(filepath.ToSlash(filepath.Clean(dir)), "/systemd/system")
}

// unitName is a service's name taken apart.
type unitName struct {
	prefix, instance string
	at               bool
}

func split(name string) unitName {
	prefix, instance, at := strings.Cut(strings.TrimSuffix(name, ".service"), "@")
	return unitName{prefix, instance, at}
}

func (n unitName) String() string {
	if n.at {
		return n.prefix + "@" + n.instance + ".service"
	}
	return n.prefix + ".service"
}

func (n unitName) template() unitName { return unitName{n.prefix, "", true} }

// fragment is the name of the file that a unit is in, "" when there is none here. That of an instance can be its
// template's.
func (f *folder) fragment(name string) string {
	if f.names[name] {
		return name
	}
	if n := split(name); n.instance != "" && f.names[n.template().String()] {
		return n.template().String()
	}
	return ""
}

// canonical is the unit that a name stands for: itself, unless it is an alias.
func (f *folder) canonical(name string) string {
	unit := name
	for range len(f.links) + 1 {
		next := f.follow(unit)
		if next == unit {
			return unit
		}
		unit = next
	}
	return name // links in a circle
}

// follow goes one link further. A link between names of different kinds makes no alias for systemd.
func (f *folder) follow(name string) string {
	n := split(name)
	target, linked := f.links[name]
	if !linked && f.names[name] {
		return name
	}
	t := split(target)
	switch {
	case linked && t.at == n.at && t.instance == n.instance:
		return target
	case n.instance == "":
		return name
	case !linked || t == n.template():
		target, linked = f.links[n.template().String()]
		t = split(target)
	}
	if linked && t.at && t.instance == "" {
		return unitName{t.prefix, n.instance, true}.String()
	}
	return name
}

// aliases lists the other names of a unit, sorted.
func (f *folder) aliases(unit string) []string {
	n := split(unit)
	var list []string
	for link := range f.links {
		l := split(link)
		if n.instance != "" && l == l.template() { // an alias of a template is one of each instance
			link = unitName{l.prefix, n.instance, true}.String()
		}
		if link != unit && !slices.Contains(list, link) && f.canonical(link) == unit {
			list = append(list, link)
		}
	}
	sort.Strings(list)
	return list
}

// lookUp lists the names whose drop-ins apply to a unit of that name, the most specific first: itself, the template of an
// instance, and the same for each beginning that a dash ends. (unit_file_find_dirs in systemd's dropin.c)
func lookUp(n unitName) []string {
	list := []string{n.String()}
	if n.instance != "" {
		list = append(list, lookUp(n.template())...)
	}
	i := strings.LastIndexByte(n.prefix[:max(len(n.prefix)-1, 0)], '-')
	if i <= 0 {
		return list
	}
	return append(list, lookUp(unitName{n.prefix[:i+1], n.instance, n.instance != ""})...)
}

// dropInDirs lists the directories that drop-ins of a unit are in. Those of one rank have an order for systemd; which of
// several aliases comes first, it leaves open.
func (f *folder) dropInDirs(unit string) (dirs []string, rank map[string]int) {
	rank = map[string]int{}
	for i, name := range append([]string{unit}, f.aliases(unit)...) {
		for _, n := range lookUp(split(name)) {
			dir := n + ".d"
			if _, known := rank[dir]; !known && f.names[dir] {
				rank[dir] = i
				dirs = append(dirs, dir)
			}
		}
	}
	if f.names[sharedDropIns] {
		dirs = append(dirs, sharedDropIns)
		rank[sharedDropIns] = len(f.names) + 1
	}
	return dirs, rank
}

var errWhichAlias = errors.New("two aliases have a drop-in of the same name: which one is in force is not determined")

// dropIns lists the drop-ins that systemd applies to a unit, in its order: by their names, whatever directory they are
// in. Of one name the most specific directory's is in force, and a link to the null device switches it off.
func (f *folder) dropIns(unit string) ([]string, error) {
	dirs, rank := f.dropInDirs(unit)
	from := map[string]string{}
	var names []string
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(f.dir, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			name := e.Name()
			if !strings.HasSuffix(name, ".conf") || strings.HasPrefix(name, ".") {
				continue
			}
			if other, known := from[name]; !known {
				from[name] = dir
				names = append(names, name)
			} else if rank[other] > 0 && rank[other] != rank[dir] && dir != sharedDropIns {
				return nil, errWhichAlias
			}
		}
	}
	sort.Strings(names)
	var files []string
	for _, name := range names {
		p := filepath.Join(f.dir, from[name], name)
		if !isNull(p) {
			files = append(files, p)
		}
	}
	return files, nil
}

// isNull reports whether p is a link to a device.
func isNull(p string) bool {
	link, err := os.Lstat(p)
	if err != nil || link.Mode()&fs.ModeSymlink == 0 {
		return false
	}
	info, err := os.Stat(p)
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}
