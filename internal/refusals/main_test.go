package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRun: SEC-SECRET-061. A refusal without a test fails in a package that guards, is listed elsewhere, and can be explained.
func TestRun(t *testing.T) {
	source := func(comment string) string {
		return "package p\n\nfunc f(bad bool) error {\n\tif bad {\n\t\treturn errBad" + comment + "\n\t}\n\treturn nil\n}\n"
	}
	cover := func(n string) string { return ".go:3.1,4.9 1 5\nX.go:4.9,6.3 1 " + n + "\nX.go:7.2,7.12 1 5\n" }
	for name, tt := range map[string]struct {
		folder, comment, count string
		code                   int
		says                   string
	}{
		"taken":             {"policy", "", "3", 0, "0 in secret"},
		"not taken":         {"policy", "", "0", 1, "policy/x.go:5: return errBad"},
		"explained":         {"policy", " // not covered: only a kernel that lies gets here", "0", 0, "1 explained"},
		"explained by none": {"policy", " // not covered:", "0", 1, "policy/x.go:5"},
		"elsewhere":         {"cmd", "", "0", 0, "cmd/x.go:5: return errBad"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			profile := "mode: set\n"
			for _, folder := range append([]string{"cmd"}, strict...) {
				count, comment := "1", ""
				if folder == tt.folder {
					count, comment = tt.count, tt.comment
				}
				if err := os.Mkdir(folder, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(folder, "x.go"), []byte(source(comment)), 0o600); err != nil {
					t.Fatal(err)
				}
				file := module + folder + "/x"
				profile += file + strings.ReplaceAll(cover(count), "X.go", file+".go")
			}
			if err := os.WriteFile("a.out", []byte(profile), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			if code := run([]string{"a.out"}, &out, &errs); code != tt.code || !strings.Contains(out.String(), tt.says) {
				t.Errorf("code %d, %s%s", code, &out, &errs)
			}
		})
	}
	for name, profile := range map[string]string{"empty": "", "nonsense": "a.go:x\n", "a package is missing": "mode: set\n"} {
		t.Chdir(t.TempDir())
		if err := os.WriteFile("a.out", []byte(profile), 0o600); err != nil {
			t.Fatal(err)
		}
		if code := run([]string{"a.out"}, &bytes.Buffer{}, &bytes.Buffer{}); code != 2 {
			t.Errorf("%s: code %d", name, code)
		}
	}
}
