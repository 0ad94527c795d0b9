package secrets.load_test

import data.secrets.load

# The request of a service that takes its token from a variable, in an environment.
from_variable(environment) := {
	"api": "v1",
	"action": "load_secret",
	"subject": {"service": "queen-rbee", "uid": 990},
	"resource": {
		"source": "env",
		"path": "",
		"name": "LLORCH_API_TOKEN",
		"purpose": "",
		"origin": "",
		"facts": "observed",
		"origin_file": {"type": ""},
	},
	"context": {"phase": "runtime", "environment": environment, "memory": "locked"},
}

test_variable_refused_in_production if {
	verdict := load.decision with input as from_variable("production")
	verdict.allow == false
	"environment_in_production" in {reason.code | some reason in verdict.reasons}
}

test_variable_allowed_in_staging if {
	verdict := load.decision with input as from_variable("staging")
	verdict.allow == true
}
