package quadlet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
)

// recorded is what the generator of podman 5.4.2 makes of lines in [Container]: the secrets that podman run gets, or that it
// refuses the file.
var recorded = []struct{ name, lines, secrets string }{
	{"one", "Secret=db", "db"},
	{"options", "Secret=db,type=mount,target=/x,uid=1,gid=2,mode=0400", "db,type=mount,target=/x,uid=1,gid=2,mode=0400"},
	{"several words", "Secret=a b,type=env c", "a b,type=env c"},
	{"several lines", "Secret=a\nSecret=b", "a b"},
	{"taken back", "Secret=a\nSecret=\nSecret=b", "b"},
	{"quoted", `Secret="a,target=/x" 'b'`, "a,target=/x b"},
	{"a quote inside", `Secret=a,target="/x"`, "a,target=/x"},
	{"a quote not closed", `Secret=a "b`, "a b"},
	{"continued", "Secret=a \\\n  b", "a b"},
	{"continued behind a comment", "Secret=a \\\n# no\n b", "a b"},
	{"continued behind the other kind", "Secret=a \\\n; no\n b", "a b"},
	{"a comment that ends in a backslash", "# x \\\nSecret=a", "a"},
	{"a hash behind", "Secret=a # b", "a # b"},
	{"spaces", "  Secret  =  a  ", "a"},
	{"a backslash", `Secret=a\x62 c`, "ab c"},
	{"another case", "secret=a", "refused"},
	{"another key", "Secrets=a", "refused"},
	{"an empty one last", "Secret=a\nSecret=", ""},
	{"tabs", "Secret=a\tb", "a b"},
	{"a carriage return", "Secret=a\r", "a"},
	{"continued twice", "Secret=a,type=env \\\n\\\n b", "a,type=env b"},
	{"arguments", "PodmanArgs=--secret a,type=env --secret=b", "a,type=env b"},
	{"arguments taken back", "PodmanArgs=--secret a\nPodmanArgs=", ""},
}

// TestAgainstTheGenerator: CHK-1127. The reader finds the secrets that podman's generator finds, which was recorded; where
// the generator is installed, it is asked again.
func TestAgainstTheGenerator(t *testing.T) {
	generator := "/usr/libexec/podman/quadlet"
	if _, err := os.Stat(generator); err != nil {
		t.Logf("not run again: install podman 4.4 or newer to ask its generator itself")
		generator = ""
	}
	for _, c := range recorded {
		t.Run(c.name, func(t *testing.T) {
			data := "[Container]\nImage=localhost/x\n" + c.lines + "\n"
			if generator != "" {
				if got := generate(t, generator, data); got != c.secrets {
					t.Errorf("the generator says %q", got)
				}
			}
			loads, findings := Read(Unit{Name: "x.container", Files: []systemd.File{{Name: "x.container", Data: []byte(data)}}})
			var got []string
			for _, l := range loads {
				got = append(got, strings.TrimPrefix(l.Origin, "podman/"))
			}
			for _, f := range findings {
				if f.Bad() {
					got = []string{"refused"}
				}
			}
			var want []string
			for _, s := range strings.Fields(c.secrets) {
				want = append(want, strings.Split(s, ",")[0])
			}
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("%q, the generator %q; %+v", got, want, findings)
			}
		})
	}
}

// generate asks the generator.
func generate(t *testing.T, generator, data string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.container"), []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(generator, "-dryrun")
	cmd.Env = append(os.Environ(), "QUADLET_UNIT_DIRS="+dir)
	out, _ := cmd.Output()
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(line, "ExecStart="); ok {
			var secrets []string
			list := strings.Fields(strings.ReplaceAll(rest, "--secret=", "--secret "))
			for i, w := range list {
				if w == "--secret" && i+1 < len(list) {
					secrets = append(secrets, strings.Trim(list[i+1], `"`))
				}
			}
			return strings.Join(secrets, " ")
		}
	}
	return "refused"
}

// TestMisspelt: CHK-1127. A key that podman does not know takes the whole service away, and is told.
func TestMisspelt(t *testing.T) {
	for key, fix := range map[string]string{"Secrets": "Secret=", "secret": "Secret=", "Environmen": "Environment=", "EnvironmentFiles": "EnvironmentFile=", "PodmanArg": "PodmanArgs="} {
		_, findings := Read(Unit{Name: "x.container", Files: []systemd.File{{Name: "x.container", Data: fmt.Appendf(nil, "[Container]\nImage=x\n%s=canary\n", key)}}})
		if len(findings) != 1 || !findings[0].Bad() || !strings.Contains(findings[0].Fix, fix) || findings[0].Line != 3 {
			t.Errorf("%s: %+v", key, findings)
		}
	}
}
