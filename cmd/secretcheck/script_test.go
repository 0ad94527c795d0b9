//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
)

func TestMain(m *testing.M) {
	testscript.Main(twice{m}, map[string]func(){"secretcheck": main})
}

// twice runs the scripts as root and as nobody: lines behind [!root] are run by the second.
type twice struct{ m *testing.M }

func (t twice) Run() int { return asnobody.Main(t.m) }

// scripts are the command-line tests, each the evidence for the requirements it is listed with.
var scripts = map[string]string{
	"help":           "CHK-1042 CHK-1151",
	"usage":          "CHK-1001 CHK-1005",
	"exit_codes":     "CHK-1001",
	"examples":       "CHK-1002 CHK-1004 SM-LOAD-4002 SEC-SECRET-021 SVC-7017",
	"json":           "CHK-1007 CHK-1009",
	"canary":         "CHK-1003 SM-SEC-5002",
	"links":          "CHK-1006 SM-SEC-5005",
	"facts":          "CHK-1025 CHK-1026 SM-SEC-5004",
	"actions":        "CHK-1024",
	"drop_ins":       "CHK-1019",
	"kubernetes":     "CHK-1101 CHK-1106 CHK-1107 CHK-1108 CHK-1109",
	"compose":        "CHK-1120 CHK-1121 CHK-1123 CHK-1131",
	"quadlet":        "CHK-1126 CHK-1128",
	"inventory":      "CHK-1029 CHK-1030 SM-LOAD-4005",
	"walk":           "CHK-1031 CHK-1005",
	"search_path":    "CHK-1050 CHK-1051 CHK-1052 CHK-1053",
	"hostile":        "CHK-1008",
	"output":         "CHK-1043",
	"policy_build":   "CHK-1040",
	"policy_can":     "CHK-1041",
	"policy_check":   "CHK-1045 POL-3040 POL-3041",
	"policy_errors":  "CHK-1044",
	"policy_fmt":     "CHK-1215",
	"policy_init":    "CHK-1213",
	"policy_inspect": "CHK-1214 CHK-1216",
	"policy_sign":    "CHK-1207 CHK-1208 CHK-1209 CHK-1210 CHK-1211 CHK-1212",
	"policy_test":    "CHK-1201 CHK-1203 CHK-1204 CHK-1205",
	"policy_diff":    "CHK-1247 CHK-1248 CHK-1249 CHK-1250",
	"policy_whocan":  "CHK-1251 CHK-1252",
	"policy_explain": "CHK-1253 CHK-1254 CHK-1255 CHK-1256 CHK-1257",
	"policy_unused":  "CHK-1244 CHK-1245 CHK-1246",
	"policy_replay":  "CHK-1240 CHK-1241 CHK-1242 CHK-1243",
	"engine_failure": "CHK-1044",
	"identity":       "IDN-1004 CHK-1041",
	"stdin":          "CHK-1047",
	"accept":         "CHK-1003 CHK-1043 CHK-1143 CHK-1144 CHK-1146 CHK-1147",
	"audit":          "AUD-1008",
	"rules":          "CHK-1080",
	"man":            "CHK-1153",
	"settings":       "CHK-1070 CHK-1071 CHK-1072 CHK-1073 CHK-1075 CHK-1076 CHK-1077 CHK-1078",
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".txtar"); scripts[name] == "" {
			t.Errorf("script %s is evidence for no requirement", name)
		}
	}
	if len(files) != len(scripts) {
		t.Errorf("%d scripts, %d are listed", len(files), len(scripts))
	}
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Files:               files,
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") == "true", // write what "cmp stdout FILE" finds into the scripts
		Setup: func(e *testscript.Env) error {
			e.Setenv("EXAMPLES", examples)
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Getuid() == 0, nil
			}
			return false, errors.New("unknown condition " + name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "secret": secret, "mkfifo": mkfifo, "report": checkReport, "bytes": writeBytes, "spoil": spoil,
			"auditlog": writeAuditLog, "mode": hasMode,
			"record": recordDecisions, "request": requestFile, "chomp": chomp, "forge": forge,
		},
	})
}

// exits CODE PROGRAM ARGS... runs a program that must end with that code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	if stderr := ts.ReadFile("stderr"); unaided(stderr) {
		ts.Fatalf("CHK-1154: an error without a next step: give its failure a hint, or its kind one in nextStep:\n%s", stderr)
	}
}

// secret FILE [MODE] makes a file of 64 digits with real modes, 0600 unless told, in directories of mode 0755.
func secret(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: secret FILE [MODE]")
	}
	mode := uint64(0o600)
	if len(args) == 2 {
		var err error
		mode, err = strconv.ParseUint(args[1], 8, 12)
		ts.Check(err)
	}
	name := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(name), 0o755))
	for dir := filepath.Dir(name); dir != ts.MkAbs("."); dir = filepath.Dir(dir) {
		ts.Check(os.Chmod(dir, 0o755)) // whatever the umask
	}
	ts.Check(os.WriteFile(name, []byte(strings.Repeat("5", 64)+"\n"), 0o600))
	ts.Check(os.Chmod(name, os.FileMode(mode)))
}

