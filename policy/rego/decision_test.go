package rego

import (
	"slices"
	"strings"
	"testing"
)

// changes are made to a request, by dotted path.
type changes map[string]any

// violations are requests that are allowed but for one thing, and the reason that the refusal must give alone.
var violations = []struct {
	id      string
	name    string
	base    string
	changes changes
	code    string
}{
	{"POL-1001", "unknown service", "file", changes{"subject.service": "mallory"}, "no_grant"},
	{"POL-1001", "no service", "file", changes{"subject.service": ""}, "no_grant"},
	{"POL-1001", "another path", "file", changes{"resource.path": "/etc/llorch/secrets/other"}, "no_grant"},
	{"POL-1001", "another action", "file", changes{"action": "load_key"}, "no_grant"},
	{"POL-1001", "another name", "credential", changes{"resource.name": "seal_key"}, "no_grant"},
	{"POL-1001", "another variable", "env", changes{"resource.name": "HOME"}, "no_grant"},
	{"POL-1001", "another purpose", "file", changes{"action": "derive_key", "resource.purpose": "x"}, "no_grant"},
	{"SM-SEC-5005", "traversal", "file", changes{"resource.path": "/etc/llorch/secrets/../../shadow"}, "no_grant"},
	{"POL-1002", "unknown api", "file", changes{"api": "v2"}, "invalid_request"},
	{"POL-1002", "unknown action", "file", changes{"action": "print"}, "invalid_request"},
	{"POL-1002", "unknown phase", "file", changes{"context.phase": "test"}, "invalid_request"},
	{"POL-1002", "a service that predicts", "file", changes{"resource.facts": "predicted"}, "invalid_request"},
	{"SEC-SECRET-024", "a service without facts", "file", changes{"resource.facts": "unchecked"}, "invalid_request"},
	{"SM-SEC-5005", "real path elsewhere", "file", changes{"resource.resolved": "/home/m/token"}, "outside_grant"},
	{"SEC-SECRET-023", "real path unknown", "file", changes{"resource.resolved": ""}, "outside_grant"},
	{"SM-SEC-5005", "symlink", "file", changes{"resource.file.final_symlink": true}, "symlink_not_granted"},
	{"SEC-SECRET-020", "fifo", "file", changes{"resource.file.type": "fifo"}, "not_regular"},
	{"SEC-SECRET-020", "directory", "file", changes{"resource.file.type": "directory"}, "not_regular"},
	{"SEC-SECRET-020", "unknown type", "file", changes{"resource.file.type": ""}, "not_regular"},
	{"SEC-SECRET-020", "second link", "file", changes{"resource.file.nlink": 2.0}, "hard_linked"},
	{"SEC-SECRET-020", "foreign owner", "file", changes{"resource.file.owner_is_me": false}, "foreign_owner"},
	{"SM-SEC-5004", "mode 0644", "file", changes{"resource.file.group_bits": 4.0, "resource.file.other_bits": 4.0}, "mode_too_open"},
	{"SM-SEC-5004", "mode 0640", "file", changes{"resource.file.group_bits": 4.0}, "mode_too_open"},
	{"SEC-SECRET-021", "mode 0604", "file", changes{"resource.file.other_bits": 4.0}, "mode_too_open"},
	{"SEC-SECRET-021", "mode 0601", "file", changes{"resource.file.other_bits": 1.0}, "mode_too_open"},
	{"SEC-SECRET-021", "mode 0620", "file", changes{"resource.file.group_bits": 2.0}, "mode_too_open"},
	{"SM-SEC-5004", "extended ACL", "file", changes{"resource.file.acl": true}, "extended_acl"},
	{"SM-SEC-5004", "world-writable directory", "file", changes{"resource.file.writers.everyone": true}, "writable_by_others"},
	{"SM-SEC-5004", "group may write", "file", changes{"resource.file.writers.gids": []any{0.0}}, "writable_by_others"},
	{"SM-SEC-5004", "stranger may write", "file", changes{"resource.file.writers.uids": []any{7.0}}, "writable_by_others"},
	{"SM-SEC-5004", "the largest uid may write", "file", changes{"resource.file.writers.uids": []any{4294967294.0}}, "writable_by_others"},
	{"SEC-SECRET-020", "5 GiB", "file", changes{"resource.file.size": 5368709120.0}, "too_large"},
	{"SEC-SECRET-020", "1 MiB and a byte", "file", changes{"resource.file.size": 1048577.0}, "too_large"},
	{"SEC-SECRET-020", "FUSE", "file", changes{"resource.file.filesystem": "fuse"}, "filesystem_not_trusted"},
	{"SEC-SECRET-020", "unknown file system", "file", changes{"resource.file.filesystem": "unknown"}, "filesystem_not_trusted"},
	{"SM-SEC-5004", "credential for everyone", "credential", changes{"resource.file.readers.everyone": true}, "readable_by_others"},
	{"SM-SEC-5004", "credential for a group", "credential", changes{"resource.file.readers.gids": []any{5.0}}, "readable_by_others"},
	{"SM-SEC-5004", "credential for a stranger", "credential", changes{"resource.file.readers.uids": []any{7.0}}, "readable_by_others"},
	{"SEC-SECRET-020", "credential hard-linked", "credential", changes{"resource.file.nlink": 2.0}, "hard_linked"},
	{"SM-SEC-5004", "predicted for everyone", "rollout", changes{"resource.file.readers.everyone": true}, "readable_by_others"},
	{"SM-SEC-5005", "origin elsewhere", "rollout", changes{"resource.origin": "/home/m/token"}, "origin_outside_grant"},
	{"SM-SEC-5004", "origin 0644", "rollout", changes{"resource.origin_file.other_bits": 4.0}, "origin_mode_too_open"},
	{"SM-SEC-5004", "origin with an ACL", "rollout", changes{"resource.origin_file.acl": true}, "origin_extended_acl"},
	{"SEC-SECRET-020", "origin a socket", "rollout", changes{"resource.origin_file.type": "socket"}, "origin_not_regular"},
	{"SEC-SECRET-020", "origin hard-linked", "rollout", changes{"resource.origin_file.nlink": 2.0}, "origin_hard_linked"},
	{"SEC-SECRET-020", "origin of a stranger", "rollout", changes{"resource.origin_file.owner_is_root": false}, "origin_foreign_owner"},
	{
		"SEC-SECRET-020", "origin of the service", "rollout",
		changes{"resource.origin_file.owner_is_root": false, "resource.origin_file.owner_is_me": true},
		"origin_foreign_owner",
	},
	{"SEC-SECRET-020", "origin that the service can replace", "rollout", changes{"resource.origin_file.writers.uids": []any{0.0, 1001.0}}, "origin_writable_by_others"},
	{"SM-SEC-5004", "origin in a shared directory", "rollout", changes{"resource.origin_file.writers.gids": []any{3.0}}, "origin_writable_by_others"},
	{"SEC-SECRET-020", "origin too large", "rollout", changes{"resource.origin_file.size": 1048577.0}, "origin_too_large"},
	{"SM-SEC-5005", "origin a symlink", "rollout", changes{"resource.origin_file.final_symlink": true}, "origin_symlink_not_granted"},
	{"SEC-SECRET-020", "origin on NFS", "rollout", changes{"resource.origin_file.filesystem": "nfs"}, "origin_filesystem_not_trusted"},
	{"SM-SEC-5004", "a writer without a number", "file", changes{"resource.file.writers.uids": []any{0.0, 4294967295.0}}, "writable_by_others"},
	{"SM-SEC-5004", "a reader without a number", "credential", changes{"resource.file.readers.uids": []any{0.0, 4294967295.0}}, "readable_by_others"},
	{"SM-SEC-5004", "an owner without a number", "file", changes{"resource.file.uid": 4294967295.0, "resource.file.owner_is_me": false, "resource.file.owner_is_root": false}, "foreign_owner"},
	{"IDN-1003", "a unit that is only claimed", "file", changes{"subject.service": "bound"}, "identity_not_proven"},
	{"IDN-1003", "another unit", "file", changes{"subject.service": "bound", "subject.attested.unit": "cgroup", "subject.unit": "evil.service"}, "identity_not_proven"},
	{"IDN-1003", "another uid", "file", changes{"subject.service": "bound", "subject.attested.unit": "cgroup", "subject.uid": 1002.0}, "identity_not_proven"},
	{"IDN-1003", "a uid that is only claimed", "file", changes{"subject.service": "bound", "subject.attested.unit": "cgroup", "subject.attested.uid": ""}, "identity_not_proven"},
	{"IDN-1003", "another unit at rollout", "rollout", changes{"subject.service": "bound", "subject.attested.unit": "descriptor", "subject.unit": "evil.service"}, "identity_not_proven"},
	{"IDN-1004", "a unit that the descriptor does not tell", "rollout", changes{"subject.service": "bound"}, "identity_unknown"},
	{"POL-1003", "weak memory", "file", changes{"subject.service": "careful", "context.memory": "heap"}, "weak_memory"},
}

