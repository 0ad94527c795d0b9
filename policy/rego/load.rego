# The default rules: which service may load which secret, and in what state the file must be. They reproduce the strict
# base of the project; who may load what is data (see schemas/grants.json), so a new grant does not change the rules.
#
# Three habits keep them safe:
#   - an allow is a conjunction of facts that must hold (`accepts`), never the absence of a complaint, so a fact that is
#     missing, null or of the wrong type can only deny;
#   - reasons only explain: they are worked out after the refusal, and losing one cannot turn it into an allow;
#   - no builtin that the host would have to provide, and none that is slow in Wasm: equality, membership and lookups.
#
# Alternatives are chained with else, which stops at the first that holds: in Wasm, rules of one name are all evaluated.
#
# A site adds denials of its own in a file beside its data, without a copy of this one:
#
#   package secrets.load
#
#   site_reasons contains {"code": "…", "message": "…", "severity": "error", "fix": "…"} if { … }
package secrets.load

# May this service ask for this reference at all? Decided before the file system is touched.
default may_ask := false

may_ask if {
	input.api == "v1"
	count(asked) > 0
}

# The verdict.
decision := {
	"allow": true,
	"grants": [grant.id | some grant in granting],
	"obligations": obligations(granting),
	"reasons": sort(site_reasons | remarks),
} if {
	well_formed
	granting := accepting
	count(granting) > 0
	count(site_objections) == 0
} else := {
	"allow": false,
	"grants": [grant.id | some grant in named],
	"obligations": {"max_bytes": 0, "min_length": 0, "min_memory": ""},
	"reasons": sort(refusals),
}

# Of those the ones that accept who asks. Nobody else learns whether there is a file.
asked := [grant |
	some grant in named
	identified(grant)
]

# The grants of the service that name this action on this reference, in the order of the data.
named := [grant |
	some grant in data.secrets.services[input.subject.service]
	grant.source == input.resource.source
	input.action in grant.actions
	names_reference(grant)
	names_purpose(grant)
]

names_reference(grant) if {
	grant.source == "file"
	covers(grant, input.resource.path)
}

names_reference(grant) if {
	grant.source != "file"
	input.resource.name in grant.names
}

# An action that is not here is granted by nothing.
names_purpose(grant) if {
	input.action == "load_secret"
} else if {
	input.action == "load_key"
} else if {
	input.action == "derive_key"
	input.resource.purpose in grant.purposes
}

# Who a grant requires is proven by the host or, at rollout, told by the descriptor. A claim counts for nothing.
identified(grant) if not requires(grant)

identified(grant) if {
	count(grant.require) > 0
	every fact, value in grant.require { proven(fact, value) }
}

requires(grant) if some "require", _ in grant

proven("uid", uid) if {
	is_number(uid)
	uid == input.subject.uid
	attested(input.subject.attested.uid)
}

proven("unit", unit) if {
	is_string(unit)
	unit != ""
	unit == input.subject.unit
	attested(input.subject.attested.unit)
}

attested(how) if {
	is_string(how)
	how != ""
}

# A path is covered when it is listed, or lies strictly beneath a listed directory. The host sends clean paths; a path
# that still climbs is not covered, whatever it begins with.
covers(grant, path) if {
	is_string(path)
	path in grant.paths
	not contains(concat("", [path, "/"]), "/../")
} else if {
	some dir in grant.dirs
	startswith(path, concat("", [dir, "/"]))
	not contains(concat("", [path, "/"]), "/../")
}

# ---- what must hold of the request itself ----

well_formed if {
	input.api == "v1"
	known_action(input.action)
	is_number(input.subject.uid)
	facts_fit_phase(input.context.phase, input.resource.facts)
}

known_action("load_secret")

known_action("load_key")

known_action("derive_key")

# A service decides on what was seen on its open descriptor; only a rollout check may predict, or leave the file out.
facts_fit_phase("runtime", "observed")

facts_fit_phase("rollout", "observed")

facts_fit_phase("rollout", "predicted")

facts_fit_phase("rollout", "unchecked")

# ---- what must hold for a grant to accept ----

accepting := [grant |
	some grant in asked
	accepts(grant)
]

accepts(grant) if {
	memory_suffices(grant)
	file_accepted(grant)
	origin_granted(grant)
	origin_accepted(grant)
}

file_accepted(grant) if {
	input.resource.source == "file"
	resolved_granted(grant)
	file := input.resource.file
	sound(file, grant)
	file.acl == false
	mode_closed(file, grant)
} else if {
	input.resource.source == "credential"
	file := input.resource.file
	sound(file, grant)
	readers_closed(file, grant)
} else if {
	input.resource.source == "env"
} else if {
	input.resource.facts == "unchecked"
	input.context.phase == "rollout"
}

resolved_granted(grant) if covers(grant, input.resource.resolved)

# Where a credential is copied from is known at rollout only. An origin that is no host path is not ours to judge.
origin_granted(grant) if {
	input.context.phase == "runtime"
} else if {
	input.resource.source == "file"
} else if {
	input.resource.source == "env"
} else if {
	is_string(input.resource.origin)
	not startswith(input.resource.origin, "/")
} else if {
	covers(grant, input.resource.origin)
}

