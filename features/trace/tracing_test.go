package trace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestTracing: every requirement has a test that cites it, and every id that a test cites is a requirement.
func TestTracing(t *testing.T) {
	found, err := scan(os.DirFS(repository(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range found.faults() {
		t.Error(fault)
	}
	t.Logf("%d requirements, %d ids cited", len(found.defined), len(found.cited))
}

// repository is the folder with the module's go.mod.
func repository(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		} else if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			t.Fatalf("no go.mod above this folder: %v", err)
		}
		dir = filepath.Dir(dir)
	}
}

// files makes a tree of names with their contents.
func files(pairs ...string) fstest.MapFS {
	tree := fstest.MapFS{}
	for i := 0; i+1 < len(pairs); i += 2 {
		tree[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return tree
}

const spec, spec2, test = ".specs/30_policy.md", ".specs/40_other.md", "policy/engine_test.go"

// TestFaults shows each fault in a tree that has no other.
func TestFaults(t *testing.T) {
	tests := map[string]struct {
		tree fstest.MapFS
		want []string
	}{
		"nothing at all":         {files("README.md", "x"), []string{"no requirement is defined in .specs", "no test cites a requirement"}},
		"no requirement":         {files(test, "POL-1"), []string{"POL-1 is cited and not defined: policy/engine_test.go:1", "no requirement is defined in .specs"}},
		"no citation":            {files(spec, "- **POL-1** x"), []string{"POL-1 has no test: .specs/30_policy.md:1", "no test cites a requirement"}},
		"requirement untested":   {files(spec, "\n- **POL-1** x\n- **POL-2** x", test, "POL-1"), []string{"POL-2 has no test: .specs/30_policy.md:3"}},
		"citation of nothing":    {files(spec, "- **POL-1** x", test, "POL-1\nCHK-7"), []string{"CHK-7 is cited and not defined: policy/engine_test.go:2"}},
		"defined twice":          {files(spec, "- **POL-1** x\n- **POL-1** y", test, "POL-1"), []string{"POL-1 is defined more than once: .specs/30_policy.md:1, .specs/30_policy.md:2"}},
		"defined in two files":   {files(spec, "- **POL-1** x", spec2, "- **POL-1** y", test, "POL-1"), []string{"POL-1 is defined more than once: .specs/30_policy.md:1, .specs/40_other.md:1"}},
		"a prefix of another":    {files(spec, "- **POL-10** x\n- **POL-1** x\n- **POL-2** x", test, "POL-1 POL-10 POL-2"), []string{"POL-10 begins with POL-1, which is an id of its own: .specs/30_policy.md:1"}},
		"an id of no known kind": {files(spec, "- **FOO-1** x\n- **POL-1** x", test, "POL-1 FOO-1"), []string{"FOO-1 has no test: .specs/30_policy.md:1", "FOO-1 is no id that citations are searched for: .specs/30_policy.md:1"}},
		"named in the text only": {files(spec, "- **POL-1** x\n  - **POL-2** x\nPOL-3, **POL-4**", test, "POL-1 POL-3"), []string{"POL-3 is cited and not defined: policy/engine_test.go:1"}},
		"a test named after one": {files(spec, "- **POL-1** x", test, "POL-1\nfunc TestCHK1007Fingerprint(t *testing.T) {"), []string{"CHK-1007 is cited and not defined: policy/engine_test.go:2"}},
		"a test that is gone":    {files(spec, "- **POL-1** x\n| `TestGone`, `TestThere` |", test, "POL-1\nfunc TestThere(t *testing.T) {\n// func TestGone("), []string{"TestGone is named and does not exist: .specs/30_policy.md:2"}},
		"a script that is gone":  {files(spec, "- **POL-1** x `gone.txtar` `a.feature`", test, "POL-1", "f/a.feature", ""), []string{"gone.txtar is named and does not exist: .specs/30_policy.md:1"}},
		"a range with a hole":    {files(spec, "- **POL-1** x\n- **POL-3** x", test, "POL-1..3"), []string{"POL-2 is cited and not defined: policy/engine_test.go:1"}},
		"a range backwards":      {files(spec, "- **POL-1** x", test, "POL-1 POL-3..1"), []string{"POL-3..1 is cited and not defined: policy/engine_test.go:1"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			found, err := scan(tt.tree)
			if err != nil {
				t.Fatal(err)
			}
			if got := found.faults(); !slices.Equal(got, tt.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(tt.want, "\n  "))
			}
		})
	}
}

// TestEvidence: which files count, with a control: the same id in a place that counts has no fault.
func TestEvidence(t *testing.T) {
	for file, counts := range map[string]bool{
		"policy/engine_test.go": true, "engine_test.go": true, "cmd/secretcheck/testdata/script/help.txtar": true,
		"policy/rego/load_test.rego": true, "features/file_loading.feature": true, "docs/other.feature": true,

		"policy/engine.go": false, "policy/rego/load.rego": false, "README.md": false, "kdf/testdata/key_test.txt": false,
		"cmd/secretcheck/testdata/other/help.txtar": false, "features/world_test.go": false, "features/trace/scan_test.go": false,
		".git/x_test.go": false, ".tools/x_test.go": false, "vendor/a/x_test.go": false, ".specs/x_test.go.txt": false,
	} {
		found, err := scan(files(spec, "- **POL-1** x", file, "@POL-1"))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(found.faults()) == 0; got != counts {
			t.Errorf("%s: counts %v, want %v", file, got, counts)
		}
	}
	for spec, counts := range map[string]bool{
		".specs/00_x.md": true, ".specs/sub/x.md": false, "docs/.specs/x.md": false, ".specs/x.txt": false, "x.md": false,
	} {
		found, err := scan(files(spec, "- **POL-1** x", test, "POL-1"))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(found.faults()) == 0; got != counts {
			t.Errorf("%s: counts %v, want %v", spec, got, counts)
		}
	}
}

// TestCitations: in which forms an id can be cited.
func TestCitations(t *testing.T) {
	for text, want := range map[string]string{
		"// SM-LOAD-4001, SEC-SECRET-020.":             "SEC-SECRET-020 SM-LOAD-4001",
		`t.Run("EXP-CROSS-7001 x"; "POL-1/y" "OPS-2")`: "EXP-CROSS-7001 OPS-2 POL-1",
		"SEC-SECRET-040..042":                          "SEC-SECRET-040 SEC-SECRET-041 SEC-SECRET-042",
		"CHK-1009..1011 CI-005":                        "CHK-1009 CHK-1010 CHK-1011 CI-005",
		"func TestPOL2001Guests(":                      "POL-2001",
		"func FuzzCHK1010(":                            "CHK-1010",
		"func helperCHK1010(":                          "",
		"SEC-VULN-3 XPOL-1 pol-1 SM-4001 POL-x SM-":    "",
	} {
		found, err := scan(files(test, text))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for id := range found.cited {
			got = append(got, id)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	found, err := scan(files("f.feature", "# POL-1\nScenario: POL-2\n  @POL-3 @POL-4\n"))
	if err != nil || len(found.cited) != 2 || found.cited["POL-3"] == nil || found.cited["POL-4"] == nil {
		t.Errorf("a feature cites by its tags only: %v, error %v", found.cited, err)
	}
}

// TestUnreadable: what cannot be read is not passed over.
func TestUnreadable(t *testing.T) {
	if _, err := scan(os.DirFS(filepath.Join(t.TempDir(), "nowhere"))); err == nil {
		t.Error("a tree that is not there has no error")
	}
}
