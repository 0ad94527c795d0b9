package systemd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/llorch/secrets-management/internal/asnobody"
)

// What we call ignored or unparsable, the systemd that is installed calls so too, on the same lines.
// Evidence for CHK-1022.
func TestCHK1022Referee(t *testing.T) {
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		asnobody.NotRun(t, "install systemd, whose systemd-analyze is the referee of this test")
		return
	}
	judged := 0
	for _, c := range syntax {
		t.Run(c.id, func(t *testing.T) {
			_, findings := Read(unit("u-v.service", c.unit))
			var ours []int
			for _, f := range findings {
				ours = append(ours, f.Line)
			}
			if skipReferee[c.id] != "" {
				return
			}
			judged++
			theirs := complaints(t, tool, c.unit)
			slices.Sort(ours)
			if !slices.Equal(ours, theirs) {
				t.Errorf("we complain about lines %v, systemd about %v of\n%s", ours, theirs, c.unit)
			}
		})
	}
	if judged < len(syntax)*3/4 {
		t.Errorf("the referee saw %d of %d units", judged, len(syntax))
	}
}

// skipReferee says why a case cannot be put to it.
var skipReferee = map[string]string{
	"CHK-1010/nul":                            "systemd ends the line there; we refuse the file",
	"CHK-1010/letters_in_header":              "it complains of the unknown section, which we leave alone",
	"CHK-1017/load_before_set":                "a literal is in order for systemd",
	"CHK-1010/empty_header":                   "it complains of the unknown section, which we leave alone",
	"CHK-1011/byte_order_mark_before_comment": "it warns of the comment, harmlessly",
	"CHK-1011/lone_cr_ends_a_line":            "its line numbers count carriage returns",
	"CHK-1011/lf_cr_is_one_end":               "its line numbers count carriage returns",
	"CHK-1013/continued_key":                  "it names the line where the key ends, not where it begins",
	"CHK-1014/keys_have_case":                 "it complains of the unknown section, which we leave alone",
	"CHK-1028/annotation":                     "it leaves keys alone that begin with X-",
	"CHK-1017/import_before_set":              "ImportCredential= is unknown before systemd 254",
	"CHK-1017/load_before_import":             "ImportCredential= is unknown before systemd 254",
	"CHK-1017/import_glob":                    "ImportCredential= is unknown before systemd 254",
}

// complaints lists the lines that systemd-analyze verify names.
func complaints(t *testing.T, tool, text string) []int {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "u-v.service")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool, "verify", "--man=no", "--recursive-errors=no", name)
	cmd.Env = append(os.Environ(), "SYSTEMD_LOG_LEVEL=notice", "SYSTEMD_LOG_COLOR=0", "LC_ALL=C")
	out, _ := cmd.CombinedOutput() // it fails for want of ExecStart=, which is not our subject
	lines := []int{}
	for _, m := range regexp.MustCompile(regexp.QuoteMeta(name)+`:(\d+):`).FindAllStringSubmatch(string(out), -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(lines, n) {
			lines = append(lines, n)
		}
	}
	slices.Sort(lines)
	if len(out) == 0 {
		t.Fatal(fmt.Errorf("%s said nothing about a unit without ExecStart=", tool))
	}
	return lines
}
