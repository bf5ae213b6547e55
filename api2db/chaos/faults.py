"""The kinds of faults, and schedules of them: the same seed, the same faults in the same order.

What a seed can't repeat is where in its work the daemon is at a moment: that depends on how fast the machine is just
then. Named points don't: they are places in the code.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

KILL = "kill"
KILL_AT = "kill at a point"
KILL_STARTING = "kill while it starts"
KILL_STOPPING = "kill while it stops"
RESTART = "restart"
PAUSE = "pause"
FULL = "disk full"
REFUSE = "database refuses"
RESET = "database resets"
CUT = "database cut off"
HANG = "database hangs"
SERVER = "database killed"

OUTAGES = (REFUSE, RESET, CUT, HANG)

# What each is, for people.
MEANING: Mapping[str, str] = {
    KILL: "SIGKILL at a random moment",
    KILL_AT: "SIGKILL at a named point of a batch's path",
    KILL_STARTING: "SIGKILL before it is ready, in recovery",
    KILL_STOPPING: "SIGKILL after SIGTERM, before it has stopped",
    RESTART: "SIGTERM, and started again",
    PAUSE: "SIGSTOP, a while later SIGCONT",
    FULL: "no file can grow, writes fail half-way",
    REFUSE: "the database's port refuses connections",
    RESET: "connections to the database are reset",
    CUT: "connections to the database end in mid-sentence",
    HANG: "the database takes connections and says nothing",
    SERVER: "the database server is killed by SIGKILL, a while later started again",
}

# Where a batch is at each point that can be hit here; the others are left out of schedules.
REACHABLE: Mapping[str, str] = {
    "spool.written": "a batch is written, not accepted yet",
    "spool.renamed": "a batch is accepted, no stream has it yet",
    "spool.linked": "one stream has the batch, another hasn't",
    "spool.fanned_out": "every stream has the batch",
    "journal.accepted": "the journal knows of the batch",
    "sink.ledger": "in a transaction: the batch is in the ledger, its rows aren't in the table",
    "sink.loaded": "in a transaction: the rows are in the table, not committed",
    "sink.committed": "committed, and nobody has been told",
    "local.prepared": "a file is finished, not published",
    "local.publishing": "a file's shard is gone, the file isn't at its place",
    "local.published": "a file is at its place, its folder not flushed",
    "journal.delivered": "delivered, the shard is still there",
    "spool.settled": "settled, the shards are still there",
    "spool.dropping": "some shards of a load are gone, others aren't",
    "spool.acked": "the shards of a load are gone",
    "quarantine.written": "rows the place refuses are kept, the others not loaded",
}

# Kills are what it is about; of these most while everything runs.
WEIGHTS: Mapping[str, int] = {KILL: 6, KILL_AT: 4, KILL_STARTING: 2, KILL_STOPPING: 2, RESTART: 1, PAUSE: 1, FULL: 2}
OUTAGE_WEIGHT = 1

# Reached some times a second or not at all: the first passes are recovery's and the first batches'.
_MOST_PASSES = 4
# A file of STORE that grows beyond it is torn there; small ones, and the journal's pages, fit or don't.
_FILE_LIMITS = (0, 4096, 65536)


@dataclass(frozen=True)
class Fault:
    """One entry of a schedule.

    kind       one of the names above
    after_s    seconds until it strikes: since the daemon is ready; ``KILL_STARTING``: as a part (0 to 1) of the time
               that a start takes; ``KILL_STOPPING``: since SIGTERM
    lasts_s    seconds, of those that last
    failpoint  ``<point>:<pass>`` of ``KILL_AT``
    limit      bytes of ``FULL``
    """

    kind: str
    after_s: float
    lasts_s: float = 0.0
    failpoint: str = ""
    limit: int = 0


def schedule(seed: int | str, weights: Mapping[str, int]) -> Iterator[Fault]:
    """Faults without end, each kind as often as its weight says. Every fault takes the same draws from the seed."""
    chance = random.Random(seed)
    points = list(REACHABLE)
    kinds = list(weights)
    while True:
        (kind,) = chance.choices(kinds, [weights[each] for each in kinds])
        after, lasts, point = chance.random(), chance.random(), chance.choice(points)
        passes, limit = chance.randint(1, _MOST_PASSES), chance.choice(_FILE_LIMITS)
        if kind == KILL_AT:
            yield Fault(kind, 0.0, failpoint=f"{point}:{passes}")
        elif kind == KILL_STARTING:
            yield Fault(kind, after)
        elif kind in (KILL, KILL_STOPPING, RESTART):
            yield Fault(kind, after / 2)
        else:
            yield Fault(kind, after / 2, lasts_s=0.2 + 1.8 * lasts, limit=limit)


def with_outages(weights: Mapping[str, int]) -> dict[str, int]:
    """Those weights, and the faults of connections."""
    return {**weights, **dict.fromkeys(OUTAGES, OUTAGE_WEIGHT)}
