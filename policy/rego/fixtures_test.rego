# Requests as the host writes them, grants for each, and what the tests say about verdicts.
package secrets.load_test

import data.secrets.load

# ---- helpers ----

judge(request) := verdict if {
	verdict := load.decision with input as request with data.secrets.services as services
}

asks(request) if load.may_ask with input as request with data.secrets.services as services

codes(verdict) := [reason.code | some reason in verdict.reasons]

denied(request, expected) if {
	verdict := judge(request)
	verdict.allow == false
	{code | some code in codes(verdict)} == {code | some code in expected}
	verdict.obligations == {"max_bytes": 0, "min_length": 0, "min_memory": ""}
	every reason in verdict.reasons { well_formed(reason) }
}

well_formed(reason) if {
	object.keys(reason) == {"code", "fix", "message", "severity"}
	reason.severity == "error"
	count(reason.message) > 0
	count(reason.fix) > 0
}

allows_with(request, grants) if {
	verdict := load.decision with input as request with data.secrets.services as grants
	verdict.allow
}

retyped_facts := [{field: other} |
	some field, value in judged_facts
	some other in [null, true, 0, "", "x", [], {}]
	type_name(other) != type_name(value)
]

not_allowed(request) if not judge(request).allow

allowed(request, grants) if {
	verdict := judge(request)
	verdict.allow == true
	verdict.grants == grants
	verdict.reasons == []
}

fix_of(request, code) := [reason.fix | some reason in judge(request).reasons; reason.code == code][0]

change(request, differences) := object.union(request, differences)

with_file(differences) := change(token_file, {"resource": {"file": differences}})

with_mode(octal, group, other) := with_file({"mode_octal": octal, "group_bits": group, "other_bits": other})

with_credential(differences) := change(token_credential, {"resource": {"file": differences}})

with_origin(differences) := change(rollout, {"resource": {"origin_file": differences}})

relaxed(name, differences) := change(token_file, {
	"context": {"memory": "memfd_secret"},
	"resource": {
		"path": concat("/", ["/relaxed", name]),
		"resolved": concat("/", ["/relaxed", name]),
		"file": differences,
	},
})

# ---- fixtures ----

question := {
	"api": "v1", "subject": token_file.subject, "action": "load_secret",
	"resource": {"source": "file", "path": "/etc/llorch/secrets/api-token", "name": "", "purpose": ""},
}

proven_subject := {"subject": {"attested": {"unit": "cgroup"}}}

# Each of these requires something of the service besides its name.
requires_uid := change(token_file, {"resource": {"path": "/of/uid", "resolved": "/of/uid"}})

requires_unit := change(change(token_file, proven_subject), {"resource": {"path": "/of/unit", "resolved": "/of/unit"}})

requires_both := change(change(token_file, proven_subject), {"resource": {"path": "/of/both", "resolved": "/of/both"}})

token_file := {
	"api": "v1",
	"subject": {
		"service": "queen-rbee", "container": "", "uid": 1001, "gid": 1001, "unit": "queen-rbee.service", "exe": "/usr/bin/queen",
		"spiffe_id": "", "attested": {"uid": "getuid", "gid": "getgid", "unit": "", "exe": "", "spiffe_id": ""},
	},
	"action": "load_secret",
	"resource": {
		"source": "file", "path": "/etc/llorch/secrets/api-token", "resolved": "/etc/llorch/secrets/api-token",
		"ancestors": ["/etc/llorch/secrets", "/etc/llorch", "/etc", "/"], "links": [], "name": "", "purpose": "", "origin": "",
		"facts": "observed", "file": private_file, "origin_file": unknown_file,
	},
	"context": {"phase": "runtime", "host": "h1", "environment": "", "memory": "locked"},
}

key_file := change(token_file, {"action": "load_key", "resource": {"path": "/k", "resolved": "/k"}})

strict_file := change(token_file, {"resource": {"path": "/strict", "resolved": "/strict"}})

token_dir := change(token_file, {"resource": {"path": "/srv/tokens/a/b", "resolved": "/srv/tokens/a/b"}})

# A credential as systemd 257 places it for a unit with User=: 0440, with an ACL for that user.
token_credential := change(token_file, {"resource": {
	"source": "credential", "name": "api_token", "path": "/run/credentials/queen-rbee.service/api_token",
	"resolved": "/run/credentials/queen-rbee.service/api_token",
	"file": {
		"mode": 288, "mode_octal": "0440", "group_bits": 4, "uid": 0, "gid": 0, "owner_is_root": true, "owner_is_me": false,
		"filesystem": "ramfs", "acl": true, "writers": {"uids": [0]},
	},
}})

rollout := change(token_credential, {
	"context": {"phase": "rollout", "memory": ""},
	"resource": {
		"facts": "predicted", "origin": "/etc/llorch/secrets/api-token",
		"origin_file": change(private_file, {
			"uid": 0, "gid": 0, "owner_is_root": true, "owner_is_me": false,
			"readers": {"uids": [0]}, "writers": {"uids": [0]},
		}),
	},
})

