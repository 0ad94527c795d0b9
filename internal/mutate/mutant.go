package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// lists is where the mutants are, a file for each concern. A mutant is
//
//	== NAME
//	file PATH
//	tests PACKAGE PATTERN
//	-old line
//	+new line
//
// with "# " comments and empty lines anywhere before the next one. Lines with a space in front stand in the old text and
// in the new one. The old text is whole lines that occur once in the file.
const lists = "testdata/mutants/*.txt"

// mutant is one change that the tests must notice.
type mutant struct {
	name    string
	file    string // by its path in the module
	pkg     string // whose tests, as ./path
	pattern string // which of them, as for go test -run
	from    []string
	to      []string
}

// readAll reads all lists. Names are unique among them.
func readAll(tree fs.FS) ([]mutant, error) {
	files, err := fs.Glob(tree, lists)
	if err != nil {
		return nil, err
	}
	var all []mutant
	places := map[string]string{}
	for _, file := range files {
		content, err := fs.ReadFile(tree, file)
		if err != nil {
			return nil, err
		}
		list, err := parse(string(content))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, m := range list {
			if other, ok := places[m.name]; ok {
				return nil, fmt.Errorf("%s: the mutant %q is in %s too", file, m.name, other)
			}
			places[m.name] = file
		}
		all = append(all, list...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there is no mutant in %s", lists)
	}
	return all, nil
}

func parse(text string) ([]mutant, error) {
	var list []mutant
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "== "); ok {
			list = append(list, mutant{name: name})
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		if len(list) == 0 {
			return nil, fmt.Errorf("line %d: it belongs to no mutant", n)
		}
		if err := list[len(list)-1].add(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	for _, m := range list {
		if err := m.check(); err != nil {
			return nil, fmt.Errorf("%q: %w", m.name, err)
		}
	}
	return list, nil
}

func (m *mutant) add(line string) error {
	switch line[0] {
	case '-':
		m.from = append(m.from, line[1:])
		return nil
	case '+':
		m.to = append(m.to, line[1:])
		return nil
	case ' ':
		m.from, m.to = append(m.from, line[1:]), append(m.to, line[1:])
		return nil
	}
	switch words := strings.Fields(line); {
	case len(words) == 2 && words[0] == "file" && m.file == "":
		m.file = words[1]
	case len(words) == 3 && words[0] == "tests" && m.pkg == "":
		m.pkg, m.pattern = words[1], words[2]
	default:
		return fmt.Errorf("%.60q is not understood", line)
	}
	return nil
}

func (m *mutant) check() error {
	switch {
	case m.name == "" || m.file == "" || m.pkg == "" || len(m.from) == 0:
		return errors.New("name, file, tests or the old text is missing")
	case !fs.ValidPath(m.file), !strings.HasPrefix(m.pkg, "./"), path.Clean(m.pkg) != m.pkg[2:]:
		return errors.New("file and package must be paths in the module, that of the package with ./ in front")
	case strings.Join(m.from, "\n") == strings.Join(m.to, "\n"):
		return errors.New("it changes nothing")
	}
	return nil
}

// apply gives the mutated source.
func (m *mutant) apply(source string) (string, error) {
	from, to := "\n"+strings.Join(m.from, "\n")+"\n", "\n"
	if len(m.to) > 0 {
		to += strings.Join(m.to, "\n") + "\n"
	}
	source = "\n" + source // so that a first line can be matched like any other
	switch n := strings.Count(source, from); n {
	case 1:
		return strings.Replace(source, from, to, 1)[1:], nil
	default:
		return "", fmt.Errorf("the old text occurs %d times in %s, want once", n, m.file)
	}
}