// violating returns the request of a violation.
func violating(t testing.TB, base string, c changes) map[string]any {
	t.Helper()
	in := requests(t)[base]
	for path, value := range c {
		set(in, path, value)
	}
	return in
}

func TestViolationsAreRefused(t *testing.T) {
	r := defaultRules(t, testGrants)
	for _, v := range violations {
		t.Run(v.id+"/"+v.name, func(t *testing.T) {
			got, _, ok := r.decide(t, violating(t, v.base, v.changes))
			if !ok || got.Allow || !slices.Equal(got.codes(), []string{v.code}) {
				t.Fatalf("decided %+v, want %s alone", got, v.code)
			}
			why := got.Reasons[0]
			if why.Severity != "error" || why.Message == "" || why.Fix == "" {
				t.Errorf("reason %+v lacks something", why)
			}
			if (len(got.Grants) == 0) != (v.code == "no_grant" || v.code == "invalid_request" && v.changes["action"] != nil) {
				t.Errorf("grants %q beside %s", got.Grants, v.code)
			}
			if got.Obligations.MaxBytes != 0 {
				t.Errorf("a refusal lets %d bytes be read", got.Obligations.MaxBytes)
			}
		})
	}
}

func TestStrictBaseIsAllowed(t *testing.T) {
	r := defaultRules(t, testGrants)
	for name, in := range requests(t) {
		t.Run("SEC-SECRET-022/"+name, func(t *testing.T) {
			got, _, ok := r.decide(t, in)
			if !ok || !got.Allow || len(got.Grants) != 1 || got.Obligations.MaxBytes != 1<<20 {
				t.Fatalf("decided %+v, want an allow by one grant", got)
			}
			if want := name == "env"; slices.Contains(got.codes(), "environment_source") != want {
				t.Errorf("reasons %+v, want a warning: %v", got.Reasons, want)
			}
			if !r.ask(t, in) {
				t.Error("what is allowed may not be asked for")
			}
		})
	}
}

