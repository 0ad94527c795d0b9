package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
	"github.com/llorch/secrets-management/policy/rego"
)

func ids(from string) []string {
	var list []string
	for _, r := range All() {
		if r.From == from {
			list = append(list, r.ID)
		}
	}
	return list
}

// Evidence for CHK-1080.
func TestCHK1080Pages(t *testing.T) {
	shape := regexp.MustCompile("^[a-z0-9_]{1,64}$")
	seen := map[string]bool{}
	for _, r := range All() {
		if seen[r.ID] || !shape.MatchString(r.ID) {
			t.Errorf("%q is there twice, or no id", r.ID)
		}
		seen[r.ID] = true
		for _, text := range []string{r.Summary, r.Means, r.Why, r.Example, r.Fix, r.Severity()} {
			if strings.TrimSpace(text) == "" {
				t.Errorf("%s: a part of the page is empty", r.ID)
			}
		}
		if strings.HasSuffix(r.Summary, ".") || strings.Contains(r.Summary, "\n") {
			t.Errorf("%s: the summary is not one line without a full stop", r.ID)
		}
	}
}

// Every reason code of the default rules has a page, and no other is called one.
// Evidence for CHK-1080.
func TestCHK1080PolicyCodes(t *testing.T) {
	var codes []string
	for _, c := range rego.Codes() {
		codes = append(codes, c.Code)
	}
	if got := ids(FromPolicy); !slices.Equal(got, codes) {
		t.Errorf("pages\n%q\ncodes\n%q", got, codes)
	}
	own := []string{rego.RuleCompile, rego.RuleDynamicInput, rego.RuleSilentBuiltin, rego.RuleSlowBuiltin, rego.RuleWholeInput}
	slices.Sort(own)
	if got := ids(FromPolicyCheck); !slices.Equal(got, own) {
		t.Errorf("pages %q, rules %q", got, own)
	}
}

// An example that is a unit gives the finding that its page is about.
// Evidence for CHK-1080.
func TestCHK1080Examples(t *testing.T) {
	tried := 0
	for _, r := range All() {
		if !strings.HasPrefix(r.Example, "[Service]") {
			continue
		}
		tried++
		loads, findings := systemd.Read(systemd.Unit{Name: "app.service", Files: []systemd.File{{Name: "app.service", Data: []byte(r.Example)}}})
		var got []string
		for _, f := range findings {
			got = append(got, f.Rule)
			if f.Rule == r.ID && !slices.Contains(r.Severities, f.Severity) {
				t.Errorf("%s: the severity is %s", r.ID, f.Severity)
			}
		}
		for _, l := range loads {
			if l.Doubt != nil {
				got = append(got, l.Doubt.Rule)
			}
		}
		if !slices.Contains(got, r.ID) {
			t.Errorf("%s: the example gives %q", r.ID, got)
		}
	}
	if tried < 15 {
		t.Errorf("%d examples were tried", tried)
	}
}

// The specification and the pages list the same rules of check, with the same severities.
// Evidence for CHK-1081.
func TestCHK1081Specification(t *testing.T) {
	data, err := os.ReadFile("../../../../.specs/40_secretcheck.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "\n## Findings\n")
	section, _, _ = strings.Cut(section, "\n## ")
	specified := map[string]string{}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.Contains(cells[1], "`") {
			continue
		}
		for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
			specified[m[1]] = strings.TrimSpace(cells[2])
		}
	}
	pages := map[string]string{}
	for _, r := range All() {
		if r.From == FromCheck {
			pages[r.ID] = r.Severity()
		}
	}
	for _, id := range slices.Sorted(maps.Keys(pages)) {
		if specified[id] != pages[id] {
			t.Errorf("%s: severity %q in the specification, %q on its page", id, specified[id], pages[id])
		}
	}
	for id := range specified {
		if pages[id] == "" {
			t.Errorf("%s is specified and has no page", id)
		}
	}
}

