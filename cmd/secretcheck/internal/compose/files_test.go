package compose

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// written writes files, the first named compose.yaml, and gives the project.
func written(t testing.TB, dir string, files map[string]string) Project {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "compose.yaml")
	return Project{
		Files: []File{{path, []byte(files[path])}}, Within: dir, Read: os.ReadFile,
		Name: func(p string) string { return strings.TrimPrefix(p, dir+"/") },
	}
}
