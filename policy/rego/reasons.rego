# Why a request was refused: in words, with the fact that decided and a step that mends it. Nothing here can allow: each
# reason is the `not` of a condition that load.rego demands, and every text can be built from any input. No negated call
# has a part of the input as its argument: OPA looks the argument up before the negation, so where it is missing the
# whole expression is undefined and the reason is lost.
package secrets.load

refusals := malformed if {
	count(malformed) > 0
} else := unproven if {
	count(asked) == 0
	count(unproven) > 0
} else := {no_grant} if {
	count(asked) == 0
} else := objections | site_reasons

# Says nothing about the file: who has no grant does not learn whether it exists.
no_grant := refusal("no_grant", message, fix) if {
	message := concat("", ["no grant lets service ", quoted(the_service), " ", the_action, " from ", the_reference])
	fix := concat("", ["let the security team grant ", the_action, " from ", the_reference, " to service ", quoted(the_service)])
}

malformed contains refusal("invalid_request", "the request is not of version v1", rebuild) if not api_known

malformed contains refusal("invalid_request", "the action is not one of the contract", rebuild) if {
	not action_known
}

malformed contains refusal("invalid_request", "the subject has no numeric uid", rebuild) if {
	not uid_known
}

malformed contains refusal("invalid_request", message, rebuild) if {
	not facts_accepted
	message := "facts and phase do not fit: a service decides on observed facts"
}

# The conditions of well_formed one by one.
api_known if input.api == "v1"

action_known if known_action(input.action)

uid_known if is_number(input.subject.uid)

facts_accepted if facts_fit_phase(input.context.phase, input.resource.facts)

rebuild := "build the service and its policy from versions of this library that fit each other"

# Nor does this: it is about who asks.
unproven contains refusal(unproven_code(fact), message, fix) if {
	some grant in named
	some fact, value in grant.require
	not proven(fact, value)
	message := concat("", ["grant ", quoted(grant.id), " requires ", fact, " ", text(value), "; proven is ", the_proven(fact)])
	fix := identity_fix(fact, value)
}

# A descriptor need not say all that a service can prove when it runs.
unproven_code(fact) := "identity_unknown" if {
	input.context.phase == "rollout"
	the_proven(fact) == nothing
} else := "identity_not_proven"

# ---- about the request and a grant ----

objections contains refusal("outside_grant", message, fix) if {
	input.resource.source == "file"
	input.resource.facts != "unchecked"
	some grant in asked
	not resolved_granted(grant)
	message := concat("", ["the real path ", quoted(the_resolved), " is outside of grant ", quoted(grant.id)])
	fix := concat("", ["add ", covering(the_resolved), " of grant ", quoted(grant.id), " if the service may read it"])
}

objections contains refusal("origin_outside_grant", message, fix) if {
	some grant in asked
	not origin_granted(grant)
	message := concat("", ["the credential is copied from ", quoted(the_origin), ", outside of grant ", quoted(grant.id)])
	fix := concat("", ["add ", member(the_origin), " to paths of grant ", quoted(grant.id), " if the service may read it"])
}

objections contains refusal("weak_memory", message, fix) if {
	some grant in asked
	not memory_suffices(grant)
	message := concat("", ["secrets would lie in ", text(the_memory), " memory, grant ", quoted(grant.id), " asks for ", grant.min_memory])
	fix := "raise LimitMEMLOCK= of the service; for memfd_secret, let its system call filter and the kernel allow it"
}

# ---- about a file: the one that is read, and the one that a credential is copied from ----

objections contains refusal(concat("", [place.prefix, "not_regular"]), message, fix) if {
	some place in judged
	not place.file.type == "regular"
	message := concat("", [place.what, " is not a regular file; its type: ", fact(place, "type")])
	fix := concat(" ", ["put a regular file at", shell(place.path)])
}

objections contains refusal(concat("", [place.prefix, "hard_linked"]), message, fix) if {
	some place in judged
	not place.file.nlink == 1
	message := concat("", [place.what, " has several names; links: ", fact(place, "nlink")])
	fix := concat(" ", ["remove its other names; to find them: find / -xdev -samefile", shell(place.path)])
}

objections contains refusal(concat("", [place.prefix, "foreign_owner"]), message, fix) if {
	some place in judged
	some grant in asked
	not owner_fits(place, grant)
	message := concat("", [place.what, place.foreign, "; its uid: ", fact(place, "uid")])
	fix := concat("", ["chown ", place.owner, " ", shell(place.path), unless_owner_granted(place, grant)])
}

