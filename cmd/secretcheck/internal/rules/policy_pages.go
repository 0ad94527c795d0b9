package rules

import "github.com/llorch/secrets-management/policy"

// ofPolicy are the reasons that are about who asks for what.
func ofPolicy() []Rule {
	return []Rule{
		{
			ID: "no_grant", Severities: isError(), From: FromPolicy,
			Summary: "no grant names this service, action and reference",
			Means:   "Among the grants there is none that lets this service do this with this file, credential or variable. Nothing on the host was looked at.",
			Why:     "What is not granted is denied. A service that asks for more than was reviewed is the drift that the policy is there to find.",
			Example: "A unit app.service with LoadCredential=db:/etc/app/db, and no grant of credential db to app.",
			Fix:     "See what is granted with secretcheck policy can SERVICE. Correct the name in the descriptor, or let the security team grant it.",
		},
		{
			ID: "identity_not_proven", Severities: isError(), From: FromPolicy,
			Summary: "the grant requires a uid or unit that the process is not, or cannot prove",
			Means:   "The grant has require.uid or require.unit, and the service is another one, or runs where it cannot prove who it is.",
			Why:     "A name alone can be claimed by anybody. The grant asks for more than a claim.",
			Example: `A grant with "require": {"uid": 990}, and a unit with User=991.`,
			Fix:     "Run the service as the uid and unit that the grant names: User=, the unit's name, no PrivateUsers=, no Delegate=.",
		},
		{
			ID: "identity_unknown", Severities: []policy.Severity{policy.SeverityError, policy.SeverityWarning}, From: FromPolicy,
			Summary: "at rollout: the grant requires a uid or unit that the descriptor does not tell",
			Means:   "The grant has require.uid or require.unit, and the descriptor leaves open who the service will be. The load is undecided where nothing else denies it.",
			Why:     "What cannot be seen is neither allowed nor denied.",
			Example: "A grant that requires a uid, and a unit with DynamicUser=yes.",
			Fix:     "Name a fixed account with User=, and check with --root, so that its uid is looked up.",
		},
		{
			ID: "invalid_request", Severities: isError(), From: FromPolicy,
			Summary: "API version, action, uid, phase or facts are not those of the contract",
			Means:   "The question that was put to the policy is not one that it can answer. In a check: a name or path that is not UTF-8, or too long.",
			Why:     "A question that is not understood is denied.",
			Example: "An inventory with a path longer than 4,095 bytes.",
			Fix:     "Rename the file, or correct the descriptor.",
		},
		{
			ID: "weak_memory", Severities: isError(), From: FromPolicy,
			Summary: "the process protects memory less than the grant's min_memory asks",
			Means:   "The grant asks for locked memory or memfd_secret, and the process got less from its kernel and its limits.",
			Why:     "Memory that is not locked can be swapped out, and then the secret is on a disk.",
			Example: `A grant with "min_memory": "locked", and a service with LimitMEMLOCK=0.`,
			Fix:     "Raise LimitMEMLOCK=, allow mlock in SystemCallFilter=, or let the grant ask for less.",
		},
		{
			ID: "environment_source", Severities: isWarning(), From: FromPolicy,
			Summary: "a warning beside an allow: the secret comes from an environment variable",
			Means:   "The load is granted, and its secret is in the environment.",
			Why:     "The environment goes to every process that the service starts, and is easily printed and logged.",
			Example: `A grant with "source": "env" of a variable that the service loads.`,
			Fix:     "Move the secret to a systemd credential, or to a file of mode 0600.",
		},
	}
}

