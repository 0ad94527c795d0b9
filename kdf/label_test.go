package kdf

import (
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// constants returns the values of the string constants that a package declares, by name.
func constants(t *testing.T, fset *token.FileSet, files []*ast.File) map[string]string {
	t.Helper()
	// Imports are not resolved: constants here need none, and what does is no constant.
	config := types.Config{Error: func(error) {}}
	pkg, _ := config.Check("kdf", fset, files, nil)
	found := map[string]string{}
	for _, name := range pkg.Scope().Names() {
		if c, ok := pkg.Scope().Lookup(name).(*types.Const); ok && c.Val().Kind() == constant.String {
			found[name] = constant.StringVal(c.Val())
		}
	}
	return found
}

// duplicates returns the names whose value another name has already.
func duplicates(values map[string]string) []string {
	var found []string
	owner := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if first, ok := owner[values[name]]; ok {
			found = append(found, first+" = "+name)
		}
		owner[values[name]] = name
	}
	return found
}

// TestNoDuplicateLabel: SEC-SECRET-044: one constant label per purpose and version, and no two of them equal.
func TestNoDuplicateLabel(t *testing.T) {
	fset := token.NewFileSet()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	labels := constants(t, fset, files)
	if labels["SealKeyV1"] != SealKeyV1 {
		t.Fatalf("the search does not find SealKeyV1: %v", labels)
	}
	if found := duplicates(labels); len(found) > 0 {
		t.Errorf("SEC-SECRET-044: the same label twice: %v", found)
	}
	form := regexp.MustCompile(`^llorch(-[a-z0-9]+)+$`)
	for name, label := range labels {
		if !form.MatchString(label) {
			t.Errorf("SEC-SECRET-044: %s names no project and use: %q", name, label)
		}
		version := 0
		if _, digits, ok := strings.Cut(name, "V"); ok {
			fmt.Sscan(digits, &version)
			want, err := Label(labels[strings.TrimSuffix(name, "V"+digits)], version)
			if err != nil || label != want {
				t.Errorf("SEC-SECRET-044: %s is %q, want %q (error %v)", name, label, want, err)
			}
		}
	}

	control, err := parser.ParseFile(fset, "control.go", `package kdf
const A = "llorch-a"
const AV1 = A + "-v1"
const B = "llorch-a-v1"`, 0)
	if err != nil {
		t.Fatal(err)
	}
	if found := duplicates(constants(t, fset, []*ast.File{control})); len(found) != 1 || found[0] != "AV1 = B" {
		t.Errorf("control: found %v", found)
	}
}

func TestLabel(t *testing.T) {
	tests := []struct {
		purpose string
		version int
		want    string // "": refused
	}{
		{SealKey, 0, ""},
		{SealKey, -1, ""},
		{SealKey, MaxVersion + 1, ""},
		{"", 1, ""},
		{"-", 1, ""},
		{"a--b", 1, ""},
		{"a-", 1, ""},
		{"Seal", 1, ""},
		{"seal key", 1, ""},
		{"seal_key", 1, ""},
		{"schlüssel", 1, ""},
		{"seal-v1", 1, ""},
		{"v2", 1, ""},
		{strings.Repeat("a", MaxDomain), 1, ""},

		{SealKey, 1, SealKeyV1},
		{SealKey, 2, "llorch-seal-key-v2"},
		{SealKey, MaxVersion, "llorch-seal-key-v9999"},
		{"seal-v1a", 1, "seal-v1a-v1"},
		{"v", 1, "v-v1"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("SEC-SECRET-044 %.20q %d", tt.purpose, tt.version), func(t *testing.T) {
			got, err := Label(tt.purpose, tt.version)
			if tt.want == "" {
				if !errors.Is(err, ErrDerivation) {
					t.Errorf("%q, error %v", got, err)
				}
			} else if got != tt.want || err != nil {
				t.Errorf("%q, error %v; want %q", got, err, tt.want)
			}
		})
	}
}

// TestVersionsAreIndependent: SEC-SECRET-044, SM-SCOPE-1002: another version is another key, and each stays what it was.
func TestVersionsAreIndependent(t *testing.T) {
	worker := mustToken(t, []byte("worker-token-0123456789"))
	seen := map[string]int{}
	for version := 1; version <= 20; version++ {
		label, err := Label(SealKey, version)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			k, err := keyBytes(worker, label)
			if err != nil {
				t.Fatal(err)
			}
			if before, ok := seen[string(k)]; ok && before != version {
				t.Errorf("versions %d and %d give one key", before, version)
			}
			seen[string(k)] = version
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d keys for 20 versions", len(seen))
	}
}

// TestLabelIsInjective: SEC-SECRET-044: two pairs of purpose and version never share a label.
func TestLabelIsInjective(t *testing.T) {
	purpose := rapid.StringMatching(`[av1-]{1,6}`)
	rapid.Check(t, func(t *rapid.T) {
		p, q := purpose.Draw(t, "p"), purpose.Draw(t, "q")
		v, w := rapid.IntRange(1, 12).Draw(t, "v"), rapid.IntRange(1, 12).Draw(t, "w")
		a, errA := Label(p, v)
		b, errB := Label(q, w)
		if errA == nil && errB == nil && (a == b) != (p == q && v == w) {
			t.Errorf("%q %d and %q %d: %q", p, v, q, w, a)
		}
	})
}
