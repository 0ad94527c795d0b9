package systemd

import (
	"fmt"
	"strings"
	"testing"
)

// What a version of systemd does not know, it ignores; what it loses on the way to its executor, the service does not get.
func TestVersions(t *testing.T) {
	for _, c := range []struct {
		id      string
		version int
		unit    string
		want    string
	}{
		{"CHK-1053/import_is_new", 253, "ImportCredential=a", "!ignored_by_systemd"},
		{"CHK-1053/import", 254, "ImportCredential=a", "a<?"},
		{"CHK-1053/rename_is_new", 256, "ImportCredential=a:b", "!ignored_by_systemd"},
		{"CHK-1053/rename", 257, "ImportCredential=a:b\nImportCredential=x.*:y.", "b<? y.*<?"},
		{"CHK-1053/encrypted_is_new", 249, "LoadCredentialEncrypted=a:/x\nSetCredentialEncrypted=b:eHg=\nLoadCredential=c:/x", "c</x !ignored_by_systemd !ignored_by_systemd"},

		{"CHK-1061/space_in_name", 254, "LoadCredential=a b:/x", "a b</x"},
		{"CHK-1061/space_in_name", 255, "LoadCredential=a b:/x", "a b</x not_started"},
		{"CHK-1061/space_in_path", 257, "LoadCredential=a:/x z", "a</x z not_started"},
		{"CHK-1061/space_that_ends_it", 257, "LoadCredential=a:/x no", "a</x"},
		{"CHK-1061/space_in_literal", 257, "SetCredential=a b:v", "a b<inline not_started"},
		{"CHK-1061/space_in_value", 257, "SetCredential=a:v w", "a<inline"},
		{"CHK-1061/space_in_import", 257, "ImportCredential=a b", "b<?"},
		{"CHK-1061/space_in_store", 257, "LoadCredential=a:b c", "a<? not_started"},
		{"CHK-1061/backslash", 254, `LoadCredential=e\\s:/x`, `e\s</x`},
		{"CHK-1061/backslash", 255, `LoadCredential=e\\s:/x`, "es</x"},
		{"CHK-1061/backslash_at_the_end", 257, `LoadCredential=a:/x\` + " ", `a</x\ not_started`},
		{"CHK-1061/two_backslashes_at_the_end", 257, `LoadCredential=a:/x\\`, `a</x\`},
		{"CHK-1061/backslash_in_path", 257, `LoadCredential=a:/x/\../y`, `a</x/\../y not_started`},
		{"CHK-1061/same_name_in_the_end", 257, "LoadCredential=es:/x\n" + `LoadCredential=e\\s:/y`, "es</y"},

		{"CHK-1062/unescaped", 257, "LoadCredential=%p:/x%P%I", `u-v</xu/vi j not_started`},
		{"CHK-1062/directories", 257, "LoadCredential=a:%E/%S%C%L%t", "!ignored_by_systemd"},
		{"CHK-1062/directories", 257, "LoadCredential=a:%E%S%C%L%t", "a</etc/var/lib/var/cache/var/log/run"},
		{"CHK-1062/no_specifier", 257, "LoadCredential=a%-:/x%/y% z%", "a%-</x%/y% z% not_started"},
	} {
		t.Run(fmt.Sprint(c.id, "/", c.version), func(t *testing.T) {
			u := unit(`u-v@i\x20j.service`, "[Service]\n"+c.unit+"\n")
			u.Version = c.version
			loads, findings := Read(u)
			var out []string
			for _, l := range loads {
				s := l.Name + "<" + l.Origin
				if l.Doubt != nil {
					s += "?"
				}
				if l.Fault != nil {
					s += " " + l.Fault.Rule
				}
				out = append(out, s)
			}
			for _, f := range findings {
				out = append(out, "!"+f.Rule)
			}
			if got := strings.Join(out, " "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// A user's unit is one whose user and rights are open.
// Evidence for CHK-1052.
func TestCHK1052UserUnits(t *testing.T) {
	u := unit("u.service", "[Service]\nLoadCredential=a:/x\nImportCredential=b*\nSetCredential=c:v\nLoadCredential=d:%t/x\nUser=root\n")
	u.User = true
	loads, _ := Read(u)
	if len(loads) != 4 {
		t.Fatalf("%d loads", len(loads))
	}
	for _, l := range loads {
		if l.UID != -1 || l.User != "" || !l.UIDOpen || !l.UnitOpen || l.Doubt == nil || l.Doubt.Rule != "user_unit" || l.Doubt.Identity != (l.Name == "b*") {
			t.Errorf("%+v", l)
		}
	}
}