seal_key := change(token_credential, {
	"action": "derive_key",
	"resource": {"name": "worker_token", "purpose": "llorch-seal-key-v1"},
})

token_variable := change(token_file, {"resource": {
	"source": "env", "name": "LLORCH_API_TOKEN", "path": "", "resolved": "", "ancestors": [], "file": unknown_file,
}})

private_file := object.union(judged_facts, {
	"mode": 384, "mode_octal": "0600", "uid": 1001, "gid": 1001, "owner_is_root": false, "symlinks": 0,
	"mount": {"read_only": false, "nosuid": false, "nodev": false, "noexec": false}, "immutable": false, "append_only": false,
	"readers": {"uids": [1001], "gids": [], "everyone": false},
})

# What an allowed file of the service itself stands on.
judged_facts := {
	"type": "regular", "group_bits": 0, "other_bits": 0, "owner_is_me": true, "size": 65, "nlink": 1, "filesystem": "ext4",
	"final_symlink": false, "acl": false, "writers": {"uids": [0, 1001], "gids": [], "everyone": false},
}

unknown_file := {
	"type": "", "mode": 0, "mode_octal": "0000", "group_bits": 0, "other_bits": 0, "uid": 0, "gid": 0,
	"owner_is_root": false, "owner_is_me": false, "size": 0, "nlink": 0, "filesystem": "",
	"mount": {"read_only": false, "nosuid": false, "nodev": false, "noexec": false},
	"immutable": false, "append_only": false, "symlinks": 0,
	"final_symlink": false, "acl": false,
	"readers": {"uids": [], "gids": [], "everyone": false}, "writers": {"uids": [], "gids": [], "everyone": false},
}

services := {"queen-rbee": [
	{"id": "token-file", "actions": ["load_secret"], "source": "file", "paths": ["/etc/llorch/secrets/api-token"]},
	{"id": "key-file", "actions": ["load_key"], "source": "file", "paths": ["/k"], "dirs": [], "names": [], "purposes": []},
	{
		"id": "strict-file", "actions": ["load_secret"], "source": "file", "paths": ["/strict"],
		"min_length": 32, "max_bytes": 100, "min_memory": "locked",
	},
	{"id": "tokens-dir", "actions": ["load_secret"], "source": "file", "dirs": ["/srv/tokens"]},
	{
		"id": "token-credential", "actions": ["load_secret"], "source": "credential", "names": ["api_token"],
		"paths": ["/etc/llorch/secrets/api-token"],
	},
	{
		"id": "seal-key", "actions": ["load_secret", "derive_key"], "source": "credential", "names": ["worker_token"],
		"purposes": ["llorch-seal-key-v1"],
	},
	{
		"id": "shared", "actions": ["load_secret"], "source": "credential", "names": ["shared"],
		"relax": {"group_read": 990},
	},
	{
		"id": "public", "actions": ["load_secret"], "source": "credential", "names": ["public"],
		"relax": {"world_read": true},
	},
	{"id": "token-env", "actions": ["load_secret"], "source": "env", "names": ["LLORCH_API_TOKEN"]},
	{
		"id": "group", "actions": ["load_secret"], "source": "file", "paths": ["/relaxed/group"],
		"relax": {"group_read": 990},
	},
	{
		"id": "owner", "actions": ["load_secret"], "source": "file", "paths": ["/relaxed/owner"],
		"relax": {"owner": 1000},
	},
	{
		"id": "world", "actions": ["load_secret"], "source": "file", "paths": ["/relaxed/world"],
		"relax": {"world_read": true},
	},
	{"id": "link", "actions": ["load_secret"], "source": "file", "paths": ["/relaxed/link"], "relax": {"symlink": true}},
	{
		"id": "nfs", "actions": ["load_secret"], "source": "file", "paths": ["/relaxed/nfs"],
		"relax": {"filesystem": "nfs"},
	},
	{
		"id": "twice-strict", "actions": ["load_secret"], "source": "file", "paths": ["/relaxed/twice"],
		"max_bytes": 1000, "min_memory": "memfd_secret", "min_length": 8,
	},
	{
		"id": "twice-relaxed", "actions": ["load_secret"], "source": "file", "paths": ["/relaxed/twice"], "names": [],
		"relax": {"group_read": 990}, "max_bytes": 500, "min_length": 16,
	},
	{"id": "of-uid", "actions": ["load_secret"], "source": "file", "paths": ["/of/uid"], "require": {"uid": 1001}},
	{
		"id": "of-unit", "actions": ["load_secret"], "source": "file", "paths": ["/of/unit"],
		"require": {"unit": "queen-rbee.service"},
	},
	{
		"id": "of-both", "actions": ["load_secret"], "source": "file", "paths": ["/of/both"],
		"require": {"uid": 1001, "unit": "queen-rbee.service"},
	},
	{
		"id": "big-key", "actions": ["load_secret", "load_key"], "source": "file", "paths": ["/relaxed/big-key"],
		"max_bytes": 1048576,
	},
]}
