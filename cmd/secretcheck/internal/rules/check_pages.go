package rules

// ofDescriptors are the rules about descriptors of any kind.
func ofDescriptors() []Rule {
	return []Rule{
		{
			ID: "unreadable", Severities: isError(), From: FromCheck,
			Summary: "a descriptor cannot be read: bad input",
			Means:   "It is not there, not a regular file, larger than 1 MiB, or may not be opened.",
			Why:     "What was not read was not judged. The run ends with exit code 4.",
			Example: "secretcheck check deploy/misspelt.service",
			Fix:     "Name a readable descriptor, or a directory with descriptors.",
		},
		{
			ID: "unparsable", Severities: isError(), From: FromCheck,
			Summary: "a descriptor cannot be parsed: bad input",
			Means:   "A line has no meaning. The whole descriptor is then left out: half of one is not judged.",
			Why:     "systemd passes over such lines, and the secret in them is gone without a word. The run ends with exit code 4.",
			Example: "[Service]\nLoadCredential db:/etc/app/db\n",
			Fix:     "Correct the line; systemd-analyze verify shows what systemd makes of a unit.",
		},
		{
			ID: "not_a_descriptor", Severities: isNote(), From: FromCheck,
			Summary: "passed over: a file in a searched directory that is no descriptor",
			Means:   "A YAML file without a list under services.",
			Why:     "So that you see that it was not judged.",
			Example: "A compose.yaml beside the units.",
			Fix:     "Nothing, unless it was meant to be an inventory.",
		},
		{
			ID: "not_judged", Severities: isEither(), From: FromCheck,
			Summary: "a socket, mount or swap with credentials; drop-ins for services that are not beside them",
			Means:   "Something about credentials was found that belongs to no service that was read.",
			Why:     "Nobody has judged what it loads.",
			Example: "A folder service.d with drop-ins, and no service beside it.",
			Fix:     "Check the folder that has the services too, or move the credentials to a service.",
		},
		{
			ID: "masked", Severities: isNote(), From: FromCheck,
			Summary: "passed over: a unit that is linked to the null device",
			Means:   "The unit does not start, so that it loads nothing.",
			Why:     "So that you see that it was not judged.",
			Example: "ln -s /dev/null app.service",
			Fix:     "Nothing, if it is meant to be off.",
		},
		{
			ID: "waiver_expired", Severities: isWarning(), From: FromCheck,
			Summary: "a waiver whose time is over, and what it was for is still there",
			Means:   "The last day of the waiver has passed. The finding counts again.",
			Why:     "What was to be mended by then is not.",
			Example: "expires: 2020-01-01 in the file of --waivers.",
			Fix:     "Mend it, or let its owner answer for it once more, with a new day.",
		},
		{
			ID: "waiver_unused", Severities: isNote(), From: FromCheck,
			Summary: "a waiver for nothing that was found",
			Means:   "No finding has its fingerprint, or its rule and path.",
			Why:     "It would hide the next finding of that kind.",
			Example: "A waiver for a descriptor that was deleted.",
			Fix:     "Remove it.",
		},
		{
			ID: "engine_error", Severities: isError(), From: FromCheck,
			Summary: "the policy failed on this load",
			Means:   "The policy stopped with an error, or ran out of fuel, memory or time. The load is undecided.",
			Why:     "At run time the load would be refused. The run ends with exit code 5.",
			Example: "A rule of your own that divides by zero.",
			Fix:     "Correct the policy; secretcheck policy check finds much of it.",
		},
	}
}

