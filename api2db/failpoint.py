"""Faults on purpose, for tests: the process killed at a named point, or a disk that takes no more.

``API2DB_FAILPOINT=spool.renamed:3`` sends SIGKILL to this process the third time it reaches ``spool.renamed``.

``API2DB_TEST_DISK=ENOSPC@17@/project/STORE`` has the 17th change to a file or folder below that folder fail with that
errno, and ``ENOSPC@100:200@…`` and ``EIO@3::7@…`` those that such a slice takes. Changes are counted from 1: a file
opened to be written, a write, a flush, a rename, a link, a removal, a new folder. With EIO a file that is read too.

Unset (always, outside fault tests) each costs one comparison.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
import sys
from pathlib import Path

POINTS = (
    "spool.written",  # shard under its temporary name, flushed
    "spool.renamed",  # accepted, not yet fanned out
    "spool.linked",  # in some stream's directory, not yet in all
    "spool.fanned_out",  # in all streams' directories
    "journal.accepted",
    "sink.ledger",  # ledger row inserted, transaction open
    "sink.children",  # rows loaded, their children not yet, transaction open
    "sink.loaded",  # rows loaded, transaction open
    "sink.committed",  # in the database, receipt not given
    "local.prepared",  # target file finished beside the shard
    "local.publishing",  # shard dropped, file not yet at its place
    "local.copied",  # from another file system: whole beside its place, the original still there
    "local.moved",  # the original gone
    "local.published",  # at its place, its folder not yet flushed, what belonged to it still there
    "bigquery.frozen",  # a manifest is on disk, Google hasn't heard of it
    "bigquery.submitting",  # a job is about to be started
    "bigquery.submitted",  # its answer is here, the job maybe under way
    "bigquery.part",  # one part of a manifest is known to be in
    "bigquery.merged",  # rows are merged, their staging table is there
    "bigquery.entered",  # in the ledger, the manifest still there
    "journal.delivered",
    "spool.settled",  # cursor file written, accepted name gone
    "spool.dropping",  # one shard of a group dropped
    "spool.acked",  # all of them
    "spool.parked",
    "retention.forgot",  # the ledger has forgotten batches that the journal hasn't summed up yet
    "quarantine.written",
    "spool.origin",  # a replayed file of quarantine is gone, its batch's name in accepted/ still there
    "replay.linked",  # a kept shard waits for its stream again, others not yet
    "seen.written",  # records that may come again are on disk, their page not accepted yet
    "seen.begun",  # a new file of them is, the old one still there
    "rebuild.accepted",  # an item of a taped poll is accepted again, its poll not at its end
    "quarantine.held",  # rows that aren't accepted are kept, their batch not accepted yet
    "composing.frozen",  # a store knows which files it composes, nothing of them accepted yet
    "composing.removed",  # their rows are accepted, one of the files is gone
    "token.given",  # a server gave out a token, it isn't kept yet
    "token.kept",  # it is, and nobody has used it yet
    "composing.planned",  # their rows are accepted, the files are still there
)

_armed = _at = ""
_passes = itertools.count(1)


def arm(text: str) -> None:
    """From now on this process dies where ``text`` says: ``spool.renamed:3``."""
    global _armed, _at, _passes
    _armed, _, _at = text.partition(":")
    _passes = itertools.count(1)


arm(os.environ.get("API2DB_FAILPOINT", ""))


def reach(point: str) -> None:
    """Die here by SIGKILL if this pass of ``point`` is the armed one."""
    if point == _armed and next(_passes) == int(_at or 1):
        os.kill(os.getpid(), signal.SIGKILL)


class DiskFault:
    """A disk that fails: which changes below a folder do, and how many there were. Safe to use from any thread.

    text   ``<errno>@<number or slice>@<folder>``, as above
    """

    def __init__(self, text: str) -> None:
        name, numbers, folder = text.split("@", 2)
        self._errno: int = getattr(errno, name)
        first, *rest = (int(part) if part else None for part in numbers.split(":"))
        last, step = [*rest, None, None][:2] if rest else ((first or 0) + 1, None)
        self._numbers = range(first or 1, last or sys.maxsize, step or 1)
        self._folder = os.path.abspath(folder)
        self._count = itertools.count(1)
        self.seen = 0
        self.failed = 0

    def meet(self, path: object) -> None:
        """One more change, to ``path``: raises OSError if it is one of those that fail."""
        if not isinstance(path, str | os.PathLike) or not os.path.abspath(path).startswith(self._folder + os.sep):
            return
        self.seen = next(self._count)
        if self.seen in self._numbers:
            self.failed += 1
            raise OSError(self._errno, os.strerror(self._errno), os.fspath(path))

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        """Python's own word of what is about to be done (https://docs.python.org/3/library/audit_events.html)."""
        if event == "open":
            flags = arguments[2]
            assert isinstance(flags, int)
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes or (self._errno == errno.EIO and not flags & os.O_DIRECTORY):
                self.meet(arguments[0])
        elif event in ("os.rename", "os.link"):
            self.meet(arguments[1])
        elif event in ("os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"):
            self.meet(arguments[0])


_disk: DiskFault | None = None


def arm_disk(text: str) -> DiskFault:
    """From now on the disk fails as ``text`` says, and no longer as it did before."""
    global _disk
    if _disk is None:
        sys.addaudithook(lambda event, arguments: _disk.audit(event, arguments) if _disk else None)
    _disk = DiskFault(text)
    return _disk


def change(path: Path) -> None:
    """A write or a flush of ``path`` is about to be done, of which Python itself gives no word."""
    if _disk is not None:
        _disk.meet(path)


if "API2DB_TEST_DISK" in os.environ:
    arm_disk(os.environ["API2DB_TEST_DISK"])
