package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// module is a small module with mutants, in a folder of its own.
func module(t *testing.T, mutants string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":  "module example.test/m\n\ngo 1.26.0\n",
		"m/m.go":  source,
		"m/rules": "deny\n",
		"m/m_test.go": `package m

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if !Small(-7) {
		code = 3 // which no test is to blame for
	}
	os.Exit(code)
}

func TestSmall(t *testing.T) {
	if err := os.WriteFile("left", nil, 0o600); err != nil { // as a test does that keeps what made it fail
		t.Fatal(err)
	}
	if !Small(9) || Small(10) {
		t.Error("wrong")
	}
}

func TestRules(t *testing.T) {
	if rules != "deny\n" {
		t.Error("wrong")
	}
}

func TestNotMuch(t *testing.T) {
	if !Small(1) {
		t.Error("wrong")
	}
}

func TestFails(t *testing.T) { t.Error("always") }
`,
		"empty/empty.go":         "package empty\n",
		"testdata/mutants/a.txt": mutants,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const source = `package m

import _ "embed"

//go:embed rules
var rules string

// Small is what is mutated.
func Small(n int) bool {
	return n < 10
}

var _ = rules
`

// judged are mutants and the start of what is said of each.
var judged = []struct{ mutant, want string }{
	{"killed\nfile m/m.go\ntests ./m ^TestSmall$\n-	return n < 10\n+	return n <= 10\n", "killed    killed  TestSmall ("},
	{"embedded\nfile m/rules\ntests ./m Rules\n-deny\n+allow\n", "killed    embedded  TestRules ("},
	{"survivor\nfile m/m.go\ntests ./m ^TestNotMuch$\n-	return n < 10\n+	return n <= 10\n", "SURVIVED  survivor  ./m ^TestNotMuch$ ("},
	{"no-text\nfile m/m.go\ntests ./m Small\n-return n < 10\n+return n\n", "DOES NOT APPLY  no-text  the old text occurs 0 times"},
	{"twice\nfile m/m.go\ntests ./m Small\n-\n+// x\n", "DOES NOT APPLY  twice  the old text occurs "},
	{"no-file\nfile m/gone.go\ntests ./m Small\n-a\n+b\n", "DOES NOT APPLY  no-file  open "},
	{"no-build\nfile m/m.go\ntests ./m Small\n-	return n < 10\n+	return n\n", "DOES NOT COMPILE  no-build  exit status 1"},
	{"no-test\nfile m/m.go\ntests ./m Nothing\n-	return n < 10\n+	return n < 9\n", `NOT JUDGED  no-test  ./m has no test like "Nothing"`},
	{"no-tests\nfile m/m.go\ntests ./empty X\n-	return n < 10\n+	return n < 9\n", "NOT JUDGED  no-tests  ./empty has no tests"},
	{"no-package\nfile m/m.go\ntests ./gone X\n-	return n < 10\n+	return n < 9\n", "NOT JUDGED  no-package  exit status 1"},
	{"fails\nfile m/m.go\ntests ./m Fails\n-	return n < 10\n+	return n < 9\n", "NOT JUDGED  fails  without the mutant the tests do not pass"},
	{"no-failure\nfile m/m.go\ntests ./m NotMuch\n-	return n < 10\n+	return n < 10 && n > 0\n", "NOT JUDGED  no-failure  no test failed, and yet: exit status 3"},
}

// TestJudges: SEC-SECRET-060. Only a mutant that a failing test killed is a success.
func TestJudges(t *testing.T) {
	var list strings.Builder
	for _, j := range judged {
		list.WriteString("\n# why\n== " + j.mutant)
	}
	dir := module(t, list.String())
	for args, want := range map[string]struct {
		code int
		text string // the end of the output
	}{
		"":         {1, "mutants: 2 killed, 1 survived of 12\n"},
		"^killed$": {0, "mutants: 1 killed, 0 survived of 1\n"},
		"survivor": {1, "mutants: 0 killed, 1 survived of 1\n"},
		"no-text":  {1, "mutants: 0 killed, 0 survived of 1\n"},
		"no-build": {1, "mutants: 0 killed, 0 survived of 1\n"},
		"fails":    {1, "mutants: 0 killed, 0 survived of 1\n"},
		"zzz":      {1, "mutate: no mutant is called as \"zzz\"\n"},
		"(":        {1, "missing closing ): `(`\n"},
		"a b":      {1, "at most one regular expression is taken\n"},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), dir, strings.Fields(args), &out, &out); code != want.code || !strings.HasSuffix(out.String(), want.text) {
			t.Errorf("%q: exit %d, want %d and %q:\n%s", args, code, want.code, want.text, out.String())
		}
		for _, j := range judged {
			if args == "" && !strings.Contains("\n"+out.String(), "\n"+j.want) {
				t.Errorf("no %q in\n%s", j.want, out.String())
			}
		}
	}
	if after, err := os.ReadFile(filepath.Join(dir, "m", "m.go")); err != nil || string(after) != source {
		t.Errorf("the tree was touched: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "m", "left")); err == nil {
		t.Error("a test wrote into the tree")
	}
}

