package collect

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
	"github.com/llorch/secrets-management/policy"
)

// walk goes through a directory. Plain files come before symbolic links, so that of a unit and its alias the unit is
// the one that is read.
func (c *collector) walk(root string) {
	var links []string
	err := filepath.WalkDir(root, func(p string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			c.unreadable(p, err)
			if entry != nil && entry.IsDir() {
				return fs.SkipDir
			}
		case entry.IsDir():
			return c.directory(p)
		case strings.HasSuffix(p, ".service") && c.tree(filepath.Dir(p)) != nil: // read with the others of the search path
		case entry.Type()&fs.ModeSymlink != 0:
			links = append(links, p)
		default:
			c.file(p, false)
		}
		return nil
	})
	if err != nil {
		c.unreadable(root, err)
	}
	for _, p := range links {
		c.link(p)
	}
}

// directory decides about descending. Drop-ins are read with their unit, or as one when the unit lies elsewhere; the
// links that systemctl enable makes say when a unit starts, not what it is.
func (c *collector) directory(p string) error {
	name := filepath.Base(p)
	if t := c.tree(p); t != nil {
		t.asked[p] = true
	}
	switch unit, dropIns := strings.CutSuffix(name, ".service.d"); {
	case name == sharedDropIns, dropIns && strings.HasSuffix(split(unit).prefix, "-"):
		c.shared = append(c.shared, p)
		return fs.SkipDir
	case dropIns && c.tree(filepath.Dir(p)) != nil:
		return fs.SkipDir
	case dropIns:
		if _, err := os.Lstat(strings.TrimSuffix(p, ".d")); errors.Is(err, fs.ErrNotExist) {
			c.unit(strings.TrimSuffix(p, ".d"))
		}
		return fs.SkipDir
	case name == containerDropIns, strings.HasSuffix(name, ".container.d"):
		c.containerDropIns(p)
		return fs.SkipDir
	case strings.HasSuffix(name, ".wants"), strings.HasSuffix(name, ".requires"), strings.HasSuffix(name, ".upholds"):
		return fs.SkipDir
	}
	return nil
}

// unused tells of drop-ins for many units of which none is next to them: whom they apply to cannot be seen.
func (c *collector) unused() {
	for _, p := range c.shared {
		if files, err := filepath.Glob(filepath.Join(globEscape(p), "*.conf")); !c.used[absolute(p)] && (err != nil || len(files) > 0) && c.first(p) {
			c.tell(p, descriptor.RuleNotJudged, policy.SeverityWarning, "drop-ins for services of which none is in this folder: they were not judged")
		}
	}
}

// globEscape makes a pattern that matches s alone.
func globEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

// otherUnit reports whether p is a unit of a type besides services that credentials can be given to, or a drop-in for one.
func otherUnit(p string) bool {
	name, dir := filepath.Base(p), filepath.Base(filepath.Dir(p))
	for _, t := range []string{"socket", "mount", "swap"} {
		if strings.HasSuffix(name, "."+t) || strings.HasSuffix(name, ".conf") && (dir == t+".d" || strings.HasSuffix(dir, "."+t+".d")) {
			return true
		}
	}
	return false
}

// other names a unit of another type that is about credentials: it is not judged.
func (c *collector) other(p string) {
	if !c.first(p) {
		return
	}
	data, info, err := c.view.read(p)
	switch {
	case err != nil:
		c.note(p, descriptor.RuleNotJudged, "only services are judged; this unit cannot be read: "+reason(err))
	case systemd.NamesCredentials(data):
		c.inodes = append(c.inodes, info)
		c.note(p, descriptor.RuleNotJudged, "only services are judged, and this is none, but it has credentials")
	}
}

// link reads a unit that is a symbolic link: an instance of a template, an alias, or a mask.
func (c *collector) link(p string) {
	info, err := c.stat(p)
	switch {
	case err == nil && info.IsDir():
		if strings.HasSuffix(p, ".service.d") || filepath.Base(p) == sharedDropIns {
			_ = c.directory(p)
		}
	case !strings.HasSuffix(p, ".service") && !isYAML(p) && (!isJSON(p) || err != nil) && !otherUnit(p) && !isQuadlet(p):
	case c.isNull(p):
		if strings.HasSuffix(p, ".service") || isYAML(p) {
			c.note(p, descriptor.RuleMasked, "the unit is masked: it does not start")
		}
	case c.alias(p):
	case err != nil:
		c.unreadable(p, err)
	case c.known(info) && !strings.Contains(filepath.Base(p), "@") && !c.dropInsOfItsOwn(p):
	default:
		c.file(p, false)
	}
}

// alias reads the unit that p is another name of, unless it has a file and is met by itself.
func (c *collector) alias(p string) bool {
	in, err := c.folder(filepath.Dir(p))
	if err != nil {
		return false
	}
	name := in.canonical(filepath.Base(p))
	if name == filepath.Base(p) {
		return false
	}
	if in.paths[name] == "" {
		c.unit(p)
	}
	return true
}

// dropInsOfItsOwn reports whether a link to a unit in another folder has drop-ins beside it.
func (c *collector) dropInsOfItsOwn(p string) bool {
	in, err := c.folder(filepath.Dir(p))
	if err != nil {
		return false
	}
	dirs, _ := in.dropInDirs(filepath.Base(p))
	return len(dirs) > 0 && strings.HasSuffix(p, ".service")
}

func (c *collector) known(info os.FileInfo) bool {
	for _, i := range c.inodes {
		if os.SameFile(i, info) {
			return true
		}
	}
	return false
}
