package collect

import (
	"errors"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// folder is what systemd sees as one: a directory with units, or a whole search path.
type folder struct {
	dirs   []string            // where units are looked for, the first that has a name wins
	paths  map[string]string   // of unit files, and of links, by their names
	beaten map[string][]string // directories with another of the name, which is not in force
	links  map[string]string   // units that are links to a unit of the folder, and its name
	drops  map[string][]string // the paths of directories with drop-ins, by their names, in the order of dirs
	*view
}

// sharedDropIns is the directory whose drop-ins apply to every service.
const sharedDropIns = "service.d"

// readFolder lists directories. One that is not there is no error, unless there is but one.
func readFolder(from *view, dirs ...string) (*folder, error) {
	f := &folder{
		dirs: dirs, paths: map[string]string{}, beaten: map[string][]string{}, links: map[string]string{}, drops: map[string][]string{}, view: from,
	}
	for _, dir := range dirs {
		entries, err := from.list(dir)
		if err != nil && (len(dirs) == 1 || !errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
		for _, e := range entries {
			f.entry(dir, e)
		}
	}
	for name, p := range f.paths {
		if target := from.link(p); strings.HasSuffix(target, ".service") {
			if to := filepath.Base(target); f.fragment(to) != "" && f.within(filepath.Dir(p), filepath.Dir(target)) {
				f.links[name] = to
			}
		}
	}
	return f, nil
}

func (f *folder) entry(dir string, e fs.DirEntry) {
	name := e.Name()
	switch {
	case strings.HasSuffix(name, ".d"):
		f.drops[name] = append(f.drops[name], filepath.Join(dir, name))
	case !strings.HasSuffix(name, ".service") || e.IsDir():
	case f.paths[name] != "":
		f.beaten[name] = append(f.beaten[name], dir)
	default:
		f.paths[name] = filepath.Join(dir, name)
	}
}

// within reports whether a link in the directory at to another one stays among the units of the folder: in it, or in one
// where systemd looks for units, which for a name is the same.
func (f *folder) within(at, dir string) bool {
	if !filepath.IsAbs(dir) {
		return slices.Contains(f.dirs, filepath.Join(at, dir))
	}
	for _, d := range f.dirs {
		if abs, err := filepath.Abs(d); err == nil && (abs == filepath.Clean(dir) || f.dir != "" && abs == filepath.Join(f.dir, dir)) {
			return true
		}
	}
	dir = filepath.ToSlash(filepath.Clean(dir))
	return strings.HasSuffix(dir, "/systemd/system") || strings.HasSuffix(dir, "/systemd/user")
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
	if f.paths[name] != "" {
		return name
	}
	if n := split(name); n.instance != "" && f.paths[n.template().String()] != "" {
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
	if !linked && f.paths[name] != "" {
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

// dropInDirs lists the directories that drop-ins of a unit are in, the one that wins first: of a name, those of the first
// directory of the search path, of these the most specific; then those of aliases, then those of all services. Those of
// one rank have an order for systemd; which of several aliases comes first, it leaves open.
func (f *folder) dropInDirs(unit string) (dirs []string, rank map[string]int) {
	rank = map[string]int{}
	add := func(r int, names ...string) {
		for _, at := range f.dirs {
			for _, name := range names {
				dir := filepath.Join(at, name)
				if _, known := rank[dir]; !known && slices.Contains(f.drops[name], dir) {
					rank[dir] = r
					dirs = append(dirs, dir)
				}
			}
		}
	}
	for i, name := range append([]string{unit}, f.aliases(unit)...) {
		names := lookUp(split(name))
		for n := range names {
			names[n] += ".d"
		}
		add(i, names...)
	}
	add(sharedRank, sharedDropIns)
	return dirs, rank
}

// sharedRank is below that of any alias.
const sharedRank = math.MaxInt

var errWhichAlias = errors.New("two aliases have a drop-in of the same name: which one is in force is not determined")

// dropIns lists the drop-ins that systemd applies to a unit, in its order: by their names, whatever directory they are
// in. Of one name the most specific directory's is in force, and a link to the null device switches it off.
func (f *folder) dropIns(unit string) ([]string, error) {
	dirs, rank := f.dropInDirs(unit)
	from := map[string]string{}
	var names []string
	for _, dir := range dirs {
		entries, err := f.list(dir)
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
			} else if rank[other] > 0 && rank[other] != rank[dir] && rank[dir] != sharedRank {
				return nil, errWhichAlias
			}
		}
	}
	sort.Strings(names)
	var files []string
	for _, name := range names {
		p := filepath.Join(from[name], name)
		if !f.isNull(p) {
			files = append(files, p)
		}
	}
	return files, nil
}
