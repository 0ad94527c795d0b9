package narrow

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llorch/secrets-management/policy"
)

// data draws grants as somebody may have written them: indented or not, with names that need escapes.
func data(t *rapid.T) []byte {
	services := map[string]any{}
	for s := range rapid.IntRange(1, 4).Draw(t, "services") {
		list := []any{}
		for g := range rapid.IntRange(0, 4).Draw(t, "grants") {
			paths := []any{}
			for p := range rapid.IntRange(1, 4).Draw(t, "paths") {
				paths = append(paths, fmt.Sprintf("/p%d\",]é{", p))
			}
			list = append(list, map[string]any{"id": fmt.Sprintf("g%d", g), "actions": []any{"load_secret"}, "source": "file", "paths": paths})
		}
		services[fmt.Sprintf("s%d", s)] = list
	}
	doc := map[string]any{"secrets": map[string]any{"services": services}}
	text, err := json.Marshal(doc)
	if rapid.Bool().Draw(t, "indented") {
		text, err = json.MarshalIndent(doc, "", rapid.SampledFrom([]string{" ", "\t", "    "}).Draw(t, "indent"))
	}
	if err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "line feed") {
		text = append(text, '\n')
	}
	return text
}

// TestCHK1245PatchIsTheDifference: CHK-1245. What is taken out is what was named and nothing else, and git apply makes the same of
// the old text as the patch was made from.
func TestCHK1245PatchIsTheDifference(t *testing.T) {
	dir := t.TempDir()
	patched := 0
	rapid.Check(t, func(t *rapid.T) {
		old := data(t)
		grants, err := policy.ParseGrants(old)
		if err != nil {
			t.Fatal(err)
		}
		var idle []Idle
		want := map[string][]policy.Grant{}
		for service, list := range grants.Services {
			want[service] = []policy.Grant{}
			for _, g := range list {
				switch rapid.IntRange(0, 2).Draw(t, "fate") {
				case 0:
					idle = append(idle, Idle{Service: service, Grant: g.ID})
					continue
				case 1:
					if n := rapid.IntRange(0, len(g.Paths)-1).Draw(t, "items"); n > 0 {
						idle = append(idle, Idle{service, g.ID, "paths", append([]string{}, g.Paths[:n]...)})
						g.Paths = g.Paths[n:]
					}
				}
				want[service] = append(want[service], g)
			}
		}
		narrower, patch, err := Without(old, idle, "data.json")
		if err != nil {
			t.Fatal(err)
		}
		got, err := policy.ParseGrants(narrower)
		if err != nil || !reflect.DeepEqual(got.Services, want) {
			t.Fatalf("%s\nwithout %+v became\n%s\nerror %v", old, idle, narrower, err)
		}
		if len(idle) == 0 || patched >= 25 { // a process each
			return
		}
		patched++
		name := filepath.Join(dir, "data.json")
		if err := os.WriteFile(name, old, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("git", "apply", "-")
		cmd.Dir, cmd.Stdin, cmd.Env = dir, strings.NewReader(patch), append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git apply: %v\n%s\n%s", err, out, patch)
		}
		if made, err := os.ReadFile(name); err != nil || string(made) != string(narrower) {
			t.Fatalf("git apply made\n%s\nwant\n%s\nof\n%s", made, narrower, patch)
		}
	})
	if patched == 0 {
		t.Error("no patch was applied")
	}
}
