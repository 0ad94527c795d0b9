package descriptor

// The rules of findings about Compose projects and Quadlet files.
const (
	RuleUnset          = "variable_not_set"      // an empty text is taken for it
	RuleProfile        = "profile_not_active"    // a service that is not started
	RuleExternal       = "external_secret"       // plain Compose refuses it, Swarm makes it
	RuleNotEnforced    = "declared_not_enforced" // a setting that is passed over
	RuleIgnoredCompose = "ignored_by_compose"    // what changes nothing for any container, or keeps one from starting
	RuleAPISocket      = "api_socket"            // the container can do everything on the host
	RuleEscape         = "secret_in_argument"    // a secret that goes around the setting for it
	RuleEnvFile        = "variables_not_read"    // variables that nobody has looked at
	RuleVolume         = "secret_in_volume"      // a secret that is mounted like any file
)
