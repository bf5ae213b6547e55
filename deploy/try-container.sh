#!/usr/bin/env bash
# Build deploy/Dockerfile and run it as an engine would, where there is none: on Debian, as root, with
#   apt-get install buildah debootstrap
# Process namespace of its own, read-only root, the image's own user, environment and entry point, volumes on tmpfs.
# Checks: it runs and collects, nothing is written outside the volumes, process 1 reaps orphans, the health check
# answers, SIGTERM stops it with status 0. Takes some minutes and 3 GB below $WORK; the base is kept there.
#
#   WORK=/var/tmp/api2db-container  where everything is     SUITE=trixie  Debian's release (Python 3.11 to 3.13)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
WORK=${WORK:-/var/tmp/api2db-container} SUITE=${SUITE:-trixie}
MIRROR=${MIRROR:-http://deb.debian.org/debian}
mkdir -p "$WORK"
buildah() { command buildah --storage-driver vfs --root "$WORK/storage" --runroot "$WORK/run" "$@"; }
config() { buildah inspect --type image --format "$1" api2db-try; }
say() { printf '\n== %s\n' "$*"; }

say "base: Debian $SUITE with its Python"
if [[ ! -e $WORK/base-made ]]; then
    rm -rf "$WORK/rootfs"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$SUITE" "$WORK/rootfs" "$MIRROR" >"$WORK/debootstrap.log"
    touch "$WORK/base-made"
fi
# This machine's certificates: it may sit behind a proxy that has its own.
cp /etc/ssl/certs/ca-certificates.crt "$WORK/rootfs/etc/ssl/certs/ca-certificates.crt"
base=$(buildah from scratch)
buildah add --quiet "$base" "$WORK/rootfs" / >/dev/null
buildah config --env PIP_CERT=/etc/ssl/certs/ca-certificates.crt "$base"
buildah commit --quiet --rm "$base" api2db-try-base >/dev/null

say "build"
buildah build --isolation chroot --pull=never --build-arg BASE=localhost/api2db-try-base \
    --format docker --file deploy/Dockerfile --tag api2db-try .

say "run"
container=$(buildah from --pull=never api2db-try)
root=$(buildah mount "$container")
trap 'buildah rm "$container" >/dev/null; buildah rmi --prune >/dev/null' EXIT
cp -r collectors "$root/project/"
echo 'demo = true' >"$root/project/api2db.toml"
readarray -t environment < <(config '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' | sed '/^$/d')
readarray -t entry < <(config '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}' | sed '/^$/d')
# shellcheck disable=SC2016 # those are Go's dollars
readarray -t volumes < <(config '{{range $path, $_ := .OCIv1.Config.Volumes}}{{println $path}}{{end}}' | sed '/^$/d')
user=$(config '{{.OCIv1.Config.User}}') folder=$(config '{{.OCIv1.Config.WorkingDir}}')
echo "entry point: ${entry[*]}; user $user in $folder; volumes ${volumes[*]}"

cat >"$WORK/inside.sh" <<'INSIDE'
set -e
root=$1 user=$2 folder=$3 volumes=$4
shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,ro,bind "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero random urandom; do touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
for volume in $volumes; do mount -t tmpfs -o "uid=${user%:*},gid=${user#*:},mode=750" tmpfs "$root$volume"; done
ip link set lo up 2>/dev/null || true
cd "$root"
# setpriv last, so that the entry point is process 1.
exec env -i "$@"
INSIDE
command=(setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups --no-new-privs --bounding-set=-all --
    env --chdir="$folder" "${entry[@]}")
unshare --mount --pid --fork --kill-child --uts --ipc \
    sh "$WORK/inside.sh" "$root" "$user" "$folder" "${volumes[*]}" "${environment[@]}" chroot "$root" "${command[@]}" \
    >"$WORK/console.txt" 2>&1 &
outside=$!
for _ in $(seq 100); do
    grep -q "^..:..:..  loaded" "$WORK/console.txt" && break
    kill -0 "$outside" || { cat "$WORK/console.txt"; exit 1; }
    sleep 0.2
done
sed 's/^/  | /' "$WORK/console.txt"
grep -q "^..:..:..  loaded" "$WORK/console.txt"
first=$(cat "/proc/$outside/task/$outside/children"); first=${first% }
enter() { nsenter --target "$first" --mount --pid --root --wd -- setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups -- env -i "${environment[@]}" "$@"; }

say "process 1 is $(tr '\0' ' ' <"/proc/$first/cmdline")"
say "the health check"
enter sh -c "cd $folder && python main.py --check"
enter sh -c "cd $folder && python main.py --status"
say "the root can't be written, the volumes can"
for place in /project /project/AUTH /project/collectors /opt/api2db /etc; do
    if enter touch "$place/x"; then exit 1; fi
done
for place in "${volumes[@]}" /tmp; do
    enter touch "$place/x"
    echo "written: $place"
done
say "an orphan is reaped"
enter sh -c 'sh -c "sleep 0.2 & exit"'
sleep 1
zombies=$(enter sh -c 'grep -l "^State:.Z" /proc/[0-9]*/status 2>/dev/null | wc -l')
echo "zombies: $zombies"
[[ $zombies == 0 ]]
say "SIGTERM to process 1"
kill -TERM "$first"
status=0
wait "$outside" || status=$?
tail -n 2 "$WORK/console.txt"
echo "exit status: $status"
[[ $status == 0 ]]