// TestReasonCodesAreDocumented compares the codes that the rules can give with the closed list.
func TestReasonCodesAreDocumented(t *testing.T) {
	given := []string{"environment_source"}
	for _, v := range violations {
		given = append(given, v.code)
	}
	slices.Sort(given)
	given = slices.Compact(given)
	var documented []string
	for _, code := range Codes() {
		documented = append(documented, code.Code)
		if code.Meaning == "" {
			t.Errorf("%s has no meaning", code.Code)
		}
	}
	t.Run("POL-1003", func(t *testing.T) {
		if !slices.Equal(given, documented) {
			t.Errorf("tested codes\n%s\ndocumented codes\n%s", strings.Join(given, "\n"), strings.Join(documented, "\n"))
		}
	})
}

func TestNoGrantHidesTheFile(t *testing.T) {
	r := defaultRules(t, testGrants)
	there := violating(t, "file", changes{"subject.service": "mallory"})
	absent := violating(t, "file", changes{"subject.service": "mallory", "resource.resolved": "", "resource.file": object(t, unknownFile)})
	t.Run("POL-1001/no_grant says the same", func(t *testing.T) {
		a, _, _ := r.decide(t, there)
		b, _, _ := r.decide(t, absent)
		if len(a.Reasons) != 1 || !slices.Equal(a.Reasons, b.Reasons) {
			t.Errorf("a file that exists: %+v\none that does not: %+v", a.Reasons, b.Reasons)
		}
	})
}

