"""Named points on the path of a batch at which a test, or ``API2DB_FAILPOINT``, can kill the process.

``API2DB_FAILPOINT=spool.renamed:3`` sends SIGKILL to this process the third time it reaches
``spool.renamed``. Unset (always, outside fault tests) a point costs one comparison.
"""

from __future__ import annotations

import itertools
import os
import signal

POINTS = (
    "spool.written",  # shard under its temporary name, flushed
    "spool.renamed",  # accepted, not yet fanned out
    "spool.linked",  # in some stream's directory, not yet in all
    "spool.fanned_out",  # in all streams' directories
    "journal.accepted",
    "sink.ledger",  # ledger row inserted, transaction open
    "sink.loaded",  # rows loaded, transaction open
    "sink.committed",  # in the database, receipt not given
    "local.prepared",  # target file finished beside the shard
    "local.publishing",  # shard dropped, file not yet at its place
    "local.copied",  # from another file system: whole beside its place, the original still there
    "local.moved",  # the original gone
    "local.published",  # at its place, its folder not yet flushed, what belonged to it still there
    "journal.delivered",
    "spool.settled",  # cursor file written, accepted name gone
    "spool.dropping",  # one shard of a group dropped
    "spool.acked",  # all of them
    "spool.parked",
    "retention.forgot",  # the ledger has forgotten batches that the journal hasn't summed up yet
    "quarantine.written",
    "quarantine.held",  # rows that aren't accepted are kept, their batch not accepted yet
)

_armed, _, _at = os.environ.get("API2DB_FAILPOINT", "").partition(":")
_passes = itertools.count(1)


def reach(point: str) -> None:
    """Die here by SIGKILL if this pass of ``point`` is the armed one."""
    if point == _armed and next(_passes) == int(_at or 1):
        os.kill(os.getpid(), signal.SIGKILL)
