package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Which of the two engines judges changes no verdict, only how long it takes: the interpreter is for little.
func TestFew(t *testing.T) {
	dir := func(t *testing.T, files, bytes int) string {
		t.Helper()
		d := filepath.Join(t.TempDir(), "units")
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		for i := range files {
			if err := os.WriteFile(filepath.Join(d, strconv.Itoa(i)), make([]byte, bytes), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return d
	}
	linked := dir(t, 1, 1)
	if err := os.Symlink("0", filepath.Join(linked, "link")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		paths []string
		want  bool
	}{
		{"a folder of one unit", []string{dir(t, 1, 500)}, true},
		{"a file", []string{filepath.Join(dir(t, 1, fewBytes), "0")}, true},
		{"a file that is larger", []string{filepath.Join(dir(t, 1, fewBytes+1), "0")}, false},
		{"two folders that are too much together", []string{dir(t, 1, fewBytes), dir(t, 1, 1)}, false},
		{"as many as it looks at", []string{dir(t, fewEntries-1, 1)}, true}, // and the folder
		{"one more", []string{dir(t, fewEntries, 1)}, false},
		{"a link, to who knows how much", []string{linked}, false},
		{"what does not exist", []string{filepath.Join(linked, "no")}, false},
		{"standard input", []string{"-"}, false},
		{"nothing", nil, false},
	}
	for _, tt := range tests {
		if got := few(tt.paths); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