# systemd copies the origin as root: a service that could replace it could have any file copied.
origin_accepted(grant) if {
	input.context.phase == "runtime"
} else if {
	input.resource.source == "file"
} else if {
	input.resource.source == "env"
} else if {
	input.resource.origin_file.type == ""
} else if {
	file := input.resource.origin_file
	sound(file, grant)
	file.owner_is_root == true
	root_alone(file.writers.uids)
	file.acl == false
	mode_closed(file, grant)
}

# What holds for every file that a secret is read from or copied from.
sound(file, grant) if {
	file.type == "regular"
	file.nlink == 1
	owner_trusted(file, grant)
	writers_closed(file, grant)
	size_fits(file, grant)
	final_link_granted(file, grant)
	filesystem_trusted(file, grant)
}

owner_trusted(file, _) if file.owner_is_root == true

owner_trusted(file, _) if file.owner_is_me == true

owner_trusted(file, grant) if file.uid == grant.relax.owner

# Nobody but root and the service may change or replace the file.
writers_closed(file, grant) if {
	file.writers.everyone == false
	file.writers.gids == []
	writing_uids(file.writers.uids, grant)
}

writing_uids(uids, grant) if {
	is_array(uids)
	every uid in uids { writing_uid(uid, grant) }
}

writing_uid(uid, _) if own_uid(uid)

# Who owns the file can change it and its mode: a grant that trusts an owner trusts it with that.
writing_uid(uid, grant) if uid == grant.relax.owner

own_uids(uids) if {
	is_array(uids)
	every uid in uids { own_uid(uid) }
}

root_alone(uids) if {
	is_array(uids)
	every uid in uids { uid == 0 }
}

own_uid(0)

own_uid(uid) if uid == input.subject.uid

mode_closed(file, grant) if {
	file.group_bits == 0
	file.other_bits == 0
} else if {
	file.gid == grant.relax.group_read
	read_or_nothing(file.group_bits)
	file.other_bits == 0
} else if {
	grant.relax.world_read == true
	read_or_nothing(file.group_bits)
	read_or_nothing(file.other_bits)
}

read_or_nothing(0)

read_or_nothing(4)

readers_closed(file, grant) if {
	file.readers.everyone == false
	readers_in_group(file.readers.gids, grant)
	own_uids(file.readers.uids)
}

readers_closed(file, grant) if {
	grant.relax.world_read == true
	is_boolean(file.readers.everyone)
	is_array(file.readers.gids)
	is_array(file.readers.uids)
}

readers_in_group(gids, _) if gids == []

readers_in_group(gids, grant) if gids == [grant.relax.group_read]

# Bounded on both sides: in Rego's order every null and boolean is below every number.
size_fits(file, grant) if {
	file.size >= 0
	file.size <= max_bytes(grant)
}

max_bytes(grant) := min([hard_limit, grant.max_bytes]) if {
	grant.max_bytes
} else := hard_limit

default hard_limit := 1048576

hard_limit := 1024 if input.action == "load_key"

final_link_granted(file, _) if file.final_symlink == false

final_link_granted(file, grant) if {
	file.final_symlink == true
	grant.relax.symlink == true
}

filesystem_trusted(file, grant) if {
	local_filesystem(file.filesystem)
} else if {
	file.filesystem == grant.relax.filesystem
}

# File systems whose modes and owners are authoritative. FUSE and network file systems are not: a server or a user's
# process says what the modes are.
local_filesystem("ext4")

local_filesystem("xfs")

local_filesystem("btrfs")

local_filesystem("zfs")

local_filesystem("f2fs")

local_filesystem("tmpfs")

local_filesystem("ramfs")

local_filesystem("overlayfs")

local_filesystem("squashfs")

local_filesystem("erofs")

local_filesystem("bcachefs")

# A rollout check cannot know the memory of the process; the obligation binds the load.
memory_suffices(grant) if {
	not grant.min_memory
} else if {
	input.context.phase == "rollout"
	input.context.memory == ""
} else if {
	memory_rank[input.context.memory] >= memory_rank[grant.min_memory]
}

memory_rank := {"heap": 1, "locked": 2, "memfd_secret": 3}

# ---- obligations: the strictest of the grants that accept ----

obligations(grants) := {
	"max_bytes": min([max_bytes(grant) | some grant in grants]),
	"min_length": max([object.get(grant, "min_length", 0) | some grant in grants]),
	"min_memory": strongest_memory(grants),
}

strongest_memory(grants) := "memfd_secret" if {
	some grant in grants
	grant.min_memory == "memfd_secret"
} else := "locked" if {
	some grant in grants
	grant.min_memory == "locked"
} else := "heap" if {
	some grant in grants
	grant.min_memory == "heap"
} else := ""

# ---- what a site may add ----

# The shape of a reason, and a set that exists when no site adds to it.
site_reasons contains {"code": "", "fix": "", "message": "", "severity": "error"} if false

# A reason that does not call itself harmless denies.
site_objections contains reason if {
	some reason in site_reasons
	not harmless(reason)
}

harmless(reason) if reason.severity == "warning"

harmless(reason) if reason.severity == "note"

remarks := {in_environment} if {
	input.resource.source == "env"
} else := set()

in_environment := {
	"code": "environment_source",
	"message": "an environment variable is visible in process listings and in /proc",
	"severity": "warning",
	"fix": "move the secret to a file or to a systemd credential",
}
