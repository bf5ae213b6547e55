#!/usr/bin/env bash
# Run deploy/api2db.service under a systemd of its own, where none is in charge: on Debian, as root, with
#   apt-get install debootstrap
# A Debian in a folder is booted in namespaces of its own, the steps of docs/deploy.md are gone through in it. Checks:
# the service gets ready and collects behind its walls, a main loop that hangs is found by the watchdog, a mistaken
# setting isn't restarted, credentials arrive, stopping succeeds. Takes some minutes and 1 GB below $WORK.
#
#   WORK=/var/tmp/api2db-service  where everything is     SUITE=trixie  Debian's release (Python 3.11 to 3.13)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
WORK=${WORK:-/var/tmp/api2db-service} SUITE=${SUITE:-trixie}
MIRROR=${MIRROR:-http://deb.debian.org/debian}
root=$WORK/rootfs
say() { printf '\n== %s\n' "$*"; }
die() { echo "FAILED: $*" >&2; exit 1; }
mkdir -p "$WORK"

say "Debian $SUITE with systemd, and api2db in it"
if [[ ! -e $WORK/base-made ]]; then
    rm -rf "$root"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,systemd,dbus,iproute2 \
        "$SUITE" "$root" "$MIRROR" >"$WORK/debootstrap.log"
    # These would change the kernel of this machine, which is shared.
    for unit in systemd-sysctl systemd-modules-load; do ln -sf /dev/null "$root/etc/systemd/system/$unit.service"; done
    touch "$WORK/base-made"
fi
cp /etc/resolv.conf "$root/etc/resolv.conf"
# This machine's certificates: it may sit behind a proxy that has its own.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
rm -rf "$root/usr/local/src/api2db" "$root"/{etc,var/lib,var/log,var/cache}/api2db "$root"/etc/systemd/system/api2db.*
mkdir -p "$root/usr/local/src/api2db"
cp -r api2db deploy pyproject.toml README.md LICENSE "$root/usr/local/src/api2db/"
chroot "$root" sh -e <<'STEPS'
export PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
[ -x /opt/api2db/bin/pip ] || python3 -m venv /opt/api2db
/opt/api2db/bin/pip install --quiet --upgrade '/usr/local/src/api2db[postgresql]'
id api2db >/dev/null 2>&1 ||
    useradd --system --user-group --no-create-home --home-dir /var/lib/api2db --shell /usr/sbin/nologin api2db
/opt/api2db/bin/api2db init /etc/api2db
cd /etc/api2db
rmdir STORE
ln -s /var/lib/api2db STORE
ln -s /var/log/api2db LOGS
ln -s /var/cache/api2db CACHE
chgrp -R api2db AUTH
chmod 750 AUTH
chmod 640 AUTH/*
cp /usr/local/src/api2db/deploy/api2db.service /etc/systemd/system/
STEPS

say "boot it"
# A control group of its own below that of this machine, so that nothing there is touched.
mkdir -p "$WORK/cgroup"
mount -t cgroup2 cgroup2 "$WORK/cgroup"
group=$WORK/cgroup/api2db-try-$$
mkdir "$group"
cat >"$WORK/boot.sh" <<'BOOT'
set -e
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
while read -r name major minor; do
    mknod -m 666 "$root/dev/$name" c "$major" "$minor"
done <<NODES
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
NODES
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mkdir -p "$root/oldroot"
cd "$root"
pivot_root . oldroot
umount -l /oldroot
mount --make-rshared /
exec env -i container=try PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=basic.target
BOOT
sh -c 'echo $$ >"$1/cgroup.procs"; exec setsid unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup sh "$2" "$3"' \
    sh "$group" "$WORK/boot.sh" "$root" >"$WORK/boot.log" 2>&1 </dev/null &
outside=$!
first=
finish() {
    [[ -z $first ]] || kill -KILL "$first" 2>/dev/null || true
    wait "$outside" 2>/dev/null || true
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    umount "$WORK/cgroup"
}
trap finish EXIT
for _ in $(seq 100); do
    first=$(cat "/proc/$outside/task/$outside/children" 2>/dev/null || true) first=${first% }
    [[ -n $first && $(cat "/proc/$first/comm") == systemd ]] && break
    sleep 0.1
done
inside() { timeout 60 nsenter --target "$first" --mount --pid --uts --ipc --net --root --wd "$@"; }
show() { inside systemctl show api2db --property="$1" --value; }
until_shown() { # property, value
    for _ in $(seq 150); do [[ $(show "$1") == "$2" ]] && return; sleep 0.2; done
    inside journalctl --unit=api2db --no-pager | tail -n 40
    die "$1 is $(show "$1"), not $2"
}
status() { inside /opt/api2db/bin/python /etc/api2db/main.py "$@"; }
for _ in $(seq 100); do inside systemctl is-active --quiet basic.target 2>/dev/null && break; sleep 0.2; done
inside ip link set lo up
inside systemctl --version | head -n 1

say "start it, with a collector that tries the walls"
cat >"$root/etc/api2db/collectors/walls.py" <<'WALLS'
import os
import signal
import subprocess
import threading

from api2db import collector


def hang(*_):
    while True:
        threading.Event().wait()


signal.signal(signal.SIGUSR1, hang)


def attempt(action):
    try:
        return str(action())
    except OSError as error:
        return error.strerror


@collector(every="1s", to=["files"])
def walls():
    import google.cloud.bigquery
    import pandas
    import psycopg
    import pyarrow.dataset

    writable = {p: attempt(lambda p=p: open(f"{p}/x", "w").close()) for p in ("STORE", "CACHE", "LOGS", "/tmp")}
    closed = {p: attempt(lambda p=p: open(f"{p}/x", "w").close()) for p in ("/etc/api2db", "/opt/api2db", "/var/lib")}
    closed["/root"] = attempt(lambda: os.listdir("/root"))
    assert set(writable.values()) == {"None"}, writable
    assert "None" not in closed.values() and "[]" not in closed.values(), closed
    assert subprocess.run(["/bin/echo", "hi"], capture_output=True, text=True).stdout == "hi\n"
    return [{"closed": str(closed)}]
WALLS
inside systemctl daemon-reload
inside systemctl enable --now --quiet api2db
[[ $(show ActiveState) == active ]] || die "it is not active"
for _ in $(seq 100); do [[ -n $(find "$root/var/lib/api2db/walls/parquet" -name '*.parquet' 2>/dev/null) ]] && break; sleep 0.2; done
inside systemctl status api2db --no-pager --lines=0
status --status || die "something needs attention"
status --check
inside systemd-analyze security --offline=yes --no-pager /etc/systemd/system/api2db.service | tail -n 1
[[ $(inside journalctl --unit=api2db --no-pager --output=cat | grep -c '^[0-9][0-9]:') == 0 ]] || die "two times in a line"

say "a main loop that hangs"
mkdir -p "$root/etc/systemd/system/api2db.service.d"
printf '[Service]\nWatchdogSec=3s\n' >"$root/etc/systemd/system/api2db.service.d/watchdog.conf"
inside systemctl daemon-reload
inside systemctl restart api2db
inside systemctl kill --signal=SIGUSR1 --kill-whom=main api2db
until_shown NRestarts 1
until_shown ActiveState active
inside journalctl --unit=api2db --no-pager --output=cat | grep -m 3 -e 'Watchdog timeout' -e 'in hang' -e "result 'watchdog'"
rm "$root/etc/systemd/system/api2db.service.d/watchdog.conf"

say "credentials by systemd"
mkdir -p "$root/root/credentials"
echo '{"dialect": "sqlite", "db_name": "/var/lib/api2db/warehouse.sqlite"}' >"$root/root/credentials/warehouse.json"
chmod -R go= "$root/root/credentials"
printf '[Service]\nLoadCredential=warehouse.json:/root/credentials/warehouse.json\nEnvironment=API2DB_AUTH=%%d\n' \
    >"$root/etc/systemd/system/api2db.service.d/credentials.conf"
sed -i 's/to=\["files"\]/to=["files", "warehouse"]/' "$root/etc/api2db/collectors/walls.py"
inside systemctl daemon-reload
inside systemctl restart api2db
for _ in $(seq 100); do [[ -s $root/var/lib/api2db/warehouse.sqlite ]] && break; sleep 0.2; done
[[ -s $root/var/lib/api2db/warehouse.sqlite ]] || die "nothing came to the warehouse"
inside ls -l /var/lib/api2db/warehouse.sqlite

say "stop it"
inside systemctl stop api2db
[[ $(show Result) == success && $(show ExecMainStatus) == 0 ]] || die "it did not stop in order"
inside journalctl --unit=api2db --no-pager --output=cat | tail -n 4

say "a mistaken setting"
sed -i '1i duribility = "fsync"' "$root/etc/api2db/api2db.toml"
inside systemctl start api2db && die "it started"
until_shown ActiveState failed
[[ $(show NRestarts) == 0 && $(show ExecMainStatus) == 2 ]] || die "it was restarted"
inside journalctl --unit=api2db --no-pager --output=cat | grep "can't start"
say "all of it holds"
