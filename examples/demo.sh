#!/bin/sh
# The main job on real files: release engineers check a deployment, a service loads its secret, another is refused.
# Run it with make demo. It needs Go, and writes to a temporary folder only.
set -eu
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
root=$work/root
secrets=$root/etc/llorch/secrets
log=$work/output

say() { printf '\n== %s\n' "$*"; }
run() { printf '$ %s\n' "$*" | sed "s|$work|\$WORK|g"; "$@"; }
# expect CODE COMMAND…: run it, and end the demo unless it exits with CODE.
expect() {
	want=$1 code=0
	shift
	run "$@" || code=$?
	echo "exit code $code"
	[ "$code" -eq "$want" ] || { echo "demo: exit code $want expected" >&2; exit 1; }
}
# secret FILE MODE: 64 random hexadecimal digits.
secret() {
	od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$1"
	chmod "$2" "$1"
}

demo() {
	say "1. A host: units, their users, and secret files with real modes"
	mkdir -p "$secrets/batch" "$root/home/batch" "$root/run"
	for user in queen-rbee:1001 pool-managerd:1002 worker-orcd:1003 batch-runner:1004; do
		echo "${user%:*}:x:${user#*:}:${user#*:}::/nonexistent:/usr/sbin/nologin"
	done >"$root/etc/passwd"
	for name in api-token pool-token worker-token worker-seal-key; do secret "$secrets/$name" 0600; done
	secret "$secrets/batch-token" 0644
	secret "$root/home/batch/upload-token" 0600
	secret "$work/outside" 0600
	ln -s ../../../../outside "$secrets/batch-db"
	ls -lR "$secrets" | sed "s|$work|\$WORK|g"

	say "2. The security team's grants and rules become a bundle"
	expect 0 "$work/secretcheck" policy build examples/policy -o "$work/policy.tar.gz"

	say "3. Release check of the good units: clean"
	expect 0 "$work/secretcheck" check --root "$root" --policy "$work/policy.tar.gz" examples/deploy/systemd

	say "4. Release check with the mis-deployed unit: denied, with what to do"
	expect 1 "$work/secretcheck" check --root "$root" --policy "$work/policy.tar.gz" examples/deploy/systemd examples/broken

	say "5. What the policy lets worker-orcd do"
	expect 0 "$work/secretcheck" policy can worker-orcd --policy "$work/policy.tar.gz"

	say "6. worker-orcd loads its token, answers requests, seals a record"
	# What systemd does for LoadCredential=: a folder and a file for the service alone.
	mkdir -m 0700 "$work/credentials"
	cp "$secrets/worker-token" "$work/credentials/worker_token"
	chmod 0400 "$work/credentials/worker_token"
	CREDENTIALS_DIRECTORY=$work/credentials
	export CREDENTIALS_DIRECTORY
	expect 0 "$work/service" -as worker-orcd -grants examples/policy/data.json -audit "$work/audit.jsonl"

	say "7. The same program under the wrong identity: refused before it looks"
	expect 1 "$work/service" -as pool-managerd -grants examples/policy/data.json -audit "$work/audit.jsonl"

	say "8. The audit log of both runs, which is what was written"
	run cat "$work/audit.jsonl"
	expect 0 "$work/secretcheck" audit verify "$work/audit.jsonl"
}

echo "building …"
# Not stamped: git answers nobody but the owner of a clone, and any user may run this.
go build -buildvcs=false -o "$work/" ./cmd/secretcheck ./examples/service
set +e
(set -e; demo) >"$log" 2>&1
code=$?
set -e
cat "$log"
[ "$code" -eq 0 ] || exit "$code"

say "9. Is a token in any of that?"
for file in "$secrets"/*-* "$root/home/batch/upload-token" "$work/outside"; do
	[ -f "$file" ] || continue
	value=$(cat "$file")
	[ "${#value}" -eq 64 ] || { echo "demo: $file holds no token to search for" >&2; exit 1; }
	if grep -qF -- "$value" "$log" "$work/audit.jsonl"; then
		echo "demo: a secret is in the output" >&2
		exit 1
	fi
done
grep -q 'no_grant' "$log" || { echo "demo: the wrong identity was not refused with no_grant" >&2; exit 1; }
echo "no: none of the output and none of the audit log holds one"