// ofHosts are the rules about what a host shows.
func ofHosts() []Rule {
	return []Rule{
		{
			ID: "missing_source", Severities: isError(), From: FromCheck,
			Summary: "the source is not there, or a link to it leads out of the root or to nothing",
			Means:   "In the root there is no such file: the source of a credential, a file that the service opens, or an environment file that has to be there.",
			Why:     "The service would not start, or not get its secret.",
			Example: "LoadCredential=db:/etc/app/db, and no such file.",
			Fix:     "Put the file there with mode 0600, owned by root.",
		},
		{
			ID: "source_not_reached", Severities: isError(), From: FromCheck,
			Summary: "a loop or the like on the way to the source, or a file where a directory is asked for",
			Means:   "The path cannot be followed to its end.",
			Why:     "The service would not get its secret.",
			Example: "ln -s token /etc/app/token",
			Fix:     "Correct the path or the link.",
		},
		{
			ID: "source_not_seen", Severities: isWarning(), From: FromCheck,
			Summary: "this user may not look at the source",
			Means:   "A directory on the way may not be searched by who runs the check. The load is undecided.",
			Why:     "What was not seen is not called allowed.",
			Example: "secretcheck check … --root / as an ordinary user.",
			Fix:     "Run the check as root.",
		},
		{
			ID: "source_not_readable", Severities: isError(), From: FromCheck,
			Summary: "the account of the service may not read the file, or search a directory on the way",
			Means:   "The policy allows the load, and the kernel will refuse it.",
			Why:     "The service would not get its secret.",
			Example: "An inventory with uid 990, and a file of mode 0600 that belongs to root.",
			Fix:     "Give the file to the service's account, or load it with LoadCredential=, for which systemd reads it as root.",
		},
		{
			ID: "directory_source", Severities: isWarning(), From: FromCheck,
			Summary: "the source is a directory: no single load can stand for it",
			Means:   "systemd makes a credential of every file in it. The load is undecided.",
			Why:     "Which secrets those are is not in the unit.",
			Example: "LoadCredential=tree:/etc/app/secrets.d",
			Fix:     "Name each file with a LoadCredential= of its own.",
		},
		{
			ID: "socket_source", Severities: isWarning(), From: FromCheck,
			Summary: "the source is a socket: the secret comes from whoever listens",
			Means:   "systemd connects to it when the service starts. The load is undecided.",
			Why:     "What is given out is up to the program behind it.",
			Example: "LoadCredential=db:/run/vault.sock",
			Fix:     "Check the service behind the socket.",
		},
		{
			ID: "too_short", Severities: isError(), From: FromCheck,
			Summary: "the file cannot hold what the load needs",
			Means:   "It is empty, has less than the grant's min_length, or less than the 64 hexadecimal digits of a key.",
			Why:     "The load would fail.",
			Example: "An empty file: touch /etc/app/token",
			Fix:     "Store the whole secret.",
		},
		{
			ID: "unknown_user", Severities: isWarning(), From: FromCheck,
			Summary: "User= names an account that the root does not have",
			Means:   "It is not in etc/passwd of the root, or that cannot be read.",
			Why:     "The service would not start, unless the account comes from elsewhere.",
			Example: "User=misspelt",
			Fix:     "Create the account, or correct User=.",
		},
		{
			ID: "facts_unchecked", Severities: isWarning(), From: FromCheck,
			Summary: "--require-facts, and the file was not looked at",
			Means:   "The policy allows the load by its names, and nobody saw the file. With --require-facts that is undecided.",
			Why:     "Modes and owners are half of the verdict.",
			Example: "secretcheck check deploy/ --require-facts, without --root.",
			Fix:     "Check with --root, and name an absolute path as the source.",
		},
	}
}

// ofPolicyCheck are the rules of secretcheck policy check.
func ofPolicyCheck() []Rule {
	return []Rule{
		{
			ID: "compile", Severities: isError(), From: FromPolicyCheck,
			Summary: "the policy does not build",
			Means:   "The compiler, the schema or the reader of grants refuses it.",
			Why:     "No service could open it.",
			Example: "A reference to input.resorce.path.",
			Fix:     "Correct what the message names.",
		},
		{
			ID: "dynamic_input", Severities: isError(), From: FromPolicyCheck,
			Summary: "a part of the input is chosen by a name that is not written out",
			Means:   "Behind input stands a variable in brackets.",
			Why:     "The schema cannot see through it, and a misspelt field would silently deny nothing.",
			Example: "some field; input.resource[field] == \"\"",
			Fix:     "Write the name out.",
		},
		{
			ID: "whole_input", Severities: isError(), From: FromPolicyCheck,
			Summary: "the input is passed on as a whole",
			Means:   "input goes to a function or into a variable, or is walked through.",
			Why:     "The schema cannot see through it, and a misspelt field would silently deny nothing.",
			Example: "helper(input)",
			Fix:     "Pass the parts that are needed.",
		},
		{
			ID: "silent_builtin", Severities: isWarning(), From: FromPolicyCheck,
			Summary: "a call that can fail, and then the rule that it stands in is lost in silence",
			Means:   "The builtin has no value for some arguments.",
			Why:     "A rule that denies would then not deny.",
			Example: "to_number(input.resource.name) > 5",
			Fix:     "Follow the message: test the argument before, or use another builtin.",
		},
		{
			ID: "slow_builtin", Severities: isWarning(), From: FromPolicyCheck,
			Summary: "a call that takes longer than a whole decision",
			Means:   "The builtin compiles its expression in every decision.",
			Why:     "Loads get slower.",
			Example: "glob.match(\"/etc/*\", [], input.resource.path)",
			Fix:     "Use startswith, a set or a lookup.",
		},
	}
}
