# Each test is run twice by `secretcheck policy test`: in OPA, and in the Wasm that services run.
package secrets.load_test

import data.secrets.load

# A request as a service makes it, for a file that is in order.
request := {
	"api": "v1",
	"action": "load_secret",
	"subject": {"service": "example-service", "uid": 990},
	"resource": {
		"source": "file",
		"path": "/etc/example/secrets/api-token",
		"resolved": "/etc/example/secrets/api-token",
		"name": "",
		"purpose": "",
		"origin": "",
		"facts": "observed",
		"file": {
			"type": "regular",
			"mode": 384,
			"mode_octal": "0600",
			"group_bits": 0,
			"other_bits": 0,
			"uid": 990,
			"gid": 990,
			"owner_is_root": false,
			"owner_is_me": true,
			"size": 65,
			"nlink": 1,
			"filesystem": "ext4",
			"final_symlink": false,
			"acl": false,
			"readers": {"uids": [990], "gids": [], "everyone": false},
			"writers": {"uids": [0, 990], "gids": [], "everyone": false},
		},
		"origin_file": {"type": ""},
	},
	"context": {"phase": "runtime", "environment": "production", "memory": "locked"},
}

codes := {reason.code | some reason in load.decision.reasons}

test_the_service_reads_its_token if {
	load.decision.allow == true with input as request
	load.decision.grants == ["example-token-file"] with input as request
	codes == set() with input as request
}

test_another_service_does_not if {
	load.decision.allow == false with input as request with input.subject.service as "another"
	codes == {"no_grant"} with input as request with input.subject.service as "another"
}

test_a_file_that_others_can_read_is_refused if {
	load.decision.allow == false with input as request with input.resource.file.other_bits as 4
	"mode_too_open" in codes with input as request with input.resource.file.other_bits as 4
}

# One test for several cases: each has a name, and is told by it.
test_variables[environment] if {
	some environment, allowed in {"production": false, "staging": true}
	variable := {
		"api": "v1",
		"action": "load_secret",
		"subject": {"service": "migrating", "uid": 990},
		"resource": {
			"source": "env",
			"path": "",
			"name": "TOKEN",
			"purpose": "",
			"origin": "",
			"facts": "observed",
			"origin_file": {"type": ""},
		},
		"context": {"phase": "runtime", "environment": environment, "memory": "locked"},
	}
	grant := {"id": "old", "actions": ["load_secret"], "source": "env", "names": ["TOKEN"]}
	load.decision.allow == allowed with input as variable with data.secrets.services as {"migrating": [grant]}
}

test_another_place_is_warned_about if {
	elsewhere := {"id": "x", "actions": ["load_secret"], "source": "file", "paths": ["/srv/token"]}
	codes == {"outside_of_the_usual_place"} with input as request
		with input.resource.path as "/srv/token"
		with input.resource.resolved as "/srv/token"
		with data.secrets.services as {"example-service": [elsewhere]}
}