// mode FILE OCTAL fails unless the file has these permission bits.
func hasMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE OCTAL")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}

func mkfifo(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mkfifo FILE")
	}
	ts.Check(syscall.Mkfifo(ts.MkAbs(args[0]), 0o600))
}

// writeBytes FILE GO-STRING COUNT writes bytes that a txtar cannot hold, COUNT times.
func writeBytes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: bytes FILE GO-STRING COUNT")
	}
	text, err := strconv.Unquote(`"` + args[1] + `"`)
	ts.Check(err)
	count, err := strconv.Atoi(args[2])
	ts.Check(err)
	name := ts.MkAbs(args[0])
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	_, err = f.WriteString(strings.Repeat(text, count))
	ts.Check(err)
	ts.Check(f.Close())
}

// writeAuditLog FILE N appends N entries to an audit log, as a service does.
func writeAuditLog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: auditlog FILE N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	log, err := loader.OpenAuditFile(ts.MkAbs(args[0]))
	ts.Check(err)
	for i := range n {
		ts.Check(log.Record(context.Background(), &loader.Entry{DecisionID: fmt.Sprint(rand.Text(), i), Error: "a\x1b[2J"}))
	}
	ts.Check(log.Close())
}

// spoil BUNDLE policy.wasm|data.json replaces a part of a bundle by one that only opening it finds wrong.
func spoil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: spoil BUNDLE policy.wasm|data.json")
	}
	b, err := policy.ReadBundle([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	switch args[1] {
	case "policy.wasm":
		b.Wasm = b.Wasm[:len(b.Wasm)/2]
	case "data.json":
		b.Data = []byte(`{"secrets": {"services": {"a": [{"id": "misspelt", "action": []}]}}}`)
	default:
		ts.Fatalf("there is no %s to spoil", args[1])
	}
	raw, err := b.Marshal()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), raw, 0o600))
}

// checkReport FILE|stdout decodes a report strictly and checks what holds for every one.
func checkReport(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: report FILE")
	}
	var r struct {
		SchemaVersion int `json:"schema_version"`
		Loads         []struct {
			Service, Action, Source, Name, Path, Origin, Verdict, Facts string
			Reasons                                                     []struct{ Code, Message, Severity, Fix, Fingerprint string }
			Grants                                                      []string
			File                                                        string
			Line, Column                                                int
			EndLine                                                     int `json:"end_line"`
			EndColumn                                                   int `json:"end_column"`
			Snippet                                                     string
			Suppressed                                                  bool
			Input                                                       map[string]any
		}
		Findings []struct {
			Rule, Severity, Message, Fix, File string
			Line, Column                       int
			EndLine                            int `json:"end_line"`
			EndColumn                          int `json:"end_column"`
			Service, Fingerprint, Snippet      string
			Suppressed                         *struct{ Kind, Owner, Reason, Expires string }
		}
		Summary struct{ Descriptors, Loads, Allowed, Denied, Undecided, Warnings, Suppressed int }
	}
	data := ts.ReadFile(args[0])
	d := json.NewDecoder(strings.NewReader(data))
	d.DisallowUnknownFields()
	ts.Check(d.Decode(&r))
	verdicts := map[string]int{}
	for _, l := range r.Loads {
		verdicts[l.Verdict]++
		if l.Service == "" || l.Action == "" || l.Source == "" || l.File == "" || l.Line < 1 || l.Column < 1 {
			ts.Fatalf("load without place or subject: %+v", l)
		}
		if (l.Verdict == "allowed") == hasError(l.Reasons) {
			ts.Check(fatalUnlessUndecided(l.Verdict))
		}
	}
	s := r.Summary
	if s.Loads != len(r.Loads) || s.Loads != s.Allowed+s.Denied+s.Undecided || verdicts["allowed"] != s.Allowed ||
		verdicts["denied"] != s.Denied || verdicts["undecided"] != s.Undecided || r.SchemaVersion != 1 {
		ts.Fatalf("the report does not add up: %+v %v", s, verdicts)
	}
	for _, f := range r.Findings {
		if f.Rule == "" || f.Message == "" || f.File == "" || f.Line < 1 || f.Column < 1 || len(f.Fingerprint) != 64 || f.EndLine < f.Line ||
			f.EndLine == f.Line && f.EndColumn < f.Column {
			ts.Fatalf("finding without rule, place or fingerprint: %+v", f)
		}
	}
	if strings.Contains(strings.ReplaceAll(data, `"suppressed": null`, ""), "null") { // a finding that counts
		ts.Fatalf("an array is null")
	}
}

func hasError(reasons []struct{ Code, Message, Severity, Fix, Fingerprint string }) bool {
	for _, r := range reasons {
		if r.Severity == "error" {
			return true
		}
	}
	return false
}

func fatalUnlessUndecided(verdict string) error {
	if verdict == "undecided" {
		return nil
	}
	return errors.New("verdict " + verdict + " does not fit its reasons")
}