// TestHanging: SEC-SECRET-060. That a test does not end is no proof that it notices.
func TestHanging(t *testing.T) {
	dir := module(t, "== x\nfile m/m.go\ntests ./m Small\n-	return n < 10\n+	for n < 10 {\n+	}\n+	return false\n")
	r, err := newRunner(dir, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	list, err := readAll(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	for v := range r.judge(t.Context(), list) {
		if v.state != stateUnclear || !strings.Contains(v.why, "did not end within 2s") {
			t.Error(v)
		}
	}
}

// TestInterrupted: SEC-SECRET-060. An end before its time is no success, and nothing is left behind.
func TestInterrupted(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if code := run(ctx, module(t, "== "+judged[0].mutant), nil, &out, &out); code != 1 {
		t.Errorf("exit %d: %s", code, out.String())
	}
	left, err := filepath.Glob(filepath.Join(tmp, "mutate*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q %v", left, err)
	}
}

func TestDamagedLists(t *testing.T) {
	for name, list := range map[string]string{
		"nothing":           "# nothing\n== \n",
		"before any mutant": "file m/m.go\n",
		"neither nor":       "== " + judged[0].mutant + "what is this\n",
		"no file":           "== x\ntests ./m X\n-a\n+b\n",
		"no tests":          "== x\nfile m/m.go\n-a\n+b\n",
		"no old text":       "== x\nfile m/m.go\ntests ./m X\n+b\n",
		"no name":           "== \nfile m/m.go\ntests ./m X\n-a\n+b\n",
		"no change":         "== x\nfile m/m.go\ntests ./m X\n-a\n+a\n",
		"no pattern":        "== x\nfile m/m.go\ntests ./m\n-a\n+b\n",
		"two files":         "== x\nfile m/m.go\nfile m/n.go\ntests ./m X\n-a\n+b\n",
		"outside":           "== x\nfile ../m.go\ntests ./m X\n-a\n+b\n",
		"a flag":            "== x\nfile m/m.go\ntests -exec=x X\n-a\n+b\n",
	} {
		if got, err := parse(list); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := readAll(os.DirFS(module(t, "== "+judged[0].mutant+"== "+judged[0].mutant))); err == nil {
		t.Error("two mutants of one name are taken")
	}
	if _, err := readAll(os.DirFS(module(t, "# nothing\n"))); err == nil {
		t.Error("no mutant at all is taken")
	}
}

// least is how many mutants there are of each concern, as the specification demands.
var least = map[string]int{
	"mode": 6, "path": 6, "verify": 4, "zeroize": 4, "deny": 6, "ask": 3, "audit": 4, "reopen": 6, "meter": 8, "sign": 6, "rollback": 6,
}

// TestMutantsApply: SEC-SECRET-060. The list covers what it has to, and follows the code: make mutate, which takes minutes,
// is not the first to say that a mutant has no place any more.
func TestMutantsApply(t *testing.T) {
	root := os.DirFS("../..")
	list, err := readAll(root)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, m := range list {
		concern, _, _ := strings.Cut(m.name, "/")
		count[concern]++
		source, err := os.ReadFile(filepath.Join("../..", m.file))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := m.apply(string(source)); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
	for concern, n := range least {
		if count[concern] < n {
			t.Errorf("%d mutants of %s, want at least %d", count[concern], concern, n)
		}
	}
	if len(list) < 45 || len(count) != len(least) {
		t.Errorf("%d mutants of %d concerns", len(list), len(count))
	}
}
