#!/bin/sh
# The main job on real files: release engineers check a deployment, a service loads its secret, another is refused.
# Run it with make demo. It needs Go, and writes to a temporary folder only.
set -eu
cd "$(dirname "$0")/.."

work=$(mktemp -d)
stop() {
	for pid in $(cat "$work"/pids 2>/dev/null); do kill "$pid" 2>/dev/null; done
	wait
	rm -rf "$work"
}
trap stop EXIT
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
# credentials SERVICE NAME=TOKEN…: what systemd does for LoadCredential=, a folder and files for the service alone.
credentials() {
	dir=$work/credentials/$1
	shift
	mkdir -p -m 0700 "$dir"
	for c in "$@"; do
		cp "$secrets/${c#*=}" "$dir/${c%=*}"
		chmod 0400 "$dir/${c%=*}"
	done
}
# serve SERVICE VARIABLE=VALUE…: start a service on a port that is free, and wait until it is ready.
serve() {
	name=$1
	shift
	printf '$ %s\n' "$* $name &"
	env CREDENTIALS_DIRECTORY="$work/credentials/$name" LLORCH_LISTEN=127.0.0.1:0 "$@" "$work/$name" 2>"$work/$name.log" &
	echo $! >>"$work/pids"
	for _ in $(seq 100); do
		url=$(sed -n 's|.*"msg":"ready".*"address":"\([^"]*\)".*|http://\1|p' "$work/$name.log")
		[ -z "$url" ] || return 0
		sleep 0.1
	done
	cat "$work/$name.log"
	return 1
}
# secret FILE MODE: 64 random hexadecimal digits.
secret() {
	od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$1"
	chmod "$2" "$1"
}

demo() {
	say "1. A host: units, their users, and secret files with real modes"
	mkdir -p "$secrets/batch" "$root/home/batch" "$root/run"
	for user in queen-rbee:1001 pool-managerd:1002 worker-orcd:1003 batch-runner:1004 vram-residency:1005; do
		echo "${user%:*}:x:${user#*:}:${user#*:}::/nonexistent:/usr/sbin/nologin"
	done >"$root/etc/passwd"
	for name in api-token pool-token worker-token vram-token; do secret "$secrets/$name" 0600; done
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

	say "6. A pool and a worker load their tokens, and the worker registers"
	export LLORCH_GRANTS=examples/policy/data.json LLORCH_AUDIT="$work/audit.jsonl" LLORCH_INTERVAL=0.2
	credentials pool-managerd api_token=pool-token queen_token=api-token worker_token=worker-token
	credentials worker-orcd worker_token=worker-token
	credentials vram-residency api_token=vram-token worker_token=worker-token
	serve pool-managerd
	pool=$url
	serve worker-orcd LLORCH_POOL_URL="$pool" LLORCH_NODE=node-1
	for _ in $(seq 50); do
		grep -q '"msg":"registered"' "$work/worker-orcd.log" && break
		sleep 0.1
	done
	cat "$work/worker-orcd.log"
	run "$work/ask" "$secrets/api-token" GET "$pool/v2/nodes"
	run "$work/ask" "$secrets/vram-token" GET "$pool/v2/nodes"

	say "7. A shard is sealed under a key that is derived from the worker's token; a tampered one is found"
	serve vram-residency
	run "$work/ask" "$secrets/vram-token" POST "$url/v2/shards/seal" '{"shard_id":"shard-7","digest":"sha256:9f86d081"}' | tee "$work/shard"
	sed 's/^200 //; s/shard-7/shard-8/' "$work/shard" >"$work/tampered"
	run "$work/ask" "$secrets/vram-token" POST "$url/v2/shards/check" "$(sed -n '$s/^200 //p' "$work/shard")"
	run "$work/ask" "$secrets/vram-token" POST "$url/v2/shards/check" "$(tail -n 1 "$work/tampered")"

	say "8. queen-rbee is pointed at the worker's file: refused before it looks"
	expect 1 env LLORCH_API_TOKEN_FILE="$secrets/worker-token" "$work/queen-rbee"

	say "9. The audit log of all of them, which is what was written"
	run cat "$work/audit.jsonl"
	expect 0 "$work/secretcheck" audit verify "$work/audit.jsonl"
}

echo "building …"
# Not stamped: git answers nobody but the owner of a clone, and any user may run this.
go build -buildvcs=false -o "$work/" ./cmd/secretcheck ./examples/queen-rbee ./examples/pool-managerd ./examples/worker-orcd ./examples/vram-residency ./examples/ask
set +e
(set -e; demo) >"$log" 2>&1
code=$?
set -e
cat "$log"
[ "$code" -eq 0 ] || exit "$code"

say "10. Is a token in any of that?"
for file in "$secrets"/*-* "$root/home/batch/upload-token" "$work/outside"; do
	[ -f "$file" ] || continue
	value=$(cat "$file")
	[ "${#value}" -eq 64 ] || { echo "demo: $file holds no token to search for" >&2; exit 1; }
	if grep -qF -- "$value" "$log" "$work/audit.jsonl" "$work"/*.log; then
		echo "demo: a secret is in the output" >&2
		exit 1
	fi
done
shows() { grep -q -- "$1" "$log" || { echo "demo: $2" >&2; exit 1; }; }
shows '^200 {"nodes":\[{"id":"node-1"' "the worker did not register"
shows '^401 the token is not accepted' "a wrong token was let in"
shows '^200 {"intact":true}' "the seal does not hold"
shows '^409 {"intact":false}' "a tampered shard was not found"
shows 'no_grant' "what was not granted was not refused with no_grant"
echo "no: none of the output and none of the audit log holds one"