objections contains refusal(concat("", [place.prefix, "extended_acl"]), message, fix) if {
	some place in judged
	place.by_mode
	not place.file.acl == false
	message := concat("", [place.what, " carries an extended ACL: its mode does not tell who has access"])
	fix := concat(" ", ["setfacl -b", shell(place.path)])
}

objections contains refusal(concat("", [place.prefix, "mode_too_open"]), message, fix) if {
	some place in judged
	place.by_mode
	not place.file.acl == true
	some grant in asked
	not mode_closed(place.file, grant)
	message := concat("", ["mode ", fact(place, "mode_octal"), " gives group or others access to ", place.what])
	fix := concat("", ["chmod 0600 ", shell(place.path), hand_over(place), unless_read_granted(place, grant)])
}

objections contains refusal("readable_by_others", message, fix) if {
	some place in judged
	not place.by_mode
	some grant in asked
	not readers_closed(place.file, grant)
	readers := strangers(object.get(place.file, "readers", {}))
	message := concat("", ["others than root and the service can read ", place.what, ": ", readers])
	fix := "let systemd place the credential for the service alone: LoadCredential= together with User="
}

objections contains refusal(concat("", [place.prefix, "writable_by_others"]), message, fix) if {
	some place in judged
	some grant in asked
	not writers_fit(place, grant)
	writers := strangers(object.get(place.file, "writers", {}))
	message := concat("", ["others than root and the service can change or replace ", place.what, ": ", writers])
	fix := concat("", [
		"chmod go-w ", shell(place.path), " and the directories above it, and check their owners",
		unless_owner_granted(place, grant),
	])
}

objections contains refusal(concat("", [place.prefix, "too_large"]), message, fix) if {
	some place in judged
	some grant in asked
	not size_fits(place.file, grant)
	limit := json.marshal(max_bytes(grant))
	message := concat("", [place.what, " may have ", limit, " bytes; it has: ", fact(place, "size")])
	fix := concat("", ["store nothing but the secret in ", shell(place.path), ", at most ", limit, " bytes"])
}

objections contains refusal(concat("", [place.prefix, "symlink_not_granted"]), message, fix) if {
	some place in judged
	some grant in asked
	not final_link_granted(place.file, grant)
	message := concat("", [place.what, " is reached through a symbolic link as last component"])
	fix := concat("", ["use the real path, or add \"symlink\": true to relax of grant ", quoted(grant.id)])
}

objections contains refusal(concat("", [place.prefix, "filesystem_not_trusted"]), message, fix) if {
	some place in judged
	some grant in asked
	not filesystem_trusted(place.file, grant)
	kind := fact(place, "filesystem")
	message := concat("", [place.what, " lies on a file system whose modes are not authoritative: ", kind])
	fix := concat("", ["move it to a local file system", unless_relaxed(kind, grant)])
}

owner_fits(place, grant) if {
	place.prefix == ""
	owner_trusted(place.file, grant)
}

owner_fits(place, _) if place.file.owner_is_root == true

writers_fit(place, grant) if {
	writers_closed(place.file, grant)
	place.prefix == ""
}

writers_fit(place, grant) if {
	writers_closed(place.file, grant)
	root_alone(place.file.writers.uids)
}

judged contains {
	"prefix": "",
	"what": "the file",
	"path": the_resolved,
	"owner": own_uid_shown,
	"foreign": " belongs neither to root nor to the service",
	"by_mode": true,
	"file": file_facts,
} if {
	input.resource.source == "file"
	input.resource.facts != "unchecked"
}

judged contains {
	"prefix": "",
	"what": "the credential",
	"path": the_resolved,
	"owner": "root",
	"foreign": " belongs neither to root nor to the service",
	"by_mode": false,
	"file": file_facts,
} if {
	input.resource.source == "credential"
	input.resource.facts != "unchecked"
}

judged contains {
	"prefix": "origin_",
	"what": "the origin of the credential",
	"path": the_origin,
	"owner": "root",
	"foreign": " does not belong to root",
	"by_mode": true,
	"file": origin_facts,
} if {
	input.resource.source == "credential"
	input.context.phase == "rollout"
	not input.resource.origin_file.type == ""
}
