# Words for reasons. Everything here is defined whatever the input holds, so that no reason is lost for want of a word.
package secrets.load

refusal(code, message, fix) := {"code": code, "message": message, "severity": "error", "fix": fix}

# A fact as text.
fact(place, name) := text(object.get(place.file, name, null))

# The host bounds a message and a fix to 1024 bytes each, and a character can have four. So a text has at most one path,
# or two short ones, beside words and names that are cut.
longest_path := 180

longest_text := 100

longest_twice := 70

longest_list := 30

# Numbers by json.marshal: format_int ends the evaluation in Wasm for a uid or a size beyond 31 bits.
text(value) := substring(value, 0, longest_text) if {
	is_string(value)
} else := json.marshal(value) if {
	is_number(value)
} else := "unknown"

quoted(value) := concat("", ["\"", text(value), "\""])

# A path to be used is whole or not there: a command on a part of it would be for another file.
shell(value) := concat("", ["'", replace(value, "'", `'\''`), "'"]) if {
	is_string(value)
	count(value) <= longest_path
} else := "THE_PATH"

member(value) := concat("", ["\"", value, "\""]) if {
	is_string(value)
	count(value) <= longest_path
} else := "the path"

nothing := "none"

the_proven(fact) := text(input.subject.uid) if {
	fact == "uid"
	attested(input.subject.attested.uid)
} else := text(input.subject.unit) if {
	fact == "unit"
	attested(input.subject.attested.unit)
} else := nothing

identity_fix("uid", uid) := concat("", [
	"run the service as uid ", text(uid), ", in no user namespace; at rollout check with --root, or write User=", text(uid),
])

identity_fix("unit", unit) := concat("", [
	"let systemd start it as ", text(unit), ", in the system slice and without Delegate=; at rollout check that unit's file",
])

# The first of those who have an access besides root and the service. Sets and sort take the square of a list's length in
# Wasm: a file with 400 readers would use up the fuel, and the refusal would lose its reasons.
strangers(principals) := substring(concat(", ", sort(names)), 0, 500) if {
	all := {"everyone" | principals.everyone == true}
	users := {user(uid) | some uid in array.slice(principals.uids, 0, longest_list); not own_uid(uid)}
	groups := {concat(" ", ["gid", text(gid)]) | some gid in array.slice(principals.gids, 0, longest_list)}
	names := (all | users) | groups
	count(names) > 0
} else := "unknown"

# The number that no user has stands for whoever has none in the service's user namespace.
user(4294967295) := "a user without a number in this user namespace (PrivateUsers=, a container)"

user(uid) := concat(" ", ["uid", text(uid)]) if uid != 4294967295

# Root's private file is of no use to a service that is not root, unless systemd copies it.
hand_over(place) := concat(" ", [" && chown", place.owner, shell(place.path)]) if {
	input.resource.source == "file"
	place.file.owner_is_me == false
	count(place.path) <= longest_twice
} else := ""

# In a container a platform makes the file, and nobody can run the command: what to do there stands behind it as a
# shell's comment. What lets more than read cannot be granted.
unless_read_granted(place, grant) := in_container(concat("", ["\"group_read\": ", text(place.file.gid)]), grant) if {
	input.resource.source == "file"
	place.file.other_bits == 0
	place.file.group_bits == 4
	is_number(place.file.gid)
} else := in_container("\"world_read\": true", grant) if {
	input.resource.source == "file"
	place.file.other_bits == 4
	read_or_nothing(place.file.group_bits)
} else := ""

in_container(relaxed, grant) := concat("", [
	" # in a container: mount it with mode 0400, or add ", relaxed, " to relax of grant ", quoted(grant.id),
])

# Only for the source file: a credential belongs to root or the service, what it is copied from to root. Of several
# strangers none is trusted alone.
unless_owner_granted(place, grant) := concat("", [
	" # in a container: mount one of root's or the service's own, or add \"owner\": ", text(place.file.uid), " to relax of grant ", quoted(grant.id),
]) if {
	input.resource.source == "file"
	can_own(place.file.uid)
	not own_uid(place.file.uid)
	place.file.writers.everyone == false
	place.file.writers.gids == []
	every uid in place.file.writers.uids { own_or(uid, place.file.uid) }
} else := ""

own_or(uid, _) if own_uid(uid)

own_or(uid, owner) if uid == owner

# The numbers that relax.owner can have.
can_own(uid) if {
	is_number(uid)
	uid >= 1
	uid <= 4294967294
}

# What makes a grant cover a path. In a Kubernetes volume the real path has a directory that another replaces when the
# secret changes, ..2026_11_24_…: only the volume as a whole can be named.
covering(path) := concat("", [member(volume), " to dirs"]) if {
	is_string(path)
	contains(path, "/..")
	volume := split(path, "/..")[0]
	startswith(volume, "/")
} else := concat("", [member(path), " to paths"])

# The host calls a file system unknown that it has no name for; no grant can trust that one.
unless_relaxed("unknown", _) := ""

unless_relaxed(kind, grant) := text_of_relax if {
	kind != "unknown"
	text_of_relax := concat("", [", or add \"filesystem\": ", quoted(kind), " to relax of grant ", quoted(grant.id)])
}

the_reference := concat(" ", ["file", shell(the_path)]) if {
	input.resource.source == "file"
} else := concat(" ", ["credential", shell(the_name)]) if {
	input.resource.source == "credential"
} else := concat(" ", ["environment variable", shell(the_name)]) if {
	input.resource.source == "env"
} else := "an unknown source"

default the_service := "unknown"

the_service := substring(input.subject.service, 0, 50) if is_string(input.subject.service)

own_uid_shown := json.marshal(input.subject.uid) if {
	is_number(input.subject.uid)
	input.subject.uid >= 0
} else := "root"

default the_action := "unknown"

the_action := input.action if known_action(input.action)

default the_path := "unknown"

the_path := input.resource.path if is_string(input.resource.path)

default the_resolved := "unknown"

the_resolved := input.resource.resolved if is_string(input.resource.resolved)

default the_name := "unknown"

the_name := input.resource.name if is_string(input.resource.name)

default the_origin := "unknown"

the_origin := input.resource.origin if is_string(input.resource.origin)

default the_memory := "unknown"

the_memory := input.context.memory if is_string(input.context.memory)

default file_facts := {}

file_facts := input.resource.file if is_object(input.resource.file)

default origin_facts := {}

origin_facts := input.resource.origin_file if is_object(input.resource.origin_file)
