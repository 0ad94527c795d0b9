package trace

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var write = flag.Bool("write", false, "write docs/audit.md")

const audit = "docs/audit.md"

// TestMatrix: docs/audit.md says which tests stand behind which requirement, as it is now.
func TestMatrix(t *testing.T) {
	root := repository(t)
	found, err := scan(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	text, file := found.matrix(), filepath.Join(root, audit)
	if *write {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	was, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(was, []byte(text)) {
		t.Errorf("%s is not what the tests say: run make trace and commit it (%v)", audit, err)
	}
}

// matrix is a table for each specification: requirement and tests.
func (t *traced) matrix() string {
	var b strings.Builder
	b.WriteString("# Which tests stand behind which requirement\n\nWritten by `make trace` from `.specs` and the tests; do not edit. " +
		"What an id demands stands in the specification under which it is listed.\n")
	specs := map[string][]string{}
	for id, at := range t.defined {
		spec, _, _ := strings.Cut(at[0], ":")
		specs[spec] = append(specs[spec], id)
	}
	var names []string
	for spec := range specs {
		names = append(names, spec)
	}
	slices.Sort(names)
	total := 0
	for _, spec := range names {
		fmt.Fprintf(&b, "\n## %s\n\n| requirement | tests |\n|---|---|\n", spec)
		slices.Sort(specs[spec])
		for _, id := range specs[spec] {
			by := slices.Clone(t.by[id])
			slices.Sort(by)
			by = slices.Compact(by)
			total += len(by)
			fmt.Fprintf(&b, "| %s | %s |\n", id, strings.ReplaceAll(strings.Join(by, "<br>"), "|", "\\|"))
		}
	}
	fmt.Fprintf(&b, "\n%d requirements, %d pairs of a requirement and a test.\n", len(t.defined), total)
	return b.String()
}

// TestWhoCites: to which test a citation belongs.
func TestWhoCites(t *testing.T) {
	found, err := scan(files(spec, "- **POL-1** x\n- **POL-2** x\n- **POL-3** x", test,
		"// POL-1 above\nfunc TestOne(t *testing.T) {\n\t// POL-2 inside\n}\n// POL-3, POL-1.\nfunc (w *world) helper() {",
		"f/a.feature", "@POL-2\nScenario: It holds | always\n", "r/a_test.rego", "# POL-3\ntest_it if {", "s/testdata/script/a.txtar", "# POL-3\nfunc X("))
	if err != nil {
		t.Fatal(err)
	}
	want := `| POL-1 | policy: TestOne<br>policy: helper |
| POL-2 | f: It holds \| always<br>policy: TestOne |
| POL-3 | policy: helper<br>r: test_it<br>s/testdata/script: a.txtar |
`
	if got := found.matrix(); !strings.Contains(got, want) || !strings.Contains(got, "3 requirements, 7 pairs") {
		t.Errorf("%s", got)
	}
}