func TestSiteRulesAddDenials(t *testing.T) {
	const site = `package secrets.load

site_reasons contains {"code": "site_host", "message": "not on this host", "severity": "error", "fix": "none"} if {
	input.context.host == "h1"
}
`
	r := defaultRules(t, testGrants, site)
	got, _, _ := r.decide(t, fileRequest(t))
	if got.Allow || !slices.Equal(got.codes(), []string{"site_host"}) {
		t.Errorf("decided %+v, want site_host alone", got)
	}
	elsewhere := violating(t, "file", changes{"context.host": "h2"})
	if got, _, _ := r.decide(t, elsewhere); !got.Allow {
		t.Errorf("decided %+v elsewhere, want an allow", got)
	}
}

// TestTextsFitTheHostsBound: a message or a fix of more than 1024 bytes is no well-formed decision for the host, so the
// refusal would lose its reasons.
func TestTextsFitTheHostsBound(t *testing.T) {
	r := defaultRules(t, testGrants)
	wide, quotes := "/"+strings.Repeat("\U0001d538", 4000), "/"+strings.Repeat("'", 4000)
	many := make([]any, 2000)
	for i := range many {
		many[i] = 4_000_000_000.0 + float64(i)
	}
	for _, long := range []string{wide, quotes, wide[:1+4*179], quotes[:180], wide[:1+4*99], quotes[:100]} {
		for _, base := range []string{"file", "rollout"} {
			in := requests(t)[base]
			for _, path := range []string{"resource.resolved", "resource.origin", "context.memory"} {
				set(in, path, long)
			}
			for _, name := range []string{"type", "mode_octal", "filesystem", "nlink", "size", "uid", "owner_is_root", "owner_is_me"} {
				set(in, "resource.file."+name, long)
				set(in, "resource.origin_file."+name, long)
			}
			for _, list := range []string{"readers", "writers"} {
				set(in, "resource.file."+list+".uids", many)
				set(in, "resource.origin_file."+list+".gids", many)
			}
			fits(t, r, in, 7)
			set(in, "resource.path", long)
			set(in, "resource.name", long)
			set(in, "subject.service", long)
			fits(t, r, in, 1)
		}
	}
}

// TestFixesWithGrantsFit: POL-1003: the longest fix has a path, a grant's longest id and what would relax it.
func TestFixesWithGrantsFit(t *testing.T) {
	id := strings.Repeat("x", 100)
	r := defaultRules(t, `{"secrets":{"services":{"queen-rbee":[{"id":"`+id+`","actions":["load_secret"],"source":"file",
		"paths":["/etc/llorch/secrets/api-token"]}]}}}`)
	for _, group := range []float64{0, 4} {
		for _, length := range []int{70, 71, 100, 180} {
			in := violating(t, "file", changes{
				"resource.resolved": "/" + strings.Repeat("'", length-1), "subject.uid": 4294967293.0,
				"resource.file.uid": 4294967294.0, "resource.file.owner_is_me": false, "resource.file.owner_is_root": false,
				"resource.file.writers.uids": []any{0.0, 4294967294.0}, "resource.file.gid": 4294967294.0,
				"resource.file.group_bits": 4.0, "resource.file.other_bits": group,
			})
			fits(t, r, in, 4)
			got, _, _ := r.decide(t, in)
			for _, why := range got.Reasons {
				if why.Code != "outside_grant" && !strings.Contains(why.Fix, id) {
					t.Errorf("%s: %q names no grant", why.Code, why.Fix)
				}
			}
		}
	}
}

func fits(t *testing.T, r rules, in map[string]any, least int) {
	t.Helper()
	got, _, _ := r.decide(t, in)
	if got.Allow || len(got.Reasons) < least {
		t.Fatalf("decided %+v, want %d reasons", got, least)
	}
	for _, why := range got.Reasons {
		if len(why.Message) > 1024 || len(why.Fix) > 1024 {
			t.Errorf("%s: a message of %d and a fix of %d bytes", why.Code, len(why.Message), len(why.Fix))
		}
	}
}
