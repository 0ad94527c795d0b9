package rego

import (
	"strings"
	"testing"
)

// file is what the host says about a private file of the service with uid 1001.
const file = `{"type": "regular", "mode": 384, "mode_octal": "0600", "group_bits": 0, "other_bits": 0, "uid": 1001, "gid": 1001,
	"owner_is_root": false, "owner_is_me": true, "size": 65, "nlink": 1, "filesystem": "ext4",
	"mount": {"read_only": false, "nosuid": false, "nodev": false, "noexec": false},
	"immutable": false, "append_only": false, "symlinks": 0, "final_symlink": false,
	"acl": false, "readers": {"uids": [1001], "gids": [], "everyone": false},
	"writers": {"uids": [0, 1001], "gids": [], "everyone": false}}`

// fileRequest is a request that the grants of testGrants allow, for a file.
func fileRequest(t testing.TB) map[string]any {
	t.Helper()
	return object(t, `{"api": "v1", "action": "load_secret",
	"subject": {"service": "queen-rbee", "container": "", "uid": 1001, "gid": 1001, "unit": "queen-rbee.service",
		"exe": "/usr/bin/queen", "spiffe_id": "", "attested": {"uid": "getuid", "gid": "getgid", "unit": "", "exe": "", "spiffe_id": ""}},
	"resource": {"source": "file", "path": "/etc/llorch/secrets/api-token", "resolved": "/etc/llorch/secrets/api-token",
		"ancestors": ["/etc/llorch/secrets", "/etc/llorch", "/etc", "/"], "links": [], "name": "", "purpose": "", "origin": "",
		"facts": "observed", "file": `+file+`, "origin_file": `+unknownFile+`},
	"context": {"phase": "runtime", "host": "h1", "environment": "", "memory": "locked"}}`)
}

// unknownFile is a file of which nothing is known.
const unknownFile = `{"type": "", "mode": 0, "mode_octal": "0000", "group_bits": 0, "other_bits": 0, "uid": 0, "gid": 0,
	"owner_is_root": false, "owner_is_me": false, "size": 0, "nlink": 0, "filesystem": "",
	"mount": {"read_only": false, "nosuid": false, "nodev": false, "noexec": false},
	"immutable": false, "append_only": false, "symlinks": 0, "final_symlink": false,
	"acl": false, "readers": {"uids": [], "gids": [], "everyone": false},
	"writers": {"uids": [], "gids": [], "everyone": false}}`

// credentialRequest is the same for a credential as systemd 257 places it for a unit with User=.
func credentialRequest(t testing.TB) map[string]any {
	t.Helper()
	in := fileRequest(t)
	set(in, "resource.source", "credential")
	set(in, "resource.name", "api_token")
	set(in, "resource.path", "/run/credentials/queen-rbee.service/api_token")
	set(in, "resource.resolved", "/run/credentials/queen-rbee.service/api_token")
	for field, value := range map[string]any{
		"mode": 288.0, "mode_octal": "0440", "group_bits": 4.0, "uid": 0.0, "gid": 0.0, "owner_is_root": true,
		"owner_is_me": false, "filesystem": "tmpfs", "acl": true, "writers.uids": []any{0.0},
	} {
		set(in, "resource.file."+field, value)
	}
	return in
}

// rolloutRequest is that credential before the rollout: its file predicted, its origin seen.
func rolloutRequest(t testing.TB) map[string]any {
	t.Helper()
	in := credentialRequest(t)
	set(in, "context.phase", "rollout")
	set(in, "context.memory", "")
	set(in, "resource.facts", "predicted")
	set(in, "resource.origin", "/etc/llorch/secrets/api-token")
	origin := object(t, file)
	set(origin, "uid", 0.0)
	set(origin, "gid", 0.0)
	set(origin, "owner_is_root", true)
	set(origin, "owner_is_me", false)
	set(origin, "readers.uids", []any{0.0})
	set(origin, "writers.uids", []any{0.0})
	set(in, "resource.origin_file", origin)
	return in
}

// envRequest is the same for a variable.
func envRequest(t testing.TB) map[string]any {
	t.Helper()
	in := fileRequest(t)
	set(in, "resource.source", "env")
	set(in, "resource.name", "LLORCH_API_TOKEN")
	set(in, "resource.path", "")
	set(in, "resource.resolved", "")
	set(in, "resource.file", object(t, unknownFile))
	return in
}

// set puts a value at a dotted path.
func set(in map[string]any, dotted string, value any) {
	parent, last := at(in, dotted)
	parent[last] = value
}

// remove takes away the member at a dotted path.
func remove(in map[string]any, dotted string) {
	parent, last := at(in, dotted)
	delete(parent, last)
}

func at(in map[string]any, dotted string) (map[string]any, string) {
	parts := strings.Split(dotted, ".")
	for _, part := range parts[:len(parts)-1] {
		in = in[part].(map[string]any)
	}
	return in, parts[len(parts)-1]
}

// testGrants has one grant for every request above.
const testGrants = `{"secrets": {"services": {"queen-rbee": [
	{"id": "token-file", "actions": ["load_secret"], "source": "file", "paths": ["/etc/llorch/secrets/api-token"]},
	{"id": "token-credential", "actions": ["load_secret"], "source": "credential", "names": ["api_token"],
	 "paths": ["/etc/llorch/secrets/api-token"]},
	{"id": "token-env", "actions": ["load_secret"], "source": "env", "names": ["LLORCH_API_TOKEN"]}],
	"careful": [{"id": "locked", "actions": ["load_secret"], "source": "file", "paths": ["/etc/llorch/secrets/api-token"],
	 "min_memory": "locked"}],
	"bound": [
	 {"id": "of-unit", "actions": ["load_secret"], "source": "file", "paths": ["/etc/llorch/secrets/api-token"],
	  "require": {"uid": 1001, "unit": "queen-rbee.service"}},
	 {"id": "of-unit-credential", "actions": ["load_secret"], "source": "credential", "names": ["api_token"],
	  "paths": ["/etc/llorch/secrets/api-token"], "require": {"uid": 1001, "unit": "queen-rbee.service"}}]}}}`

// requests are the four above, each allowed by testGrants.
func requests(t testing.TB) map[string]map[string]any {
	t.Helper()
	return map[string]map[string]any{
		"file": fileRequest(t), "credential": credentialRequest(t), "rollout": rolloutRequest(t), "env": envRequest(t),
	}
}
