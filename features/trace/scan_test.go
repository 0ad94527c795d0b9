package trace

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// places are where an id stands, as "file:line".
type places map[string][]string

func (p places) add(id, file string, line int) {
	p[id] = append(p[id], fmt.Sprintf("%s:%d", file, line))
}

// traced is what a tree says about requirements: where ids are defined and cited, which tests and other files of
// evidence the specifications name, and which there are.
type traced struct {
	defined, cited, named, there places

	by      map[string][]string // the tests that cite an id, as "folder: name"
	current string              // the test that is being read, as in by
	waiting []string            // ids that stand above the name of their test
}

const ids = `(?:SM-[A-Z]+|EXP-[A-Z]+|SEC-SECRET|POL|CHK|CI|OPS|IDN|AUD|SVC)-[0-9]+`

var (
	id = regexp.MustCompile(`^` + ids + `$`)

	// definition is a requirement: a line of a specification that begins with an id in bold. Ids elsewhere in the text
	// define nothing, so that what is not built yet can be named.
	definition = regexp.MustCompile(`^- \*\*([A-Z][A-Z0-9-]*[0-9])\*\*`)

	// citation is an id, or a range such as CHK-1010..1018.
	citation = regexp.MustCompile(`\b(` + ids + `)(?:\.\.([0-9]+)\b)?`)

	// name is a test that is named after its requirement. A Go name cannot hold the hyphen.
	name = regexp.MustCompile(`^func (?:Test|Fuzz|Benchmark)(POL|CHK|CI|OPS|IDN|AUD|SVC)([0-9]+)`)

	// evidence is how a specification names a test, script or feature; function is how a test names itself.
	evidence = regexp.MustCompile("`((?:Test|Fuzz)[A-Z0-9][A-Za-z0-9]*|[a-z0-9_]+\\.(?:txtar|feature))`")
	function = regexp.MustCompile(`^func ((?:Test|Fuzz)[A-Z0-9][A-Za-z0-9]*)\(`)

	// beginning is where a test begins, or a table or helper that tests share.
	beginning = map[string]*regexp.Regexp{
		".go": regexp.MustCompile(`^func (?:\([^)]*\) )?([A-Za-z0-9_]+)`), ".feature": regexp.MustCompile(`^\s*Scenario(?: Outline)?: (.*\S)`),
		".rego": regexp.MustCompile(`^(test_[a-z0-9_]+)`),
	}
)

// elsewhere are folders that hold nothing of the project's own.
var elsewhere = []string{".git", ".tools", "vendor", "node_modules"}

// scan reads the specifications and the tests of a repository.
func scan(tree fs.FS) (*traced, error) {
	t := &traced{defined: places{}, cited: places{}, named: places{}, there: places{}, by: map[string][]string{}}
	err := fs.WalkDir(tree, ".", func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains(elsewhere, entry.Name()):
			return fs.SkipDir
		case entry.Type().IsRegular() && isSpec(file):
			return t.read(tree, file, t.define)
		case entry.Type().IsRegular() && isTest(file):
			t.there.add(path.Base(file), file, 1)
			t.current, t.waiting = path.Dir(file)+": "+path.Base(file), nil
			return t.read(tree, file, t.cite)
		}
		return nil
	})
	return t, err
}

func isSpec(file string) bool { return path.Dir(file) == ".specs" && path.Ext(file) == ".md" }

func isTest(file string) bool {
	switch {
	case strings.HasSuffix(file, "_test.go"):
		return true
	case strings.HasSuffix(path.Dir(file), "testdata/script"):
		return path.Ext(file) == ".txtar"
	}
	return strings.HasSuffix(file, "_test.rego") || path.Ext(file) == ".feature"
}

func (t *traced) read(tree fs.FS, file string, line func(file string, n int, text string)) error {
	content, err := fs.ReadFile(tree, file)
	if err != nil {
		return err
	}
	n := 0
	for text := range strings.Lines(string(content)) {
		n++
		line(file, n, text)
	}
	return nil
}

func (t *traced) define(file string, n int, text string) {
	if m := definition.FindStringSubmatch(text); m != nil {
		t.defined.add(m[1], file, n)
	}
	for _, m := range evidence.FindAllStringSubmatch(text, -1) {
		t.named.add(m[1], file, n)
	}
}

func (t *traced) cite(file string, n int, text string) {
	if m := function.FindStringSubmatch(text); m != nil {
		t.there.add(m[1], file, n)
	}
	if begins := beginning[path.Ext(file)]; begins != nil {
		if m := begins.FindStringSubmatch(text); m != nil {
			t.begin(path.Dir(file) + ": " + m[1])
		}
	}
	switch {
	case path.Ext(file) == ".feature" && !strings.HasPrefix(strings.TrimSpace(text), "@"):
		return // only a tag belongs to a scenario
	case path.Ext(file) == ".go" && strings.HasPrefix(file, "features/"):
		return // it drives the scenarios and this test, and is evidence for nothing by itself
	}
	if m := name.FindStringSubmatch(text); m != nil {
		t.add(m[1]+"-"+m[2], file, n, text)
	}
	for _, m := range citation.FindAllStringSubmatch(text, -1) {
		for _, id := range expand(m[1], m[2]) {
			t.add(id, file, n, text)
		}
	}
}

// begin is the next test. What stood in the comment or the tags above it belongs to it.
func (t *traced) begin(name string) {
	t.current = name
	for _, id := range t.waiting {
		t.by[id] = append(t.by[id], name)
	}
	t.waiting = nil
}

func (t *traced) add(id, file string, n int, text string) {
	t.cited.add(id, file, n)
	above := map[string]string{".go": "//", ".rego": "#"}[path.Ext(file)]
	if above != "" && strings.HasPrefix(text, above) || path.Ext(file) == ".feature" {
		t.waiting = append(t.waiting, id)
		return
	}
	t.by[id] = append(t.by[id], t.current)
}

// expand lists the ids of a range; without a last one it is the first alone. What is no range is given as it stands,
// which no requirement is called.
func expand(first, last string) []string {
	if last == "" {
		return []string{first}
	}
	at := strings.LastIndexByte(first, '-') + 1
	from, err := strconv.Atoi(first[at:])
	to, err2 := strconv.Atoi(last)
	if err != nil || err2 != nil || len(last) != len(first)-at || to <= from || to-from > 99 {
		return []string{first + ".." + last}
	}
	var list []string
	for n := from; n <= to; n++ {
		list = append(list, fmt.Sprintf("%s%0*d", first[:at], len(last), n))
	}
	return list
}
