"""``replay``: delivered shards that are kept are delivered again, where a place lacks them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from api2db.errors import ConfigError, TornShardError
from api2db.runtime.delivery import Delivery
from api2db.runtime.works import Answer, Part, Works
from api2db.shard import Header, peek
from api2db.sinks.base import Forgetful, NewestWins, Traceable


@dataclass(frozen=True)
class Which:
    """Which batches: accepted at or after ``since_ns``, before ``until_ns``; or one by its id."""

    since_ns: int | None = None
    until_ns: int | None = None
    batch: str | None = None

    def has(self, created_ns: int, batch_id: str) -> bool:
        return (
            (self.since_ns is None or created_ns >= self.since_ns)
            and (self.until_ns is None or created_ns < self.until_ns)
            and self.batch in (None, batch_id)
        )


def replay_log(works: Works, part: Part, delivery: Delivery, which: Which, answer: Answer, *, dry_run: bool) -> None:
    """Have what the place lacks wait for it again: ledger and order decide as ever. Raises SinkError, StoreError.

    A merge without a version is repeated from the oldest batch it lacks on: the later one wins, so nothing older may
    come after it.
    """
    headers, torn = _kept(works, part)
    if torn:
        answer.say(f"{delivery.name}: {torn} kept shards are damaged: api2db shards verify names them")
    with delivery.turn:
        delivery.sink.connect()
        waits = _unless_waiting(works, part, delivery, headers, which)
        missing = _missing(delivery, waits, which)
        horizon_ns = delivery.sink.horizon_ns if isinstance(delivery.sink, Forgetful) else 0
        forgotten = {created_ns for created_ns in missing if created_ns < horizon_ns}
        if forgotten:
            answer.say(
                f"{delivery.name}: {len(forgotten)} kept batches are older than what its ledger remembers: nobody can"
                " tell whether they are in, so they are left out"
            )
            missing -= forgotten
        oldest = min(missing, default=0)
        again: list[Header] = []
        sink = delivery.sink
        if missing and isinstance(sink, NewestWins) and sink.newest_wins:
            again = [one for one in waits.values() if one.created_ns > oldest and one.created_ns not in missing]
        rows = sum(waits[created_ns].rows for created_ns in missing)
        answer.facts[delivery.stream] = {"batches": len(missing), "rows": rows, "merged_again": len(again)}
        what = f"{len(missing)} batches, {rows:,} rows"
        since = f", accepted since {_time(oldest)}" if missing else ""
        answer.say(f"{delivery.name}: {'would deliver' if dry_run else 'delivers'} {what}{since}")
        if again:
            answer.say(f"{delivery.name}: {len(again)} later batches are merged again after them, in order")
        if dry_run or not missing:
            return
        if again:
            assert isinstance(sink, NewestWins)
            # Before they wait again; killed in between, they are found missing next time.
            sink.release([one.batch_id for one in again])
        # The newest first: killed half-way, what waits is the end of the order, never an older one without the later.
        wanted = sorted({*missing, *(one.created_ns for one in again)}, reverse=True)
        lent = delivery.queue.lend(wanted)
        works.kept.journal.waits_again([waits[created_ns] for created_ns in sorted(lent)], delivery.stream)
        delivery.readmit(lent)
    works.wake(delivery)


def _kept(works: Works, part: Part) -> tuple[list[Header], int]:
    """What the kept shards of a collector say of themselves, oldest first; and how many are torn."""
    log, name = works.kept.spool.log, part.collector.name
    headers, torn = [], 0
    for created_ns in log.shards(name):
        try:
            headers.append(replace(peek(log.path(name, created_ns)), types=None, rest=None))
        except TornShardError:
            torn += 1
        except FileNotFoundError:
            continue  # pruned just now
    return headers, torn


def _unless_waiting(
    works: Works, part: Part, delivery: Delivery, headers: Sequence[Header], which: Which
) -> dict[int, Header]:
    """The kept shards that are this stream's and don't wait for it anyway, by ``created_ns``."""
    waiting = {*delivery.queue.waiting(), *delivery.queue.parked()}
    given_up = works.kept.journal.with_outcome(part.collector.name, delivery.stream, "purged")
    found = {}
    for one in headers:
        if one.created_ns in waiting or (one.ends and not delivery.sink.replaces):
            continue
        if one.created_ns in given_up and which.batch != one.batch_id:
            continue
        # Rows that another stream's place refused are in this one, or in the batch they came with.
        if one.origin is not None and delivery.stream not in one.streams:
            continue
        found[one.created_ns] = one
    return found


def _missing(delivery: Delivery, waits: Mapping[int, Header], which: Which) -> set[int]:
    if not isinstance(delivery.sink, Traceable):
        raise ConfigError(f"stream {delivery.name} can't tell which batches its place has: nothing is replayed")
    lacking = delivery.sink.lacks({created_ns: one.batch_id for created_ns, one in waits.items()})
    if delivery.sink.replaces:
        # What a younger replacement, that is there, has superseded must not come back.
        newest_there = max(waits.keys() - lacking, default=0)
        lacking = {created_ns for created_ns in lacking if created_ns > newest_there}
    return {created_ns for created_ns in lacking if which.has(created_ns, waits[created_ns].batch_id)}


def _time(created_ns: int) -> str:
    return dt.datetime.fromtimestamp(created_ns // 10**9, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
