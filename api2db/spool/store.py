"""What the spools of all collectors of one STORE share: its limits, its log, its clock, and how its disk is written."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from api2db.errors import StoreError, StoreFullError
from api2db.files import IncreasingNanoseconds, fsync_dir, make_dir
from api2db.layout import Layout
from api2db.recent import Recent
from api2db.shardlog import ShardLog
from api2db.state import CollectorState
from api2db.tapes import Tapes
from api2db.usage import Usage

if TYPE_CHECKING:
    from api2db.spool.origins import Origins

# What link(2) answers where there are none, as on FAT and some network file systems.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EMLINK, errno.EXDEV, errno.EACCES)


class Spool:
    """All of STORE's shards. Each collector's part of it is a ``CollectorSpool``; see ``recovery`` for its start.

    links       whether one shard can have several names; where it can't, each stream gets a copy
    unsettled   collector -> names in ``accepted/``, all of them fanned out
    unusable    collector -> why its part can't be recovered
    unwritten   collector -> what was recovered and couldn't be written yet
    """

    def __init__(
        self,
        layout: Layout,
        usage: Usage,
        *,
        durable: bool = True,
        keep_s: float = 0.0,
        max_log_bytes: int = 0,
        max_tape_bytes: int = 0,
    ) -> None:
        self.layout = layout
        self.usage = usage
        self.log = ShardLog(layout.logs, keep_s=keep_s, max_bytes=max_log_bytes)
        usage.give_way = self.log.give_way
        self.tapes = Tapes(layout.tapes, usage, max_bytes=max_tape_bytes)
        self.durable = durable
        self.clock = IncreasingNanoseconds()
        self.recent = Recent()
        self.links = _links_work(layout.states)
        self.unsettled: dict[str, list[int]] = {}
        self.unusable: dict[str, str] = {}
        self.unwritten: dict[str, tuple[CollectorState, Origins]] = {}

    def make_dir(self, path: Path) -> None:
        """Durably, with its parents. Raises StoreError."""
        try:
            make_dir(path, flush=self.durable)
        except OSError as error:
            raise StoreError(f"can't create {path}: {error.strerror}") from error

    def flush(self, directory: Path) -> None:
        """Have a directory's names on disk, where STORE is to survive a power cut. Raises OSError."""
        if self.durable:
            fsync_dir(directory)


def store_error(collector: str, error: OSError) -> StoreError:
    """An error of STORE's disk as ours."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError(f"collector {collector}: no space left on the disk of STORE; nothing was written")
    return StoreError(f"collector {collector}: STORE can't be written: {error.strerror} ({error.filename})")


def _links_work(directory: Path) -> bool:
    """Does this file system have hard links?"""
    first, second = directory / ".link.a", directory / ".link.b"
    try:
        second.unlink(missing_ok=True)
        first.touch()
        os.link(first, second)
    except OSError as error:
        # A disk that is full, or fails, says nothing of links: to take copies then would need more of it.
        return error.errno not in _NO_LINKS
    finally:
        for path in (second, first):
            with contextlib.suppress(OSError):  # empty, and swept at the next start
                path.unlink(missing_ok=True)
    return True
