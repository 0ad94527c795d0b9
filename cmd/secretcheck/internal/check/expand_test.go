package check_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/host"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
	"github.com/llorch/secrets-management/policy"
)

// denies is a policy that lets ask for everything and denies it, without a reason of its own.
type denies struct{}

func (denies) MayAsk(context.Context, *policy.Request) (bool, error) { return true, nil }

func (denies) Decide(context.Context, *policy.Request) (policy.Decision, error) {
	return policy.Denial(nil), nil
}

func machine() map[string]string {
	m := map[string]string{
		"etc/passwd": "", "etc/credstore/a": "1", "run/credstore/a": "2", "usr/lib/credstore/b": "3", "etc/credstore.encrypted/c": "4", "etc/credstore/c": "5",
		"etc/credstore/.dot": "6", "etc/credstore/dir/x": "7", "usr/lib/credstore/gone": "->nowhere", "lib/credstore/old": "8",
		"s/one": "one", "s/tree/a": "a", "s/tree/d/b": "b", "s/tree/.c": "c", "s/tree/l": "->a", "s/bad/\u00e4": "x", "s/none/.x": "x",
		"s/big": strings.Repeat("b", 700_000), "s/over": strings.Repeat("o", 1<<20+1),
	}
	for i := range 257 {
		m[fmt.Sprintf("s/many/%d", i)] = "m"
	}
	return m
}

