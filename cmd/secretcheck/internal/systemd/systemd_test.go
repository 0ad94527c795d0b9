package systemd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/policy"
)

// show writes the effective loads of a unit in one line each: NAME<ORIGIN@LINE:COLUMN, "?" for a doubt, and findings
// as !RULE@LINE:COLUMN.
func show(u Unit) string {
	loads, findings := Read(u)
	var out []string
	for _, l := range loads {
		s := l.Name + "<" + l.Origin
		if l.Directory {
			s += "/"
		}
		if l.Doubt != nil {
			s = "?" + l.Doubt.Rule + " " + s
		}
		out = append(out, fmt.Sprintf("%s@%d:%d", s, l.Line, l.Column))
	}
	for _, f := range findings {
		out = append(out, fmt.Sprintf("!%s@%d:%d", f.Rule, f.Line, f.Column))
	}
	return strings.Join(out, "\n")
}

func unit(name, text string) Unit {
	return Unit{Name: name, Files: []File{{Name: name, Data: []byte(text)}}}
}

// Each case is a rule of systemd.syntax(7), or of conf-parser.c where the manual is silent.
var syntax = []struct {
	id, unit, want string
}{
	{"CHK-1010/no_section", "LoadCredential=a:/x", "!unparsable@1:1"},
	{"CHK-1010/no_equals_sign", "[Service]\nLoadCredential a:/x\n", "!unparsable@2:1"},
	{"CHK-1010/no_key", "[Service]\n  =a:/x\n", "!unparsable@2:3"},
	{"CHK-1010/open_header", "[Service]\nLoadCredential=a:/x\n[Install\n", "!unparsable@3:1"},
	{"CHK-1010/not_utf8", "[Service]\nLoadCredential=a:/x\nDescription=\xff\n", "!unparsable@3:1"},
	{"CHK-1010/nul", "[Service]\nLoad\x00Credential=a:/x\n", "!unparsable@2:5"},
	{"CHK-1010/header_of_one_byte", "[\n", "!unparsable@1:1"},
	{"CHK-1010/quote_in_header", "[Ser\"vice]\nLoadCredential=a:/x\n", "!unparsable@1:1"},
	{"CHK-1010/apostrophe_in_header", "[Service]\nLoadCredential=a:/x\n[X-'a]\n", "!unparsable@3:1"},
	{"CHK-1010/backslash_in_header", "[Service]\nLoadCredential=a:/x\n[Serv\\ice]\n", "!unparsable@3:1"},
	{"CHK-1010/tab_in_header", "[Service]\n[Unit\t]\n", "!unparsable@2:1"},
	{"CHK-1010/delete_in_header", "[Service]\n[Unit\x7f]\n", "!unparsable@2:1"},
	{"CHK-1010/letters_in_header", "[Sérvice #;]\nx\n", ""},
	{"CHK-1010/empty_header", "[]\nx\n", ""},

	{"CHK-1011/plain", "[Service]\nLoadCredential=a:/x\n", "a</x@2:16"},
	{"CHK-1011/no_newline_at_end", "[Service]\nLoadCredential=a:/x", "a</x@2:16"},
	{"CHK-1011/white_space", "  [Service]\t\n \tLoadCredential \t= \ta:/x \t\n", "a</x@2:22"},
	{"CHK-1011/crlf", "[Service]\r\nLoadCredential=a:/x\r\n", "a</x@2:16"},
	{"CHK-1011/lone_cr_ends_a_line", "[Service]\rLoadCredential=a:/x\rLoadCredential=b:/y", "a</x@1:26\nb</y@1:46"},
	{"CHK-1011/lf_cr_is_one_end", "[Service]\nLoadCredential=a\\\n\rLoadCredential=b:/y", "a LoadCredential=b</y@2:16"},
	{"CHK-1011/byte_order_mark", "\ufeff[Service]\nLoadCredential=a:/x\n", "a</x@2:16"},
	{"CHK-1011/byte_order_mark_before_comment", "\ufeff# comment\n[Service]\nLoadCredential=a:/x\n", "a</x@3:16"},
	{"CHK-1011/characters_not_bytes", "[Service]\n# ä\rLoadCredential=a:/x\n", "a</x@2:20"},
	{"CHK-1011/only_ascii_white_space", "[Service]\nLoadCredential=\u00a0\n", "!ignored_by_systemd@2:16"},

	{"CHK-1012/comments", "[Service]\n# LoadCredential=a:/x\n ; LoadCredential=a:/x\nLoadCredential=b:/y\n", "b</y@4:16"},
	{"CHK-1012/comment_does_not_continue", "[Service]\n# see below \\\nLoadCredential=a:/x\n", "a</x@3:16"},
	{"CHK-1012/no_comment_behind_a_value", "[Service]\nLoadCredential=a:/x#y\n", "a</x#y@2:16"},

	{"CHK-1013/continued", "[Service]\nLoadCredential=\\\n  a:/x\n", "a</x@3:3"},
	{"CHK-1013/backslash_becomes_a_space", "[Service]\nLoadCredential=a\\\nb:/x\n", "a b</x@2:16"},
	{"CHK-1013/comment_inside", "[Service]\nLoadCredential=\\\n# a:/x\n; c:/x\\\nb:/y\n", "b</y@5:1"},
	{"CHK-1013/empty_line_ends_it", "[Service]\nLoadCredential=a:/x\\\n\nLoadCredential=b:/y\n", "a</x@2:16\nb</y@4:16"},
	{"CHK-1013/escaped_backslash_does_not_continue", "[Service]\nLoadCredential=a:/x\\\\\nLoadCredential=b:/y\n", "a</x\\@2:16\nb</y@3:16"},
	{"CHK-1013/continued_to_the_end", "[Service]\nLoadCredential=a:/x\\", "a</x@2:16"},
	{"CHK-1013/continued_key", "[Service]\nLoad\\\nCredential=a:/x\n", "!ignored_by_systemd@2:1"},

	{"CHK-1014/keys_accumulate", "[Service]\nLoadCredential=a:/x\nLoadCredential=b:/y\n", "a</x@2:16\nb</y@3:16"},
	{"CHK-1014/last_of_a_name", "[Service]\nLoadCredential=a:/x\nLoadCredential=b:/y\nLoadCredential=a:/z\n", "b</y@3:16\na</z@4:16"},
	{"CHK-1014/empty_resets", "[Service]\nLoadCredential=a:/x\nLoadCredential=\nLoadCredential=b:/y\n", "b</y@4:16"},
	{"CHK-1014/encrypted_shares_the_list", "[Service]\nLoadCredential=a:/x\nLoadCredentialEncrypted=\n", ""},
	{"CHK-1014/set_has_its_own_list", "[Service]\nLoadCredential=a:/x\nSetCredential=\n", "a</x@2:16"},
	{"CHK-1014/section_again", "[Service]\nLoadCredential=a:/x\n[Install]\n[Service]\nLoadCredential=b:/y\n", "a</x@2:16\nb</y@5:16"},
	{"CHK-1014/other_sections", "[Unit]\nLoadCredential=a:/x\n[X-Ours]\nnonsense\nLoadCredential=b:/y\n[Service]\n", "!ignored_by_systemd@2:1"},
	{"CHK-1014/keys_have_case", "[Service]\nloadcredential=a:/x\n[service]\nLoadCredential=b:/y\n", "!ignored_by_systemd@2:1"},

	{"CHK-1028/plural", "[Service]\nLoadCredentials=a:/x\nSetCredentials=b:c\nImportCredentials=d\n", "!ignored_by_systemd@2:1\n!ignored_by_systemd@3:1\n!ignored_by_systemd@4:1"},
	{"CHK-1028/letters", "[Service]\n LaodCredential=a:/x\nLoadcredential=a:/x\nLoadCredentialEncrpyted=a:/x\n", "!ignored_by_systemd@2:2\n!ignored_by_systemd@3:1\n!ignored_by_systemd@4:1"},
	{"CHK-1028/words", "[Service]\nCredentialFile=a:/x\nuser=a\nDynamicUsers=yes\n", "!ignored_by_systemd@2:1\n!ignored_by_systemd@3:1\n!ignored_by_systemd@4:1"},
	{"CHK-1028/section", "[Unit]\nUser=root\n[Install]\nSetCredential=a:b\n", "!ignored_by_systemd@2:1\n!ignored_by_systemd@4:1"},
	{"CHK-1028/other_keys", "[Unit]\nX-Credentials=a\n[Service]\nX-LoadCredential=a\nType=exec\nUMask=077\nSlice=a.slice\nGroup=nogroup\n", ""},
	{
		"CHK-1028/annotation", "[Unit]\nX-Secretcheck-Serivce=a\n[Service]\nX-SecretCheck-Action=a:load_key\nX-Secretcheck-Ignore=a\n[Unit]\nX-Secretcheck-Action=a\n",
		"!unused_setting@2:1\n!unused_setting@4:1\n!unused_setting@5:1\n!unused_setting@7:1",
	},

	{"CHK-1015/colon_in_path", "[Service]\nLoadCredential=a:/x:y\n", "a</x:y@2:16"},
	{"CHK-1015/quotes_are_not_special", "[Service]\nLoadCredential=\"a b\":/x y\n", "\"a b\"</x y@2:16"},
	{"CHK-1015/backslash_takes_the_next_byte", `[Service]` + "\n" + `LoadCredential=a\bc:/x`, "abc</x@2:16"},
	{"CHK-1015/escaped_colon", `[Service]` + "\n" + `LoadCredential=a\:b:/x`, "!ignored_by_systemd@2:16"},
	{"CHK-1015/store_by_name", "[Service]\nLoadCredential=a:b\nLoadCredential=c\nLoadCredential=d:\n", "?origin_unknown a<@2:16\n?origin_unknown c<@3:16\n?origin_unknown d<@4:16"},
	{"CHK-1015/slash_at_the_end", "[Service]\nLoadCredential=a:/x/\n", "a</x/@2:16"},
	{
		"CHK-1015/path_not_normalized", "[Service]\nLoadCredential=a:/x/../y\nLoadCredential=b:/x/./y\nLoadCredential=c://x\nLoadCredential=d:x/y\nLoadCredential=e: /x\n",
		"!ignored_by_systemd@2:16\n!ignored_by_systemd@3:16\n!ignored_by_systemd@4:16\n!ignored_by_systemd@5:16\n!ignored_by_systemd@6:16",
	},
	{
		"CHK-1015/names", "[Service]\nLoadCredential=:/x\nLoadCredential=..:/x\nLoadCredential=a/b:/x\nLoadCredential=ä:/x\nLoadCredential=a.b c:/x\n",
		"a.b c</x@6:16\n!ignored_by_systemd@2:16\n!ignored_by_systemd@3:16\n!ignored_by_systemd@4:16\n!ignored_by_systemd@5:16",
	},
	{"CHK-1015/name_of_255", "[Service]\nLoadCredential=" + strings.Repeat("n", 255) + ":/x\n", strings.Repeat("n", 255) + "</x@2:16"},
	{"CHK-1015/name_of_256", "[Service]\nLoadCredential=" + strings.Repeat("n", 256) + ":/x\n", "!ignored_by_systemd@2:16"},
	{"CHK-1015/path_of_4096", "[Service]\nLoadCredential=a:/" + strings.Repeat("n", 4095) + "\n", "!ignored_by_systemd@2:16"},

	{"CHK-1016/inline", "[Service]\nSetCredential=a:hunter2\nSetCredentialEncrypted=b:aHVudGVyMg==\n", "a<inline@2:15\nb<inline@3:24"},
	{"CHK-1016/no_value", "[Service]\nSetCredential=a\nSetCredential=b:\nSetCredential=:c\n", "!ignored_by_systemd@2:15\n!ignored_by_systemd@3:15\n!ignored_by_systemd@4:15"},
	{
		"CHK-1016/bad_escape", `[Service]` + "\nSetCredential=a:\\q\nSetCredential=b:\\x0\nSetCredential=c:\\n\\x00\\101\\u00e9\n",
		"c<inline@4:15\n!ignored_by_systemd@2:15\n!ignored_by_systemd@3:15",
	},
	{
		"CHK-1016/bad_base64", "[Service]\nSetCredentialEncrypted=a:xx!\nSetCredentialEncrypted=b:eHg\nSetCredentialEncrypted=c:eH g=\n",
		"c<inline@4:24\n!ignored_by_systemd@2:24\n!ignored_by_systemd@3:24",
	},

	{"CHK-1017/load_before_set", "[Service]\nSetCredential=a:v\nLoadCredential=a:/x\n", "a</x@3:16\n!inline_credential@2:15"},
	{"CHK-1017/load_before_encrypted_set", "[Service]\nSetCredentialEncrypted=a:aHVudGVyMg==\nLoadCredential=a:/x\n", "a</x@3:16"},
	{"CHK-1017/load_before_reset_set", "[Service]\nSetCredential=a:v\nSetCredential=\nLoadCredential=a:/x\n", "a</x@4:16"},
	{"CHK-1017/load_before_import", "[Service]\nImportCredential=a\nLoadCredential=a:/x\n", "a</x@3:16"},
	{"CHK-1017/import_before_set", "[Service]\nSetCredential=a:v\nImportCredential=a\n", "?import_not_resolved a<@3:18\n!inline_credential@2:15"},
	{
		"CHK-1017/import_glob", "[Service]\nImportCredential=db.*\nImportCredential=a*b\nImportCredential=*\nImportCredential=x:y\nImportCredential=x:y/z\n",
		"?import_not_resolved db.*<@2:18\n?import_not_resolved *<@4:18\n?import_not_resolved y<@5:18\n!ignored_by_systemd@3:18\n!ignored_by_systemd@6:18",
	},

	{"CHK-1018/specifiers", "[Service]\nLoadCredential=%p%j%i:/x/%n/%N/%%\n", "u-vv</x/u-v.service/u-v/%@2:16"},
	{"CHK-1018/host_specifier_in_path", "[Service]\nLoadCredential=a:/x/%m\n", "?specifier_not_resolved a<@2:16"},
	{"CHK-1018/host_specifier_in_name", "[Service]\nLoadCredential=a%H:/x\n", "?specifier_not_resolved a%H</x@2:16"},
	{"CHK-1018/percent_at_the_end", "[Service]\nLoadCredential=a:/x/100%\n", "a</x/100%@2:16"},
}

