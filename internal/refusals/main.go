// Command refusals reads coverage profiles and lists the refusals that no test takes: each return whose last value is not
// nil, true or a plain variable that says so. In the packages that decide and guard there may be none, unless a comment
// behind it says why a test cannot take it: "// not covered: WHY". It exits 1 if there is one, and 2 if it cannot tell.
package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

const module = "github.com/llorch/secrets-management/"

// strict are the packages in which every refusal has a test.
var strict = []string{"secret", "kdf", "policy", "loader"} //nolint:gochecknoglobals // a constant

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) //nolint:forbidigo // the exit code is the result
}

func run(profiles []string, stdout, stderr io.Writer) int {
	covered, err := read(profiles)
	if err == nil && len(covered) == 0 {
		err = errors.New("no coverage profile, or an empty one")
	}
	bad, explained := 0, 0
	seen := map[string]bool{}
	for _, file := range slices.Sorted(maps.Keys(covered)) {
		var list []refusal
		if err == nil {
			list, err = refusals(file, covered[file])
		}
		folder := path.Dir(file)
		seen[folder] = true
		for _, r := range list {
			switch {
			case r.why != "":
				explained++
			default:
				_, _ = fmt.Fprintf(stdout, "%s:%d: %s\n", file, r.line, r.text)
				if slices.Contains(strict, folder) {
					bad++
				}
			}
		}
	}
	for _, folder := range strict {
		if err == nil && !seen[folder] {
			err = fmt.Errorf("nothing is known of %s", folder)
		}
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "refusals:", err)
		return 2
	}
	_, _ = fmt.Fprintf(stdout, "refusals that no test takes: %d in %s, %d explained\n", bad, strings.Join(strict, ", "), explained)
	return min(bad, 1)
}

// block is a stretch of code that runs as a whole, with how often it did.
type block struct {
	from, to place
	count    int
}

type place struct{ line, column int }

func (p place) before(q place) bool {
	return cmp.Or(cmp.Compare(p.line, q.line), cmp.Compare(p.column, q.column)) <= 0
}

// read adds up profiles, by file from the root of the module.
func read(profiles []string) (map[string][]block, error) {
	type span struct {
		file     string
		from, to place
	}
	counts := map[span]int{}
	for _, name := range profiles {
		f, err := os.Open(name) //nolint:gosec // G304: the profiles that the caller names
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			file, rest, ok := strings.Cut(lines.Text(), ".go:")
			if !ok {
				continue // the mode
			}
			var s span
			var statements, count int
			if _, err := fmt.Sscanf(rest, "%d.%d,%d.%d %d %d", &s.from.line, &s.from.column, &s.to.line, &s.to.column, &statements, &count); err != nil {
				return nil, errors.Join(fmt.Errorf("%s: %q: %w", name, lines.Text(), err), f.Close())
			}
			s.file = strings.TrimPrefix(file, module) + ".go"
			counts[s] += count
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return nil, err
		}
	}
	all := map[string][]block{}
	for s, n := range counts {
		all[s.file] = append(all[s.file], block{s.from, s.to, n})
	}
	return all, nil
}

// refusal is a return that no test takes.
type refusal struct {
	line      int
	text, why string
}

const explanation = "// not covered: "

func refusals(file string, blocks []block) ([]refusal, error) {
	source, err := os.ReadFile(file) //nolint:gosec // G304: a file of this module
	if err != nil {
		return nil, err
	}
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(source), "\n")
	var list []refusal
	ast.Inspect(tree, func(n ast.Node) bool {
		r, ok := n.(*ast.ReturnStmt)
		if !ok || !refuses(r) {
			return true
		}
		at := files.Position(r.Pos())
		here := place{at.Line, at.Column}
		for _, b := range blocks {
			if b.count == 0 && b.from.before(here) && here.before(b.to) {
				text := strings.TrimSpace(lines[at.Line-1])
				_, why, _ := strings.Cut(text, explanation)
				list = append(list, refusal{at.Line, text, why})
			}
		}
		return true
	})
	return list, nil
}

// refuses reports whether a return gives an error, or anything else than a plain yes.
func refuses(r *ast.ReturnStmt) bool {
	if len(r.Results) == 0 {
		return false
	}
	last, ok := r.Results[len(r.Results)-1].(*ast.Ident)
	return !ok || last.Name != "nil" && last.Name != "true"
}
