"""``python -m tests.power.filesystem <mount point> <seed>``: a ``Disk`` as a file system; unmounting it cuts its power.

It is mounted again at once, with what the cut left. One line on its output for each time it is mounted: ``ready``, and
what the cut before found, as JSON. Ends when its input is closed and it is unmounted.

Extended attributes of the mount point command it:

user.cut      n: cut the power at the n-th flush from now, before or after it has reached the disk; the process that
              asked for it gets SIGKILL, and everyone else errors
user.forgets  a regular expression: flushes of paths it matches do nothing, as if the program had left them out
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import re
import select
import signal
import stat
import sys
from dataclasses import asdict
from typing import Any

import mfusepy

from tests.power.disk import Cut, Disk, Inode

ENTRIES_KNOWN_S = 3600  # nobody but the kernel changes them


class FlushedOnly(mfusepy.Operations):
    """One mount of a disk."""

    use_ns = True

    def __init__(self, disk: Disk, rng: random.Random, cut: Cut | None, forgets: re.Pattern[str] | None) -> None:
        self.disk = disk
        self.after: Cut | None = None  # set once the power is gone
        self.forgets = forgets
        self._rng = rng
        self._before = cut
        self._at: int | None = None
        self._handles: dict[int, tuple[Inode, bool]] = {}
        self._numbers = itertools.count(1)

    def init_with_config(self, conn_info: Any, config_3: Any) -> None:
        config_3.hard_remove = 1
        config_3.use_ino = 1
        config_3.kernel_cache = 1
        config_3.entry_timeout = ENTRIES_KNOWN_S
        config_3.attr_timeout = 0  # a file's other names change how many it has
        config_3.negative_timeout = 0
        sys.stdout.write(f"ready {json.dumps(self._before and asdict(self._before))}\n")
        sys.stdout.flush()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        inode = self._inode(path, fh)
        return {
            "st_ino": inode.number,
            "st_mode": inode.mode,
            "st_nlink": inode.links,
            "st_size": len(inode.data),
            "st_blocks": (len(inode.data) + 511) // 512,
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
            "st_mtime": inode.mtime_ns,
            "st_atime": inode.mtime_ns,
            "st_ctime": inode.ctime_ns,
        }

    def statfs(self, path: str) -> dict[str, int]:
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 2**20, "f_bfree": 2**19, "f_bavail": 2**19}

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        inode = self._inode(path, fh)
        listed = [(".", inode), ("..", inode), *inode.entries.items()]
        return [(name, {"st_ino": each.number, "st_mode": each.mode}, 0) for name, each in listed]

    def mkdir(self, path: str, mode: int) -> int:
        self._powered().create(path, stat.S_IFDIR | stat.S_IMODE(mode))
        return 0

    def rmdir(self, path: str) -> int:
        self._powered().remove(path, directory=True)
        return 0

    def unlink(self, path: str) -> int:
        self._powered().remove(path)
        return 0

    def rename(self, old: str, new: str) -> int:
        self._powered().rename(old, new)
        return 0

    def link(self, target: str, source: str) -> int:
        self._powered().link(source, target)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        inode = self._powered().find(path)
        inode.mode = stat.S_IFMT(inode.mode) | stat.S_IMODE(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        return 0

    def create(self, path: str, mode: int, fi: int) -> int:  # type: ignore[override]
        inode = self._powered().create(path, stat.S_IFREG | stat.S_IMODE(mode))
        return self._handle(inode, fi)

    def open(self, path: str, flags: int) -> int:
        inode = self._powered().find(path)
        if flags & os.O_TRUNC:
            inode.truncate(0)
        return self._handle(inode, flags)

    def opendir(self, path: str) -> int:
        return self._handle(self._powered().find(path), 0)

    def release(self, path: str, fh: int) -> int:
        self._handles.pop(fh, None)
        return 0

    releasedir = release

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._inode(path, fh).data[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._powered()
        inode, synchronous = self._handles[fh]
        inode.write(data, offset)
        if synchronous:
            inode.flush()
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._inode(path, fh).truncate(length)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        disk = self._powered()
        inode, _ = self._handles[fh]
        forgotten = self.forgets is not None and self.forgets.search(path)
        self._at = None if self._at is None else self._at - 1
        now = self._at is not None and self._at <= 0
        if not forgotten and not (now and self._rng.random() < 0.5):
            disk.flush(inode)
        if now:
            self.lose_power()
            os.kill(mfusepy.fuse_get_context()[2], signal.SIGKILL)
            raise OSError(errno.EIO, "no power")
        return 0

    fsyncdir = fsync

    def setxattr(self, path: str, name: str, value: bytes, options: int, position: int = 0) -> int:
        if name == "user.cut":
            self._at = int(value)
        elif name == "user.forgets":
            self.forgets = re.compile(value.decode()) if value else None
        else:
            raise OSError(errno.ENOTSUP, name)
        return 0

    def lose_power(self) -> None:
        if self.after is None:
            self.after = self.disk.cut(self._rng)

    def _powered(self) -> Disk:
        if self.after is not None:
            raise OSError(errno.EIO, "no power")
        return self.disk

    def _inode(self, path: str, fh: int | None) -> Inode:
        disk = self._powered()
        return self._handles[fh][0] if fh in self._handles else disk.find(path)

    def _handle(self, inode: Inode, flags: int) -> int:
        number = next(self._numbers)
        self._handles[number] = inode, bool(flags & os.O_DSYNC)
        return number


def main(mount: str, seed: str) -> None:
    disk, rng = Disk(), random.Random(seed)
    cut, forgets = None, None
    while True:
        mounted = FlushedOnly(disk, rng, cut, forgets)
        mfusepy.FUSE(mounted, mount, foreground=True, nothreads=True, allow_other=os.getuid() == 0)
        if select.select([sys.stdin], [], [], 0)[0]:
            return  # nobody is there any more
        mounted.lose_power()
        cut, forgets = mounted.after, mounted.forgets


if __name__ == "__main__":
    main(*sys.argv[1:])
