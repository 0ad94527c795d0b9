// Package release holds the test of what builds a release.
package release

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestActionsArePinned: SEC-SECRET-062. What runs for a release is named by its commit, and may do no more than it says.
func TestActionsArePinned(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", ".github", "workflows", "*.yml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("workflows %q, error %v", files, err)
	}
	pinned := regexp.MustCompile(`^[a-z0-9-]+/[a-z0-9-]+@[0-9a-f]{40}$`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var workflow struct {
			Permissions map[string]string
			Jobs        map[string]struct{ Steps []struct{ Uses string } }
		}
		if err := yaml.Unmarshal(text, &workflow); err != nil {
			t.Fatal(err)
		}
		if len(workflow.Permissions) != 1 || workflow.Permissions["contents"] != "read" {
			t.Errorf("%s: permissions %v", file, workflow.Permissions)
		}
		uses := 0
		for _, job := range workflow.Jobs {
			for _, step := range job.Steps {
				if step.Uses != "" {
					uses++
					if !pinned.MatchString(step.Uses) {
						t.Errorf("%s: %q is not pinned by a commit", file, step.Uses)
					}
				}
			}
		}
		if uses == 0 {
			t.Errorf("%s uses nothing", file)
		}
	}
}
