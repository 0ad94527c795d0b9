package rules

// ofCompose are the rules about Compose projects, Quadlet files and grants that nobody needs.
func ofCompose() []Rule {
	return []Rule{
		{
			ID: "variable_not_set", Severities: isWarning(), From: FromCheck,
			Summary: "a variable for which Compose takes an empty text",
			Means:   "The file refers to a variable that neither --env nor the .env file sets, and that has no default.",
			Why:     "What is started depends on the environment of whoever starts it. The environment of the check is not looked at.",
			Example: "file: ${SECRETS}/token",
			Fix:     "Give the check the variable with --env NAME=VALUE, or the file a default: ${SECRETS:-/etc/app}.",
		},
		{
			ID: "declared_not_enforced", Severities: isWarning(), From: FromCheck,
			Summary: "a setting of a secret that plain Compose passes over",
			Means:   "uid, gid and mode of a secret that is a file: Compose mounts the file as it is on the host.",
			Why:     "Somebody believes that the secret is closed, and it has the mode of the file.",
			Example: "secrets: [{source: token, mode: 0400}]",
			Fix:     "Give the file itself the owner and the mode.",
		},
		{
			ID: "ignored_by_compose", Severities: isWarning(), From: FromCheck,
			Summary: "a line that changes nothing for any container, or keeps one from starting",
			Means:   "Compose passes over it, or refuses the service for it.",
			Why:     "Somebody believes that the service gets the secret from it.",
			Example: "A secret at the top that no service has.",
			Fix:     "Let a service have it, or remove it.",
		},
		{
			ID: "external_secret", Severities: isNote(), From: FromCheck,
			Summary: "a secret that Swarm makes, and plain Compose refuses",
			Means:   "external: true names a secret of the cluster. The load is judged as Swarm makes it: mode 0444 in /run/secrets.",
			Why:     "So that you see on what the verdict rests.",
			Example: "secrets: {token: {external: true}}",
			Fix:     "Nothing, where it is Swarm.",
		},
		{
			ID: "profile_not_active", Severities: isNote(), From: FromCheck,
			Summary: "a service that is not started, and was not judged",
			Means:   "The service has profiles, and none of them was named.",
			Why:     "So that you see that it was not judged.",
			Example: "profiles: [debug]",
			Fix:     "Check with --profile NAME too.",
		},
		{
			ID: "secret_in_volume", Severities: isWarning(), From: FromCheck,
			Summary: "a secret that is mounted like any file",
			Means:   "By its name a file in volumes is a secret, and Compose or podman do not know that it is one.",
			Why:     "It is no load that anybody has granted, and stays where others can read it.",
			Example: "volumes: [./token:/run/token]",
			Fix:     "Make it a secret of the project.",
		},
		{
			ID: "api_socket", Severities: isWarning(), From: FromCheck,
			Summary: "a container that can read every secret of the host",
			Means:   "The socket of the engine is mounted into the container.",
			Why:     "Whoever speaks to the engine is root on the host.",
			Example: "volumes: [/var/run/docker.sock:/var/run/docker.sock]",
			Fix:     "Take it out, or put a proxy before it that lets only what is needed pass.",
		},
		{
			ID: "variables_not_read", Severities: isWarning(), From: FromCheck,
			Summary: "an environment file of a container, which nobody has looked into",
			Means:   "The file is outside of what was checked.",
			Why:     "Secrets can be in there that the check does not know of.",
			Example: "EnvironmentFile=/etc/app/env in a .container file.",
			Fix:     "Look for yourself, and put what is secret into Secret=.",
		},
		{
			ID: "unused_grant", Severities: isWarning(), From: FromCheck,
			Summary: "a grant that none of the loads needs",
			Means:   "With --unused-grants: no descriptor of this run has a load for which the grant is needed.",
			Why:     "What nobody needs only helps an attacker.",
			Example: "A grant of a service that was taken out of use.",
			Fix:     "Remove the grant, if all deployments were checked.",
		},
	}
}