// No finding of this program can have a rule without a page: wherever one is made, its rule is a constant with a page, or
// handed on.
// Evidence for CHK-1081.
func TestCHK1081NoOtherRule(t *testing.T) {
	s := sources{constants: map[string]string{}, parameters: map[string]int{}}
	s.read(t, "../..")
	for _, f := range s.files {
		s.of = f.Name.Name
		s.declarations(f)
	}
	for name, id := range s.constants {
		if _, ok, _ := Find(id); !ok {
			t.Errorf("%s is %q, which has no page", name, id)
		}
	}
	for _, f := range s.files {
		s.of = f.Name.Name
		ast.Inspect(f, func(n ast.Node) bool {
			for _, value := range s.ruleValues(n) {
				if !s.known(value) {
					t.Errorf("%s: a rule that is neither a constant nor handed on", s.set.Position(value.Pos()))
				}
				s.uses++
			}
			return true
		})
	}
	if len(s.constants) < 30 || s.uses < 40 {
		t.Errorf("%d constants and %d uses of rules were found", len(s.constants), s.uses)
	}
}

type sources struct {
	set        *token.FileSet
	files      []*ast.File
	constants  map[string]string // RuleX and its id
	parameters map[string]int    // functions, and which of their parameters is a rule
	uses       int
	of         string // the package that is being read
}

func (s *sources) read(t *testing.T, dir string) {
	t.Helper()
	s.set = token.NewFileSet()
	err := filepath.WalkDir(dir, func(p string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") || strings.Contains(p, "/rules/") {
			return err
		}
		f, err := parser.ParseFile(s.set, p, nil, 0)
		s.files = append(s.files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *sources) declarations(f *ast.File) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch d := n.(type) {
		case *ast.ValueSpec:
			for i, name := range d.Names {
				if i < len(d.Values) && strings.HasPrefix(name.Name, "Rule") {
					if lit, ok := d.Values[i].(*ast.BasicLit); ok {
						s.constants[name.Name], _ = strconv.Unquote(lit.Value)
					}
				}
			}
		case *ast.FuncDecl:
			at := 0
			for _, field := range d.Type.Params.List {
				for _, name := range field.Names {
					if name.Name == "rule" {
						s.parameters[s.of+"."+d.Name.Name] = at
					}
					at++
				}
			}
		}
		return true
	})
}

// ruleValues are the expressions that a rule is taken from at n.
func (s *sources) ruleValues(n ast.Node) []ast.Expr {
	switch d := n.(type) {
	case *ast.CompositeLit:
		var values []ast.Expr
		for _, e := range d.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok && isRuleField(kv.Key) {
				values = append(values, kv.Value)
			}
		}
		return values
	case *ast.AssignStmt:
		var values []ast.Expr
		for i, left := range d.Lhs {
			if sel, ok := left.(*ast.SelectorExpr); ok && isRuleField(sel.Sel) && len(d.Rhs) == len(d.Lhs) {
				values = append(values, d.Rhs[i])
			}
		}
		return values
	case *ast.CallExpr:
		name := ""
		switch f := d.Fun.(type) {
		case *ast.Ident:
			name = s.of + "." + f.Name
		case *ast.SelectorExpr:
			name = s.of + "." + f.Sel.Name
			if x, ok := f.X.(*ast.Ident); ok {
				if _, other := s.parameters[x.Name+"."+f.Sel.Name]; other {
					name = x.Name + "." + f.Sel.Name
				}
			}
		}
		if at, ok := s.parameters[name]; ok && at < len(d.Args) {
			return []ast.Expr{d.Args[at]}
		}
	}
	return nil
}

func isRuleField(key ast.Expr) bool {
	id, ok := key.(*ast.Ident)
	return ok && (id.Name == "Rule" || id.Name == "Code")
}

// known reports whether a value is a constant with a page, or a rule that was looked at where it came from.
func (s *sources) known(value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.BasicLit:
		id, err := strconv.Unquote(v.Value)
		_, ok, _ := Find(id)
		return err == nil && ok
	case *ast.Ident:
		return v.Name == "rule" || strings.HasPrefix(v.Name, "Rule")
	case *ast.SelectorExpr:
		return isRuleField(v.Sel) || strings.HasPrefix(v.Sel.Name, "Rule")
	}
	return false
}
