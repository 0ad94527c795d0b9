//go:build linux

package features

import (
	"errors"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/internal/probe"
)

// Beginnings of scenarios for the tests of the steps.
const (
	holding  = background + "    And the service has loaded a token\n  Scenario: s\n"
	deriving = background + "    And it may derive keys for the purpose \"a-v1\" from what lies there\n" +
		"    And it may derive keys for the purpose \"b-v1\" from what lies there\n" +
		"    And a token in the file \"t\" with mode 0600\n  Scenario: s\n"
	deriveA = "    When the service derives a key for the purpose \"a-v1\" from the file \"t\"\n"
	deriveB = "    When the service derives a key for the purpose \"b-v1\" from the file \"t\"\n"
	signed  = "Feature: f\n  Background:\n    Given \"queen-rbee\" may load the token \"api-token\"\n" +
		"    And a token in the file \"api-token\" with mode 0600\n" +
		"    And revision 3 of the policy, signed by the security team, is in force\n  Scenario: s\n"
	asQueen = "    When \"queen-rbee\" loads the token from the file \"api-token\"\n"
	rolled  = "Feature: f\n  Background:\n" +
		"    Given \"queen-rbee\" may load the credential \"api_token\" from \"/etc/api-token\"\n" +
		"    And the unit \"queen-rbee.service\":\n      \"\"\"\n      [Service]\n      LoadCredential=api_token:/etc/api-token\n      \"\"\"\n" +
		"  Scenario: s\n"
	closed   = "    Given the host has the secret \"/etc/api-token\" with mode 0600\n"
	open     = "    Given the host has the secret \"/etc/api-token\" with mode 0644\n"
	checked  = "    When the release engineer checks the units and the host\n"
	forTools = "    When the release engineer checks the units and the host, with a report for machines\n"
)

