package loader_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/internal/incgroup"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/secret"
)

// requiring grants a file and a credential to whoever is what require says.
func requiring(dir, require string) []byte {
	return fmt.Appendf(nil, `{"secrets":{"services":{%q:[
	 {"id":"file","actions":["load_secret"],"source":"file","dirs":[%q],"require":%s},
	 {"id":"credential","actions":["load_secret"],"source":"credential","names":["api_token"],"require":%s}]}}}`, service, dir, require, require)
}

func newWorldRequiring(t *testing.T, require string) *world {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return newWorldIn(t, dir, requiring(dir, require))
}

// TestRequiredIdentity: IDN-1003. The name alone does not do where a grant requires more, and who is refused for it learns
// nothing about the file.
func TestRequiredIdentity(t *testing.T) {
	me := os.Geteuid()
	t.Run("IDN-1003 the own uid", func(t *testing.T) {
		w := newWorldRequiring(t, fmt.Sprintf(`{"uid":%d}`, me))
		w.loads(w.file("token", fake, 0o600), fake)
	})
	for name, require := range map[string]string{
		"IDN-1003 another uid":                fmt.Sprintf(`{"uid":%d}`, me+1),
		"IDN-1003 a unit that this is not":    `{"unit":"queen-rbee.service"}`,
		"IDN-1003 the own uid in such a unit": fmt.Sprintf(`{"uid":%d,"unit":"queen-rbee.service"}`, me),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldRequiring(t, require)
			var texts []string
			for _, ref := range []loader.Ref{w.file("token", fake, 0o600), w.file("token", fake, 0o644), loader.File(w.dir + "/token/none")} {
				s, err := w.l.LoadSecret(context.Background(), ref)
				w.refused(s, err, loader.ErrDenied, "identity_not_proven")
				var e *loader.Error
				if errors.As(err, &e) && e.Stage != loader.StageAsk {
					t.Errorf("refused at stage %s: something was looked at", e.Stage)
				}
				texts = append(texts, strings.ReplaceAll(err.Error(), "/token/none", "/token"))
			}
			if texts[0] != texts[1] || texts[0] != texts[2] {
				t.Errorf("the file makes a difference: %q", texts)
			}
			if strings.Contains(require, "unit") && !strings.Contains(texts[0], "unit: ") {
				t.Errorf("it does not say why the unit is not proven: %s", texts[0])
			}
			if e := w.audit.entries[0]; len(e.Result.Reasons()) == 0 || e.Result.Reasons()[0].Fix == "" || len(e.Result.Grants()) != 1 {
				t.Errorf("the audit log does not say what to do: %+v", e.Result)
			}
		})
	}
}

// TestLoadAllCloses: SVC-1004. What was loaded before another one failed does not stay in memory until somebody collects it.
func TestLoadAllCloses(t *testing.T) {
	w := newWorld(t)
	big, absent := w.file("big", strings.Repeat("x", 256<<10), 0o600), loader.File(w.dir+"/absent")
	mapsNoMore(t, func() {
		var s *secret.Secret
		if err := w.l.LoadAll(context.Background(), loader.Request{Secret: &s, Refs: []loader.Ref{big}},
			loader.Request{Secret: new(*secret.Secret), Refs: []loader.Ref{absent}}); !errors.Is(err, loader.ErrNotFound) {
			t.Fatal(err)
		}
	})
}

// TestNotRecordedIsNotKept: AUD-1001. Nor does what was read before its outcome could not be recorded.
func TestNotRecordedIsNotKept(t *testing.T) {
	w := newWorld(t)
	big := w.file("big", strings.Repeat("x", 256<<10), 0o600)
	w.audit.fail = func(n int) error {
		if n%2 == 0 { // the outcome
			return errors.New("disk full")
		}
		return nil
	}
	mapsNoMore(t, func() {
		if s, err := w.l.LoadSecret(context.Background(), big); s != nil || !errors.Is(err, loader.ErrAudit) {
			t.Fatal(err)
		}
	})
}

// mapsNoMore fails the test when a load that fails leaves mappings behind.
func mapsNoMore(t *testing.T, load func()) {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var before int
	for i := range 40 {
		load()
		if i == 5 {
			before = mapped(t)
		}
	}
	if grown := mapped(t) - before; grown > 15 { // Go's own heap grows too, seldom
		t.Errorf("%d more mappings", grown)
	}
}

// mapped is how many mappings this process has. Each secret of this size has one of its own, at least.
func mapped(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

// TestIdentityIsRecorded: IDN-1001. What the process proves of itself is in every entry, with how.
func TestIdentityIsRecorded(t *testing.T) {
	w := newWorld(t)
	w.loads(w.file("token", fake, 0o600), fake)
	s := w.audit.entries[0].Input.Subject
	exe, err := filepath.EvalSymlinks(os.Args[0])
	must(w, err)
	if s.UID != int64(os.Geteuid()) || s.Attested.UID != "geteuid" || s.Attested.GID != "getegid" || s.Exe != exe || s.Attested.Exe == "" {
		t.Errorf("%+v", s)
	}
}

// TestInAUnit: IDN-1002, IDN-1005. The same program as a service of the system: it may load what requires that, and only
// credentials that systemd made for it.
func TestInAUnit(t *testing.T) {
	const (
		child = "SECRETS_MANAGEMENT_TEST_IN_A_UNIT"
		unit  = "secrets-management-loader.service"
		own   = "/run/credentials/" + unit
	)
	if os.Getenv(child) != "" {
		w := newWorldRequiring(t, `{"unit":"`+unit+`"}`)
		var got [3]string
		for i, ref := range []loader.Ref{w.file("token", fake, 0o600), loader.Credential("api_token"), loader.Credential("api_token")} {
			if i == 2 {
				t.Setenv("CREDENTIALS_DIRECTORY", os.Getenv("ELSEWHERE"))
			}
			s, err := w.l.LoadSecret(context.Background(), ref)
			switch {
			case err == nil:
				got[i] = "loaded"
				s.Close()
			case errors.Is(err, loader.ErrPath):
				got[i] = "path"
			default:
				got[i] = err.Error()
			}
		}
		b, _ := json.Marshal(got)
		fmt.Println("got:", string(b), w.audit.entries[0].Input.Subject.Unit)
		return
	}
	if !incgroup.Available(t) {
		return
	}
	elsewhere := t.TempDir()
	for _, dir := range []string{own, elsewhere} {
		err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(dir+"/api_token", []byte(fake), 0o400))
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.RemoveAll(own); os.Remove(filepath.Dir(own)) })
	cmd := incgroup.Command(t, "/system.slice/"+unit, os.Args[0], "-test.run=^TestInAUnit$")
	cmd.Env = append(os.Environ(), child+"=1", "CREDENTIALS_DIRECTORY="+own, "ELSEWHERE="+elsewhere)
	out, err := cmd.CombinedOutput()
	if want := `got: ["loaded","loaded","path"] ` + unit; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v, %s", err, out)
	}
}
