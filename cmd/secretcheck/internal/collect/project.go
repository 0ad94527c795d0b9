package collect

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/compose"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// composeFile is a Compose file that was found. Which others make up its project is known once all are.
type composeFile struct {
	path     string
	data     []byte
	explicit bool   // named by hand
	within   string // the folder that was searched
}

// composeFound keeps a Compose file in mind.
func (c *collector) composeFound(p string, data []byte, explicit bool) {
	within := filepath.Dir(p)
	if !explicit {
		within = c.searched
	}
	c.composes = append(c.composes, composeFile{p, data, explicit, within})
}

// projects reads the projects of the files that were found: of those that were named by hand, the ones of a folder are one
// project, as for docker compose -f; of a folder that was searched, those that docker compose would take there.
func (c *collector) projects() {
	dirs := map[string][]composeFile{}
	var order []string
	for _, f := range c.composes {
		dir := filepath.Dir(f.path)
		if dirs[dir] == nil {
			order = append(order, dir)
		}
		dirs[dir] = append(dirs[dir], f)
	}
	used := map[string]bool{}
	var left []composeFile
	for _, dir := range order {
		files, rest := c.ofProject(dir, dirs[dir])
		left = append(left, rest...)
		if len(files) > 0 {
			for _, u := range c.project(files) {
				used[u] = true
			}
		}
	}
	for _, f := range left {
		if abs, err := filepath.Abs(f.path); err != nil || !used[abs] {
			c.tell(f.path, descriptor.RuleNotJudged, policy.SeverityWarning,
				"a Compose file that docker compose does not take by itself, and none of the others here names: it was not judged")
		}
	}
}

// ofProject is the files of the folder's project, in their order, and the others.
func (c *collector) ofProject(dir string, found []composeFile) (files, rest []composeFile) {
	for _, f := range found {
		if f.explicit {
			files = append(files, f)
		} else {
			rest = append(rest, f)
		}
	}
	if len(files) > 0 {
		c.unnamed(dir, files)
		return files, rest
	}
	named, err := compose.Default(dir, func(p string) ([]byte, error) { data, _, err := readRegular(p); return data, err })
	if err != nil {
		c.unreadable(filepath.Join(dir, ".env"), err)
		return nil, nil
	}
	for _, p := range named {
		i := slices.IndexFunc(found, func(f composeFile) bool { return filepath.Clean(f.path) == filepath.Clean(p) })
		if i >= 0 {
			files = append(files, found[i])
			continue
		}
		data, info, err := readRegular(p)
		if err != nil {
			c.unreadable(p, err)
			return nil, nil
		}
		c.opened(info)
		files = append(files, composeFile{p, data, false, found[0].within})
	}
	rest = slices.DeleteFunc(rest, func(f composeFile) bool {
		return slices.ContainsFunc(files, func(o composeFile) bool { return filepath.Clean(o.path) == filepath.Clean(f.path) })
	})
	return files, rest
}

// unnamed tells of an override beside the one file that was named: docker compose takes it when it is given no names.
func (c *collector) unnamed(dir string, files []composeFile) {
	names, overrides := compose.Names()
	if len(files) != 1 || !slices.Contains(names, filepath.Base(files[0].path)) {
		return
	}
	for _, o := range overrides {
		if _, err := os.Stat(filepath.Join(dir, o)); err == nil {
			c.tell(filepath.Join(dir, o), descriptor.RuleNotJudged, policy.SeverityWarning,
				"an override that docker compose takes by itself: it was not judged, since the other file was named alone; name both, or the folder")
			return
		}
	}
}

// project reads one project, and says which other files it read.
func (c *collector) project(found []composeFile) []string {
	p := compose.Project{Options: c.options.Compose, Name: report, Read: c.readOf, Root: real(c.options.RootDir), Within: real(found[0].within)}
	for _, f := range found {
		abs, err := filepath.Abs(f.path)
		if err != nil {
			c.unreadable(f.path, err)
			return nil
		}
		p.Files = append(p.Files, compose.File{Path: abs, Data: f.data})
	}
	if dir := real(filepath.Dir(p.Files[0].Path)); dir != "" { // links in the way to it are no way out
		p.Files[0].Path = filepath.Join(dir, filepath.Base(p.Files[0].Path))
	}
	r := compose.Read(p)
	var from texts
	for _, f := range found {
		from = append(from, text{report(f.path), f.data})
	}
	from.show(r.Loads, r.Findings)
	c.judgeable(found[0].path, r.Loads, r.Findings)
	return r.Used
}

// readOf reads a file that a descriptor refers to.
func (c *collector) readOf(p string) ([]byte, error) {
	data, info, err := readRegular(p)
	if err == nil {
		c.opened(info)
	}
	return data, err
}

// real is an absolute path without links, "" for one that is not there.
func real(p string) string {
	if p == "" {
		return ""
	}
	abs, err := filepath.Abs(p)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return ""
	}
	return abs
}
