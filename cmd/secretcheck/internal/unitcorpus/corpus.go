// Package unitcorpus is service units to compare a reader of units with a real systemd on: those that are installed on this
// machine, those of Debian's packages, and generated ones with hostile syntax. It is for tests only.
package unitcorpus

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Case is a unit with all files that make it up.
type Case struct {
	Name  string            // to start it by; the unit itself can have another
	Files map[string]string // by path from the root; "->X" is a symbolic link to X
}

// Installed lists the services below a root file system, each by the name PREFIX and its own. Of their settings only those
// are kept whose names begin with one of keep: the rest needs the programs and accounts of the package. Templates are
// started as the instance "i".
func Installed(root, prefix string, keep ...string) ([]Case, error) {
	units := map[string]string{}
	for _, dir := range []string{"etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system", "usr/lib/systemd/user"} {
		paths, err := filepath.Glob(filepath.Join(root, dir, "*.service"))
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			if info, err := os.Lstat(p); err != nil || !info.Mode().IsRegular() {
				continue
			}
			data, err := os.ReadFile(p)
			if err != nil {
				return nil, err
			}
			units[filepath.Base(p)] = string(data)
		}
	}
	return cases(units, prefix, keep), nil
}

func cases(units map[string]string, prefix string, keep []string) []Case {
	var list []Case
	for name, text := range units {
		name = prefix + strings.ReplaceAll(name, `\`, "_")
		c := Case{Name: name, Files: map[string]string{"etc/systemd/system/" + name: filter(text, keep)}}
		if strings.HasSuffix(name, "@.service") {
			c.Name = strings.Replace(name, "@.", "@i.", 1)
		}
		list = append(list, c)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// Distinct leaves of cases with the same text, but for their names, one: what is left of a unit without the settings that
// are kept is often nothing.
func Distinct(list []Case, keep ...string) []Case {
	var out []Case
	seen := map[string]bool{}
	for _, c := range list {
		for _, text := range c.Files {
			about := false
			for _, k := range keep {
				about = about || strings.Contains(text, k)
			}
			if about || !seen[text] {
				out = append(out, c)
			}
			seen[text] = true
		}
	}
	return out
}

// filter keeps headers, comments, and of the settings those whose keys begin so, with their continuations.
func filter(text string, keep []string) string {
	var out strings.Builder
	continued, kept := false, true
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		comment := strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";")
		if !continued && !comment {
			kept = trimmed == "" || strings.HasPrefix(trimmed, "[")
			for _, k := range keep {
				kept = kept || strings.HasPrefix(trimmed, k)
			}
		}
		if !comment {
			continued = strings.HasSuffix(strings.TrimRight(line, "\r\n"), `\`)
		}
		if kept || comment && !continued {
			out.WriteString(line)
		}
	}
	return out.String()
}

// Store is the files that the generated units load: credential stores, and a folder with much that a source can be. A value
// of "->X" is a symbolic link to X.
func Store() map[string]string {
	files := map[string]string{ //nolint:gosec // G101: there is no secret
		"etc/credstore/one": "from etc", "run/credstore/one": "from run", "usr/lib/credstore/two": "from usr/lib",
		"usr/local/lib/credstore/two": "from usr/local/lib", "etc/credstore/imp.a": "imported a", "run/credstore/imp.a": "not this one",
		"run/credstore/imp.b": "imported b", "etc/credstore/.hidden": "hidden", "usr/lib/credstore/link": "->../../../etc/credstore/one",
		"etc/credstore/dangling": "->nowhere", "run/credstore/dangling": "behind a dangling link",
		"etc/credstore/x y": "with a space", "etc/credstore/im": "short",
		"etc/store/one": "content one", "etc/store/two": "content two\n", "etc/store/empty": "", "etc/store/sp ace": "with a space",
		"etc/store/big": strings.Repeat("b", 700_000), "etc/store/full": strings.Repeat("f", 1<<20-1), "etc/store/over": strings.Repeat("o", 1<<20),
		"etc/store/tree/a": "tree a", "etc/store/tree/sub/b": "tree sub b", "etc/store/tree/.dot": "not this", "etc/store/tree/.dir/x": "nor this",
		"etc/store/tree/sub/deep/c": "tree sub deep c", "etc/store/tree/link": "->a", "etc/store/tree/z": "tree z",
		"etc/store/bad/na\u00efve": "its name is not ASCII", "etc/store/none/.dot": "nothing", "etc/store/links/only": "->../one",
		"etc/store/to-file": "->one", "etc/store/to-tree": "->/etc/store/tree", "etc/store/to-nothing": "->gone", "etc/store/loop": "->loop",
		"etc/store/other/a": "other a", "etc/store/inst/i": "of the instance",
	}
	for i := range 300 {
		files[fmt.Sprintf("etc/store/many/%03d", i)] = "m"
	}
	return files
}
