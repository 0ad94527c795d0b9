#!/bin/bash
# box.sh ROOT STAGE OUT SECONDS: boots the systemd of the root file system ROOT in a box, until it ends by itself or
# SECONDS are over. STAGE/units are its units, STAGE/files what is put into it (a list with "MODE UID GID NUMBER PATH" lines
# in STAGE/manifest, MODE is "link" for a symbolic link to what the file says), OUT is what it may write to, as /run/machine/out.
set -eu
root=$(realpath "$1") stage=$(realpath "$2") out=$(realpath "$3") seconds=$4
export root stage out
groups=$(awk '$(NF-2) == "cgroup2" {print $5; exit}' /proc/self/mountinfo)
[ -n "$groups" ] || { echo "box: no cgroup2 file system is mounted" >&2; exit 98; }
group=$groups/realsystemd-$$
export canary=/tmp/.realsystemd-canary-$$
mkdir "$group"
touch "$canary"
trap 'rm -f "$canary"; find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true' EXIT

(
	echo "$BASHPID" >"$group/cgroup.procs"
	# A dead unshare takes the box with it, whatever runs in there.
	exec timeout --foreground --signal=KILL "$seconds" \
		unshare --mount --propagation private --pid --fork --kill-child=SIGKILL --uts --ipc --cgroup --net bash -c '
set -eu
work=$stage/box
mkdir "$work"
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work"/upper "$work"/work "$work"/root
mount -t overlay overlay -o lowerdir="$root",upperdir="$work/upper",workdir="$work/work" "$work/root"
r=$work/root
mkdir -p "$r"/proc "$r"/sys "$r"/dev "$r"/run "$r"/tmp "$r"/var/tmp "$r"/var/lib/systemd
: >"$r/.realsystemd"
mount -t proc proc "$r/proc"
mount --bind "$r/proc/sys" "$r/proc/sys"
mount -o remount,bind,ro "$r/proc/sys"
mount -t sysfs -o ro sysfs "$r/sys"
mount -t tmpfs tmpfs "$r/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$r/sys/fs/cgroup"
own="run:755 tmp:1777 var/tmp:1777 dev:755 var/lib/systemd:755"
for d in $own; do
	mount -t tmpfs -o mode="${d#*:}" tmpfs "$r/${d%:*}"
	: >"$r/${d%:*}/.realsystemd"
done
mkdir "$r/dev/pts" "$r/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$r/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$r/dev/shm"
while read -r name major minor; do mknod -m 666 "$r/dev/$name" c "$major" "$minor"; done <<-LIST
	null 1 3
	zero 1 5
	full 1 7
	random 1 8
	urandom 1 9
	tty 5 0
LIST
ln -s pts/ptmx "$r/dev/ptmx"
ln -s /proc/self/fd "$r/dev/fd"
: >"$r/dev/console"
mount --bind "$(tty)" "$r/dev/console"

mkdir -p "$r/run/systemd" "$r/run/lock" "$r/run/machine/out"
mount --bind "$out" "$r/run/machine/out"
cp -r "$stage/units" "$r/run/systemd/system"
# What would act on the whole machine, as far as it can from in here, or wait for hardware.
for unit in sysinit.target systemd-tmpfiles-setup.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-clean.timer \
	systemd-sysctl.service systemd-sysusers.service systemd-update-utmp.service systemd-udevd.service systemd-logind.service; do
	ln -sf /dev/null "$r/run/systemd/system/$unit"
done
while read -r mode uid gid number path; do
	if [ "$mode" = link ]; then
		mkdir -p "$r${path%/*}"
		ln -s "$(cat "$stage/files/$number")" "$r$path"
		continue
	fi
	install -D -m "$mode" -o "$uid" -g "$gid" "$stage/files/$number" "$r$path"
done <"$stage/manifest"
echo 0123456789abcdef0123456789abcdef >"$r/etc/machine-id"

cd "$r"
mkdir run/oldroot
pivot_root . run/oldroot
cd /
umount -l /run/oldroot
rmdir /run/oldroot

# Nothing starts before it is certain that this is the box.
abort() { echo "box: ABORT: $1" >&2; exit 99; }
[ ! -e "$canary" ] || abort "the /tmp of the machine is in reach"
[ "$(stat -f -c %T /)" = overlayfs ] || abort "the root is no overlay"
for d in / $own; do
	d=/${d%:*}
	[ -e "$d/.realsystemd" ] || abort "$d is not that of the box"
	rm "$d/.realsystemd"
done
if (echo 1 >/proc/sys/fs/protected_fifos) 2>/dev/null; then abort "/proc/sys can be written to"; fi
mount --make-rshared /
exec env -i container=realsystemd PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=machine.target --log-target=console --log-level=info --show-status=no
'
) && code=0 || code=$?
exit $code