// What systemd looks up, lists and counts when a service starts. A load is NAME<ORIGIN, with the rule of a fault.
func TestExpand(t *testing.T) {
	dir := t.TempDir()
	for name, content := range machine() {
		p := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(p), 0o700)
		if target, link := strings.CutPrefix(content, "->"); link {
			err = errors.Join(err, os.Symlink(target, p))
		} else {
			err = errors.Join(err, os.WriteFile(p, []byte(content), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		id, unit string
		version  int
		want     string
	}{
		{"CHK-1057/name", "LoadCredential=a\nLoadCredential=n:b", 257, "a</etc/credstore/a n</usr/lib/credstore/b"},
		{"CHK-1057/no_such_name", "LoadCredential=none", 257, "none< missing_source"},
		{"CHK-1057/ciphertext_first", "LoadCredential=c", 257, "c</etc/credstore.encrypted/c"},
		{"CHK-1057/plaintext_only", "LoadCredential=c", 252, "c</etc/credstore/c"},
		{"CHK-1057/encrypted", "LoadCredentialEncrypted=c", 252, "c</etc/credstore.encrypted/c"},
		{"CHK-1057/split_usr", "LoadCredential=old", 252, "old</lib/credstore/old"},
		{"CHK-1057/no_split_usr", "LoadCredential=old", 257, "old< missing_source"},
		{"CHK-1057/directory_in_store", "LoadCredential=dir", 257, "dir</etc/credstore/dir source_not_usable"},
		{"CHK-1057/import", "ImportCredential=b*", 257, "b</usr/lib/credstore/b"},
		{"CHK-1057/import_ciphertext", "ImportCredential=c", 257, "c</etc/credstore/c"},
		{"CHK-1057/import_renames", "ImportCredential=a:x\nImportCredential=b*:y.", 257, "x</etc/credstore/a y.</usr/lib/credstore/b"},
		{"CHK-1057/import_dots", "ImportCredential=.d*", 257, ".dot</etc/credstore/.dot"},
		{"CHK-1057/import_dangling", "ImportCredential=g*", 257, "gone</usr/lib/credstore/gone source_not_usable"},
		{"CHK-1057/import_nothing", "ImportCredential=z*", 257, "!import_not_resolved"},
		{"CHK-1057/import_first_of_a_name", "ImportCredential=b:x\nImportCredential=a:x", 257, "x</usr/lib/credstore/b"},

		{"CHK-1058/load_before_import", "LoadCredential=a:/s/one\nImportCredential=a", 257, "a</s/one"},
		{"CHK-1058/import_before_set", "SetCredential=a:v\nImportCredential=a", 257, "a</etc/credstore/a !inline_credential"},
		{"CHK-1058/glob_before_set", "SetCredential=a:v\nImportCredential=a*", 257, "a</etc/credstore/a !inline_credential"},
		{"CHK-1058/set_for_missing", "LoadCredential=x:/s/gone\nSetCredential=x:v", 257, "x<inline !inline_credential"},
		{"CHK-1058/import_for_missing", "LoadCredential=a:none\nImportCredential=a", 257, "a</etc/credstore/a"},
		{"CHK-1058/missing", "LoadCredential=x:/s/gone", 257, "x</s/gone missing_source"},

		{"CHK-1059/tree", "LoadCredential=t:/s/tree", 257, "t_a</s/tree/a t_d_b</s/tree/d/b"},
		{"CHK-1059/load_before_tree", "LoadCredential=t_a:/s/one\nLoadCredential=t:/s/tree", 257, "t_a</s/one t_d_b</s/tree/d/b"},
		{"CHK-1059/load_behind_tree", "LoadCredential=t:/s/tree\nLoadCredential=t_a:/s/one", 257, "t_d_b</s/tree/d/b t_a</s/one"},
		{"CHK-1059/two_trees", "LoadCredential=t:/s/tree\nLoadCredential=t_d:/s/tree/d", 257, "t_a</s/tree/a t_d_b</s/tree/d/b origin_unknown"},
		{"CHK-1059/nothing_in_it", "LoadCredential=t:/s/none", 257, "t</s/none missing_source"},
		{"CHK-1059/bad_name", "LoadCredential=t:/s/bad", 257, "t</s/bad/\u00e4 source_not_usable"},
		{"CHK-1059/action", "LoadCredential=t:/s/tree\nX-Secretcheck-Action=t_a:load_key", 257, "t_a:load_key</s/tree/a t_d_b</s/tree/d/b"},

		{"CHK-1060/one_too_large", "LoadCredential=x:/s/over", 257, "x</s/over over_systemd_limit"},
		{"CHK-1060/together_too_large", "LoadCredential=x:/s/big\nLoadCredential=y:/s/big", 252, "x</s/big y</s/big over_systemd_limit"},
		{"CHK-1060/literals_count", "LoadCredential=x:/s/big\nSetCredential=y:" + strings.Repeat(`\x41`, 350_000/4) + strings.Repeat("v", 270_000), 252, "x</s/big y<inline over_systemd_limit"},
	} {
		t.Run(c.id, func(t *testing.T) {
			if got := expanded(t, dir, c.unit, c.version); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	t.Run("CHK-1060/pages", func(t *testing.T) {
		for version, want := range map[int]int{252: 0, 257: 1} {
			if got := strings.Count(expanded(t, dir, "LoadCredential=m:/s/many", version), "over_systemd_limit"); got != want {
				t.Errorf("systemd %d: %d of 257 credentials do not fit, want %d", version, got, want)
			}
		}
	})
}

// expanded writes the loads of a unit on a machine, and the findings of its own.
func expanded(t *testing.T, dir, text string, version int) string {
	t.Helper()
	h, err := host.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	u := systemd.Unit{Name: "u.service", Version: version, Files: []systemd.File{{Name: "u.service", Data: []byte("[Service]\n" + text + "\n")}}}
	loads, findings := systemd.Read(u)
	cfg := check.Config{Policy: denies{}, Host: h, Root: dir, Systemd: version}
	r := check.Run(context.Background(), cfg, check.Input{Loads: loads, Findings: findings})
	var out []string
	for _, l := range r.Loads {
		s := l.Name
		if l.Action != policy.LoadSecret {
			s += ":" + string(l.Action)
		}
		s += "<" + l.Origin
		for _, reason := range l.Reasons {
			if reason.Code != "inline_credential" {
				s += " " + reason.Code
			}
		}
		out = append(out, s)
	}
	for _, f := range r.Findings {
		if f.Rule == "inline_credential" || f.Severity == policy.SeverityNote {
			out = append(out, "!"+f.Rule)
		}
	}
	return strings.Join(out, " ")
}