// ofFiles are the reasons that are about a file.
func ofFiles() []Rule {
	return []Rule{
		{
			ID: "outside_grant", Severities: isError(), From: FromPolicy,
			Summary: "the real path, every symbolic link followed, is not in the grant",
			Means:   "The path is granted as it is written, but a symbolic link on the way leads to another one, which is not.",
			Why:     "Whoever can place a link could otherwise choose what is loaded.",
			Example: "ln -s /srv/other/token /etc/app/token, where only /etc/app/token is granted.",
			Fix:     "Put the secret itself at the path, or let the grant name where the link leads too.",
		},
		{
			ID: "symlink_not_granted", Severities: isError(), From: FromPolicy,
			Summary: "the last component is a symbolic link and the grant does not say that it may be",
			Means:   "The path ends in a symbolic link. The grant has no relax.symlink.",
			Why:     "A link is easily turned to another file without touching the secret.",
			Example: "ln -s ..data/token /etc/app/token",
			Fix:     `Put the file itself there, or let the grant say "relax": {"symlink": true}, as for Kubernetes volumes.`,
		},
		{
			ID: "not_regular", Severities: isError(), From: FromPolicy,
			Summary: "the path leads to something other than a regular file",
			Means:   "There is a directory, socket, pipe or device.",
			Why:     "Their content depends on who answers, and opening them can do something.",
			Example: "mkfifo /etc/app/token",
			Fix:     "Put a regular file there.",
		},
		{
			ID: "hard_linked", Severities: isError(), From: FromPolicy,
			Summary: "the file has another number of links than one",
			Means:   "The same file has a second name, or none any more.",
			Why:     "By the second name others may reach it, in a directory that nobody checked.",
			Example: "ln /etc/app/token /srv/share/token",
			Fix:     "Find the other name with find -samefile and remove it, or copy the file.",
		},
		{
			ID: "foreign_owner", Severities: isError(), From: FromPolicy,
			Summary: "the file belongs neither to root nor to the service",
			Means:   "The owner is another account, and the grant has no relax.owner for it.",
			Why:     "The owner can change the file and its mode.",
			Example: "chown backup /etc/app/token",
			Fix:     "chown root, or the account of the service.",
		},
		{
			ID: "mode_too_open", Severities: isError(), From: FromPolicy,
			Summary: "the mode gives group or others access",
			Means:   "The mode has bits of 0077.",
			Why:     "Others than the service could read the secret or change it.",
			Example: "chmod 0644 /etc/app/token",
			Fix:     "chmod 0600, or let the grant relax what is meant: relax.group_read, relax.world_read.",
		},
		{
			ID: "extended_acl", Severities: isError(), From: FromPolicy,
			Summary: "the file carries an extended ACL, so its mode does not tell who has access",
			Means:   "getfacl shows entries for further users or groups.",
			Why:     "The bits of the mode are then a mask, and others may have access.",
			Example: "setfacl -m u:backup:r /etc/app/token",
			Fix:     "setfacl -b, or load the secret as a systemd credential.",
		},
		{
			ID: "readable_by_others", Severities: isError(), From: FromPolicy,
			Summary: "others than root and the service can read the credential",
			Means:   "By mode, owner and ACL there is somebody else who can read it.",
			Why:     "A secret has as many keepers as readers.",
			Example: "A credential directory that was made by hand, with a file of mode 0444.",
			Fix:     "Let systemd make the credential, with LoadCredential=.",
		},
		{
			ID: "writable_by_others", Severities: isError(), From: FromPolicy,
			Summary: "others than root and the service can change or replace the file",
			Means:   "Somebody else may write to the file, or to a directory on the way to it.",
			Why:     "Who can replace a secret chooses it.",
			Example: "chmod 0777 /etc/app",
			Fix:     "Take the write access away, from the directories above too.",
		},
		{
			ID: "too_large", Severities: isError(), From: FromPolicy,
			Summary: "more bytes than 1 MiB, 1 KiB for a key, or the grant's max_bytes",
			Means:   "The file is larger than the load may be.",
			Why:     "A secret is small. Something else is in there, or the wrong file.",
			Example: "A key file of 2 KiB.",
			Fix:     "Store the secret alone in the file, or raise max_bytes in the grant.",
		},
		{
			ID: "filesystem_not_trusted", Severities: isError(), From: FromPolicy,
			Summary: "the file system's modes and owners are not authoritative, or it is unknown",
			Means:   "It is FUSE, a network file system, or one that the rules do not know.",
			Why:     "There, a server or another user's program says what mode and owner are.",
			Example: "A secret on NFS.",
			Fix:     "Move it to a local file system, or let the grant name the file system in relax.filesystem.",
		},
	}
}

// originRules are the rules of files again, for the file that a credential is copied from.
func originRules() []Rule {
	list := []Rule{{
		ID: "origin_outside_grant", Severities: isError(), From: FromPolicy,
		Summary: "the host path that a credential is copied from is not in the grant",
		Means:   "The credential is granted by its name, and the grant has paths or dirs in which its source does not lie.",
		Why:     "Otherwise any file of the host could be given to the service under the granted name.",
		Example: "LoadCredential=db:/etc/other/db, where the grant has paths: [/etc/app/db].",
		Fix:     "Correct the source in the unit, or let the grant name it.",
	}}
	for _, r := range ofFiles() {
		switch r.ID {
		case "outside_grant", "readable_by_others":
			continue
		}
		r.Summary = r.ID + ", for the file that a credential is copied from"
		r.ID = "origin_" + r.ID
		r.Means = "This is about the source of a credential, which systemd copies for the service. " + r.Means
		list = append(list, r)
	}
	return list
}