func TestSyntax(t *testing.T) {
	for _, c := range syntax {
		t.Run(c.id, func(t *testing.T) {
			if got := show(unit("u-v.service", c.unit)); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// Evidence for CHK-1018.
func TestCHK1018EmptySpecifier(t *testing.T) { // an empty %i leaves "//", which systemd refuses
	got := show(unit("u.service", "[Service]\nLoadCredential=a:/x/%i/y\n"))
	if got != "!ignored_by_systemd@2:16" {
		t.Error(got)
	}
}

// Evidence for CHK-1018.
func TestCHK1018Instances(t *testing.T) {
	const text = "[Service]\nLoadCredential=a:/x/%i\nLoadCredential=b:/x/%p\n"
	for name, want := range map[string]string{
		"u@one.service": "a</x/one@2:16\nb</x/u@3:16",
		"u@.service":    "?specifier_not_resolved a<@2:16\nb</x/u@3:16",
	} {
		if got := show(unit(name, text)); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
}

// Evidence for CHK-1019.
func TestCHK1019DropIns(t *testing.T) {
	u := Unit{Name: "u.service", Files: []File{
		{"u.service", []byte("[Service]\nLoadCredential=a:/x\nLoadCredential=b:/x\nUser=one\n")},
		{"u.service.d/10.conf", []byte("[Service]\nLoadCredential=b:/y\n")},
		{"u.service.d/20.conf", []byte("[Service]\nUser=20\n")},
	}}
	loads, findings := Read(u)
	if len(findings) != 0 || len(loads) != 2 {
		t.Fatalf("%d loads, findings %v", len(loads), findings)
	}
	if l := loads[1]; l.Name != "b" || l.Origin != "/y" || l.File != "u.service.d/10.conf" || l.Line != 2 {
		t.Errorf("the drop-in is not in force: %+v", l)
	}
	if l := loads[0]; l.UID != 20 || l.User != "" {
		t.Errorf("User= of the drop-in is not in force: %+v", l)
	}
	u.Files[2].Data = []byte("nonsense")
	if loads, findings := Read(u); len(loads) != 0 || len(findings) != 1 || findings[0].File != "u.service.d/20.conf" {
		t.Errorf("half a unit is judged: %v %v", loads, findings)
	}
}

// Evidence for CHK-1020.
func TestCHK1020Identity(t *testing.T) {
	for _, c := range []struct {
		unit, service, user string
		uid                 int64
		dynamic             bool
	}{
		{"", "u", "", 0, false},
		{"User=root", "u", "", 0, false},
		{"User=990", "u", "", 990, false},
		{"User=queen", "u", "queen", -1, false},
		{"User=queen\nUser=", "u", "", 0, false},
		{"User=%i", "u", "one", -1, false},
		{"User=%u", "u", "", -1, false},
		{"DynamicUser=yes", "u", "", -1, true},
		{"DynamicUser=yes\nDynamicUser=off", "u", "", 0, false},
		{"X-Secretcheck-Service=queen-rbee", "queen-rbee", "", 0, false},
		{"X-Secretcheck-Service=queen-rbee\nX-Secretcheck-Service=", "u", "", 0, false},
	} {
		loads, findings := Read(unit("u@one.service", "[Service]\nLoadCredential=a:/x\n"+c.unit+"\n"))
		if len(loads) != 1 || len(findings) != 0 {
			t.Errorf("%s: %d loads, %v", c.unit, len(loads), findings)
			continue
		}
		l := loads[0]
		if l.Service != c.service || l.User != c.user || l.UID != c.uid || l.Dynamic != c.dynamic {
			t.Errorf("%s: service %q user %q uid %d dynamic %v", c.unit, l.Service, l.User, l.UID, l.Dynamic)
		}
		if l.Path != "/run/credentials/u@one.service/a" || l.Unit != "u@one.service" {
			t.Errorf("%s: path %q unit %q", c.unit, l.Path, l.Unit)
		}
	}
	if loads, _ := Read(Unit{Name: "u.service", Partial: true, Files: unit("u.service", "[Service]\nLoadCredential=a:/x").Files}); loads[0].UID != -1 {
		t.Error("a drop-in alone says nothing about the user")
	}
}

// Evidence for CHK-1021.
func TestCHK1021Annotations(t *testing.T) {
	for _, c := range []struct{ setting, want string }{
		{"X-Secretcheck-Action=a:load_key", "load_key/"},
		{"X-Secretcheck-Action=a:derive_key:seal-v1", "derive_key/seal-v1"},
		{"X-Secretcheck-Action=a:load_key\nX-Secretcheck-Action=", "/"},
		{"X-Secretcheck-Action=a:steal", "/ !unparsable"},
		{"X-Secretcheck-Action=a", "/ !unparsable"},
		{"X-Secretcheck-Action=a:derive_key", "/ !unparsable"},
		{"X-Secretcheck-Action=b:load_key", "/ !unused_setting"},
		{"X-Secretcheck-Service=two words", "/ !unparsable"},
	} {
		loads, findings := Read(unit("u.service", "[Service]\nLoadCredential=a:/x\n"+c.setting+"\n"))
		got := string(loads[0].Action) + "/" + loads[0].Purpose
		for _, f := range findings {
			got += " !" + f.Rule
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.setting, got, c.want)
		}
	}
	loads, _ := Read(unit("u.service", "[Unit]\nX-Secretcheck-Service=v\n[Service]\nLoadCredential=a:/x\n"))
	if loads[0].Service != "v" {
		t.Error("X-Secretcheck-Service= in [Unit] is not read")
	}
}

// The value of a literal credential is nowhere in what the reader returns. (SM-SEC-5002)
// Evidence for CHK-1003.
func TestCHK1003LiteralsAreDropped(t *testing.T) {
	const canary = "cAnArY-7f3a"
	for _, text := range []string{
		"SetCredential=a:" + canary,
		"SetCredential=a:" + canary + `\q`,
		"SetCredentialEncrypted=a:" + canary,
		"SetCredential=" + canary,
		`SetCredential=a\:` + canary,
		"SetCredential=a/b:" + canary,
		"SetCredential=a:\\\n  " + canary,
		"SetCredential=a:x\n" + canary,       // a continuation that lost its backslash
		"SetCredential=a:x\n[" + canary,      // looks like a header
		"SetCredential=a:x\n=" + canary,      // looks like a value
		"LoadCredential=a:" + canary + "/x",  // a value where a path belongs
		"LoadCredential=a:" + canary,         // taken for a name in the credential store
		"LoadCredential=" + canary + "/:/x",  // a value where a name belongs
		"ImportCredential=" + canary + "?",   //
		"Environment=TOKEN=" + canary,        // not ours, so not kept
		"X-Secretcheck-Action=a:" + canary,   //
		"X-Secretcheck-Service=a " + canary,  //
		"SetCredential=a:x\xff" + canary,     // not UTF-8
		"SetCredential=a:\x00" + canary,      // NUL
		"SetCredential=a:" + canary + "\\\n", // continued to the end
	} {
		u := unit("u.service", "[Service]\n"+text)
		loads, findings := Read(u)
		if got := fmt.Sprintf("%+v %+v", loads, findings); strings.Contains(got, canary) {
			t.Errorf("%q comes back: %s", text, got)
		}
		assignments, _ := parse(splitName("u.service"), "u.service", u.Files[0].Data)
		for _, a := range assignments {
			if strings.HasPrefix(a.key, "Set") && strings.Contains(fmt.Sprintf("%+v", a), canary) {
				t.Errorf("%q is kept by the parser: %+v", text, a)
			}
		}
	}
}

func TestFindingsNameTheService(t *testing.T) {
	_, findings := Read(unit("u.service", "[Service]\nLoadCredential=/:/x\nX-Secretcheck-Service=v\n"))
	if len(findings) != 1 || findings[0].Service != "v" || findings[0].Severity != policy.SeverityWarning {
		t.Errorf("%+v", findings)
	}
}

// A unit of the largest size that is read, made of nothing but credentials, takes time in proportion.
// Evidence for CHK-1023.
func TestCHK1023ManyCredentials(t *testing.T) {
	var b strings.Builder
	b.WriteString("[Service]\n")
	for i := range 40_000 {
		fmt.Fprintf(&b, "LoadCredential=%d:/x\n", i)
	}
	start := time.Now()
	loads, findings := Read(unit("u.service", b.String()))
	if len(loads) != 40_000 || len(findings) != 0 {
		t.Errorf("%d loads, %d findings", len(loads), len(findings))
	}
	if took := time.Since(start); took > 5*time.Second { // a quadratic walk takes minutes
		t.Errorf("took %v", took)
	}
}
