//go:build linux

package features

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cucumber/godog"
	"golang.org/x/sys/unix"
)

const (
	background = "Feature: f\n  Background:\n    Given the service \"queen-rbee\" may load what lies in its secrets folder\n"
	loads      = "    When the service loads the token from the file \"api-token\"\n"
	private    = background + "  Scenario: s\n    Given a token in the file \"api-token\" with mode 0600\n" + loads
	public     = background + "  Scenario: s\n    Given a token in the file \"api-token\" with mode 0644\n" + loads
	empty      = background + "  Scenario: s\n    Given an empty file \"api-token\" with mode 0600\n" + loads
)

// TestMachineryFails shows for each way in which a scenario can be wrong that it does not pass.
func TestMachineryFails(t *testing.T) {
	tests := map[string]struct{ feature, says string }{
		"outcome not asserted":       {private, "no step asserted the outcome"},
		"outcome of a refusal":       {public, "no step asserted the outcome"},
		"nothing done":               {background + "  Scenario: s\n    Given an empty file \"x\" with mode 0600\n", "no step asserted the outcome"},
		"undefined step":             {private + "    Then it gets the token\n    And the moon is full\n", "undefined"},
		"undefined step alone":       {"Feature: f\n  Scenario: s\n    Given the moon is full\n", "undefined"},
		"loaded, refusal expected":   {private + "    Then the load is refused because everyone can read the file\n", "mode_too_open is expected"},
		"loaded, no grant expected":  {private + "    Then the load is refused because nothing is granted there\n", "no_grant is expected"},
		"loaded, failure expected":   {private + "    Then the load fails because there is no secret in the file\n", "invalid format is expected"},
		"refused, token expected":    {public + "    Then it gets the token\n", "mode 0644, expected 0600"},
		"refused for another reason": {public + "    Then the load is refused because nothing is granted there\n", "no_grant is expected"},
		"empty, refusal expected":    {empty + "    Then the load is refused because a group can read the file\n", "mode_too_open is expected"},
		"bits of another class":      {strings.Replace(public, "0644", "0640", 1) + "    Then the load is refused because everyone can read the file\n", "what is wrong with the mode"},
		"no scenario":                {"Feature: f\n", "no scenario ran"},
		"no service":                 {"Feature: f\n  Scenario: s\n" + loads + "    Then it gets the token\n", "failed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			output, err := inner(tt.feature)
			if err == nil {
				t.Fatalf("it passes:\n%s", output)
			}
			if !strings.Contains(output+err.Error(), tt.says) {
				t.Errorf("%v, want %q in\n%s", err, tt.says, output)
			}
		})
	}
	for name, feature := range map[string]string{
		"loaded": private + "    Then it gets the token\n", "refused": public + "    Then the load is refused because everyone can read the file\n",
	} {
		t.Run("control: "+name, func(t *testing.T) {
			if output, err := inner(feature); err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}

// TestNothingToRun: a lost folder or a misspelt name must not pass.
func TestNothingToRun(t *testing.T) {
	none, err := load(fstest.MapFS{"README.md": {}})
	if err != nil || len(none) != 0 {
		t.Fatalf("%d features, error %v", len(none), err)
	}
	if err := run(godog.Options{Format: "pretty", FeatureContents: none}); err == nil {
		t.Error("no features pass")
	}
	all, err := load(features)
	if err != nil || len(all) == 0 {
		t.Fatalf("%d features, error %v", len(all), err)
	}
}

// TestWatch: opening and reading a file are seen, looking at it is not. The refusals rest on this silence.
func TestWatch(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	look := func() error {
		fd, err := unix.Open(file, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		return errors.Join(unix.Fstat(fd, &st), unix.Close(fd))
	}
	read := func() error {
		_, err := os.ReadFile(file)
		return err
	}
	for name, tt := range map[string]struct {
		act  func() error
		want events
	}{"look": {look, events{}}, "read": {read, events{opened: 1, read: 1}}} {
		stop, err := watchFiles([]string{file})
		if err != nil {
			t.Fatal(err)
		}
		acted := tt.act()
		if seen, err := stop(); acted != nil || err != nil || seen != tt.want {
			t.Errorf("%s: seen %+v, want %+v; errors %v, %v", name, seen, tt.want, acted, err)
		}
	}
}

// TestReport: the JUnit report names the scenarios.
func TestReport(t *testing.T) {
	file := t.TempDir() + "/junit.xml"
	feature := godog.Feature{Name: "inner.feature", Contents: []byte(private + "    Then it gets the token\n")}
	if err := run(godog.Options{Format: "pretty,junit:" + file, Output: new(strings.Builder), FeatureContents: []godog.Feature{feature}}); err != nil {
		t.Fatal(err)
	}
	report, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(report), `<testcase name="s" status="passed"`) {
		t.Errorf("%v\n%s", err, report)
	}
}