// TestStepsFail: no step passes when what it says is not so. Who runs it makes no difference, so that once is enough.
func TestStepsFail(t *testing.T) {
	if asnobody.Second() {
		return
	}
	for name, tt := range map[string]struct{ feature, says string }{
		"let in":              {holding + "    When a caller presents another token\n    Then the caller is let in\n", "let in: false"},
		"turned away":         {holding + "    When a caller presents the token\n    Then the caller is turned away\n", "let in: true"},
		"nobody came":         {holding + "    Then the caller is turned away\n", "let in: false"},
		"unknown guess":       {holding + "    When a caller presents the moon\n    Then the caller is let in\n", "what is"},
		"this key":            {deriving + deriveA + "    Then it gets the key \"" + strings.Repeat("00", 32) + "\"\n", "it got something else"},
		"short key":           {deriving + deriveA + "    Then it gets the key \"00\"\n", "a key of 1 bytes"},
		"same keys":           {deriving + deriveA + deriveB + "    Then both keys are the same\n", "they differ"},
		"one key":             {deriving + deriveA + "    Then both keys are the same\n", "there are 1 keys"},
		"other keys":          {deriving + deriveA + deriveA + "    Then what was sealed with one key does not open with the other\n", "they are the same"},
		"a purpose":           {deriving + deriveA + "    Then the derivation fails because there is no purpose\n", "an error of key derivation is expected"},
		"a valid path":        {private + "    When the service loads a token from\n      | the path |\n      | SECRETS/api-token |\n    Then each load is refused because the path is not valid, and no file was opened\n", "was loaded"},
		"a path elsewhere":    {private + "    When the service loads a token from\n      | the path |\n      | /x |\n    Then each load is refused because the path is not valid, and no file was opened\n", "an invalid path is expected"},
		"no paths":            {private + "    When the service loads a token from\n      | the path |\n    Then each load is refused because the path is not valid, and no file was opened\n", "a table with a head and rows"},
		"another column":      {private + "    When the service loads a token from\n      | path |\n      | /x |\n    Then each load is refused because the path is not valid, and no file was opened\n", "no column"},
		"no failure":          {private + "    Then what is told about the failure holds nothing of what is in the file\n", "no error"},
		"failure unread":      {public + "    Then what is told about the failure holds nothing of what is in the file\n", "opened 0 times"},
		"no link":             {private + "    Then the load is refused because the path is a link\n", "symlink_not_granted is expected"},
		"no link out":         {private + "    Then the load is refused because the link leads to where nothing is granted\n", "outside_grant is expected"},
		"proven":              {private + "    Then the load is refused because the service does not prove who it is\n", "identity_not_proven is expected"},
		"link to nothing":     {background + "  Scenario: s\n    Given the link \"a\" to \"b\"\n", "no such file"},
		"granted":             {background + "  Scenario: s\n    Given a token in the file \"a\" with mode 0600\n    When the service loads the token from the file \"a\", and from the file \"b\", which is not there\n    Then both refusals are the same, and nothing was looked at\n", "no_grant is expected"},
		"printing nothing":    {public + "    Then no way to print, log or encode it shows a part of it\n", "mode_too_open"},
		"memory unseen":       {private + "    Then nothing of it is left in the memory of the process\n", "control: a plain copy was not found"},
		"granted something":   {background + "  Scenario: s\n    Given \"queen-rbee\" is granted nothing\n", "granted 2 things"},
		"other revision":      {signed + asQueen + "    Then revision 4 is in force\n", "revision 3 is in force"},
		"nothing wrong":       {signed + asQueen + "    Then revision 3 is in force, because the other one is broken\n", "revision 3 is in force, error"},
		"undecided":           {signed + "    When revision 4 of the policy takes its place\n    Then revision 4 is in force\n", "nothing was decided"},
		"other fault":         {signed + "    When revision 4 of the policy takes its place, but is not signed\n" + asQueen + "    Then revision 3 is in force, because the other one is broken\n", "is not signed"},
		"unknown fault":       {signed + "    When revision 4 of the policy takes its place, but is green\n", "what is"},
		"older, not unsigned": {"Feature: f\n  Scenario: s\n    When the service is started with revision 3 of the policy, which is not signed\n    Then it does not start, because the policy is older\n", "is expected, it was"},
		"no end":              {signed + asQueen + "    Then the load fails because the policy has ended\n", "the end of the policy is expected"},
		"not clean":           {rolled + open + checked + "    Then nothing has to be done\n", "one load, which is allowed"},
		"code alone":          {rolled + closed + checked + "    Then the check ends with code 0\n", "no step asserted the outcome"},
		"another code":        {rolled + closed + checked + "    Then nothing has to be done\n    And the check ends with code 1\n", "code 1 is expected"},
		"another line":        {rolled + open + checked + "    Then line 3 of \"queen-rbee.service\" is denied with \"origin_mode_too_open\"\n", "is not named"},
		"another rule":        {rolled + open + checked + "    Then line 2 of \"queen-rbee.service\" is denied with \"no_grant\"\n", "error no_grant is not told"},
		"another verdict":     {rolled + open + checked + "    Then line 2 of \"queen-rbee.service\" is undecided with \"origin_mode_too_open\"\n", "is not undecided"},
		"another fix":         {rolled + open + checked + "    Then what to do begins with \"rm \"\n", "is not told"},
		"nothing to mend":     {rolled + closed + checked + "    And he does what it says, and checks again\n", "does not say what to do"},
		"shown":               {rolled + closed + checked + "    Then \"LoadCredential=queen-rbee\" is shown nowhere\n", "a part of the secret"},
		"something found":     {rolled + closed + checked + "    Then he is told that nothing was found\n", "a complaint about"},
		"good policy":         {rolled + closed + checked + "    Then he is told what is wrong with the policy\n", "a complaint about"},
		"one report":          {rolled + open + forTools + "    Then both reports have the same one finding, a line further down\n", "the reports are"},
		"same line":           {rolled + open + forTools + forTools + "    Then both reports have the same one finding, a line further down\n", "the findings are"},
		"another answer":      {rolled + "    When the release engineer asks what \"queen-rbee\" may load\n    Then the answer names the credential \"x\" and \"/etc/api-token\"\n", "is expected"},
	} {
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
}

// TestOutcomesFail: what takes a leak, a boot or another process to happen is put into the world by hand.
func TestOutcomesFail(t *testing.T) {
	good := probe.Load{Value: "fake-token"}
	for name, tt := range map[string]struct {
		world *world
		step  func(*world) error
	}{
		"no machine":         {&world{}, (*world).haveToken},
		"another token":      {&world{holds: []byte("x"), machine: machine{loads: []probe.Load{good}}}, (*world).haveToken},
		"one of two":         {&world{holds: []byte(good.Value), machine: machine{loads: []probe.Load{good, {Error: "no"}}}}, (*world).haveToken},
		"loaded, not denied": {&world{machine: machine{loads: []probe.Load{good}}}, func(w *world) error { return w.failed(true, "") }},
		"failed, not denied": {&world{machine: machine{loads: []probe.Load{{Error: "no"}}}}, func(w *world) error { return w.failed(true, "no") }},
		"no machine failed":  {&world{}, func(w *world) error { return w.failed(true, "") }},
		"another refusal":    {&world{machine: machine{loads: []probe.Load{{Error: "no", Denied: true}}}}, func(w *world) error { return w.failed(true, "yes") }},
		"copies while kept":  {&world{memory: memory{looked: true, kept: 1, copied: 1, place: "zeros"}}, (*world).nothingLeft},
		"copies after":       {&world{memory: memory{looked: true, closed: 1, copied: 1, place: "zeros"}}, (*world).nothingLeft},
		"not overwritten":    {&world{memory: memory{looked: true, copied: 1, place: "something"}}, (*world).nothingLeft},
		"nothing to find":    {&world{memory: memory{looked: true, place: "zeros"}}, (*world).nothingLeft},
		"refusals that tell": {&world{errs: []error{errors.New("not found"), errors.New("denied")}}, (*world).sameRefusals},
		"a leaking error":    {&world{err: errors.New("bad content: fake-tok"), texts: [][]byte{[]byte("fake-token")}}, (*world).leaksNothing},
		"a leaking audit":    {&world{audit: auditLog{lines: []string{"ake-token"}}, texts: [][]byte{[]byte("fake-token")}}, (*world).leaksNothing},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tt.step(tt.world); err == nil {
				t.Error("it passes")
			}
		})
	}
	w := world{holds: []byte(good.Value), machine: machine{loads: []probe.Load{good, good}}, memory: memory{looked: true, copied: 1, place: "zeros"}}
	if err := errors.Join(w.haveToken(), w.nothingLeft()); err != nil {
		t.Errorf("control: %v", err)
	}
}

// TestHelped: what a helper complains of is not lost, and what it cleans up is cleaned up.
func TestHelped(t *testing.T) {
	w := &world{dir: t.TempDir(), grants: map[string][]any{}}
	cleaned := false
	err := w.helped(func(t testing.TB) {
		t.Cleanup(func() { cleaned = true })
		t.Errorf("first")
		t.Fatalf("second")
		t.Errorf("not reached")
	})
	if err == nil || err.Error() != "first\nsecond" {
		t.Errorf("%v", err)
	}
	if err := errors.Join(w.helped(func(testing.TB) {}), w.close()); err != nil || !cleaned {
		t.Errorf("cleaned up: %v, %v", cleaned, err)
	}
}
