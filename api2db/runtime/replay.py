"""``replay``: delivered shards that are kept are delivered again, where a place lacks them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from api2db.batch import REBUILT
from api2db.errors import ConfigError, TornShardError
from api2db.runtime.delivery import Delivery
from api2db.runtime.whereabouts import Apart, Whereabouts
from api2db.runtime.works import Answer, Part, Works
from api2db.shard import Header, peek
from api2db.sinks.base import Forgetful, NewestWins, Removable, Traceable


@dataclass(frozen=True)
class Which:
    """Which batches: accepted at or after ``since_ns``, before ``until_ns``; or one by its id.

    again  also those that the place has: they are taken out, and loaded once more
    """

    since_ns: int | None = None
    until_ns: int | None = None
    batch: str | None = None
    again: bool = False

    def has(self, created_ns: int, batch_id: str) -> bool:
        return (
            (self.since_ns is None or created_ns >= self.since_ns)
            and (self.until_ns is None or created_ns < self.until_ns)
            and self.batch in (None, batch_id)
        )


@dataclass
class _Plan:
    """What is delivered, by ``created_ns``.

    missing  what the place lacks, or shall have anew
    again    later batches that are merged again after them
    apart    for each of both the rows that it comes without
    """

    missing: set[int]
    again: list[Header]
    apart: dict[int, Apart]

    def leave_out(self, shards: Set[int]) -> None:
        self.missing -= shards
        oldest = min(self.missing, default=0)
        kept = [one for one in self.again if one.created_ns > oldest and one.created_ns not in shards]
        self.again = kept if self.missing else []


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
        _forgotten(delivery, missing, answer)
        _rebuilt(works, delivery, waits, missing, which, answer)
        plan = _plan(delivery, waits, missing, Whereabouts(works, part.collector.name, delivery, headers), answer)
        apart, missing, again = plan.apart, plan.missing, plan.again
        rows = sum(waits[created_ns].rows - len(apart[created_ns]) for created_ns in missing)
        answer.facts[delivery.name] = {"batches": len(missing), "rows": rows, "merged_again": len(again)}
        what = f"{len(missing)} batches, {rows:,} rows"
        since = f", accepted since {_time(min(missing))}" if missing else ""
        answer.say(f"{delivery.name}: {'would deliver' if dry_run else 'delivers'} {what}{since}")
        if again:
            answer.say(f"{delivery.name}: {len(again)} later batches are merged again after them, in order")
        if which.batch is not None and which.again and which.batch not in {one.batch_id for one in headers}:
            answer.say(f"{delivery.name}: batch {which.batch} is not kept in the log: collect its rows again")
        ids = [waits[created_ns].batch_id for created_ns in missing]
        if which.again and missing:
            _removable(delivery).may_take_out(ids)
        if dry_run or not missing:
            return
        if again:
            assert isinstance(delivery.sink, NewestWins)
            # Before they wait again; killed in between, they are found missing next time.
            delivery.sink.release([one.batch_id for one in again])
        # The newest first: killed half-way, what waits is the end of the order, never an older one without the later.
        wanted = sorted({*missing, *(one.created_ns for one in again)}, reverse=True)
        lent = delivery.queue.lend(wanted, {created_ns: apart[created_ns].numbers for created_ns in wanted})
        works.kept.journal.waits_again(
            [apart[created_ns].again(waits[created_ns]) for created_ns in sorted(lent)], delivery.stream
        )
        if which.again:
            # Once they wait: killed before, they are found to be in, and nothing has changed; killed after, they come.
            _removable(delivery).take_out([waits[created_ns].batch_id for created_ns in missing.intersection(lent)])
        delivery.readmit(lent)
    works.wake(delivery)


def _forgotten(delivery: Delivery, missing: set[int], answer: Answer) -> None:
    """Leave out what is older than what the ledger remembers."""
    horizon_ns = delivery.sink.horizon_ns if isinstance(delivery.sink, Forgetful) else 0
    forgotten = {created_ns for created_ns in missing if created_ns < horizon_ns}
    if forgotten:
        answer.say(
            f"{delivery.name}: {len(forgotten)} kept batches are older than what its ledger remembers: nobody can"
            " tell whether they are in, so they are left out"
        )
        missing -= forgotten


def _rebuilt(
    works: Works, delivery: Delivery, waits: Mapping[int, Header], missing: set[int], which: Which, answer: Answer
) -> None:
    """Leave out what a place has already that was filled by ``rebuild``: the same polls' rows, in other batches."""
    if which.batch is not None or which.since_ns is not None:
        return  # it was said which
    known = works.kept.journal.batch_ids(delivery.collector, delivery.stream)
    if not any(batch_id.startswith(REBUILT) for batch_id in known):
        return
    others = {created_ns for created_ns in missing if delivery.stream not in waits[created_ns].streams}
    if others:
        answer.say(
            f"{delivery.name}: it was filled by a rebuild: {len(others)} batches of before are left out, since their"
            " rows may be in; bring what came after the rebuilt polls by --since"
        )
        missing -= others


def _plan(
    delivery: Delivery, waits: Mapping[int, Header], missing: set[int], whereabouts: Whereabouts, answer: Answer
) -> _Plan:
    plan = _Plan(missing, [], {created_ns: whereabouts.of(waits[created_ns]) for created_ns in missing})
    superseded = {batch_id for each in plan.apart.values() for batch_id in each.superseded if not each.doubt}
    plan.leave_out({created_ns for created_ns in missing if waits[created_ns].batch_id in superseded})
    sink = delivery.sink
    if plan.missing and isinstance(sink, NewestWins) and sink.newest_wins:
        later = [one for one in waits.values() if one.created_ns > min(plan.missing)]
        plan.again = [one for one in later if one.created_ns not in missing and one.batch_id not in superseded]
        plan.apart |= {one.created_ns: whereabouts.of(one) for one in plan.again}
    doubtful = {created_ns for created_ns, each in plan.apart.items() if each.doubt}
    for created_ns in sorted(doubtful):
        answer.say(f"{delivery.name}: batch {waits[created_ns].batch_id} is left out: {plan.apart[created_ns].doubt}")
    stays = max((one.created_ns for one in plan.again if one.created_ns in doubtful), default=0)
    doubtful |= {created_ns for created_ns in plan.missing if created_ns < stays}  # nothing older may come after it
    # Of some each row is in a batch of its own, or in quarantine.
    empty = {created_ns for created_ns, each in plan.apart.items() if len(each) == waits[created_ns].rows > 0}
    plan.leave_out(doubtful | empty)
    return plan


def _removable(delivery: Delivery) -> Removable:
    if not isinstance(delivery.sink, Removable):
        raise ConfigError(
            f"stream {delivery.name}: nobody can tell which of the rows there came with a batch, so none can be loaded"
            " again beside the others; what is gone as a whole comes back by api2db replay, without --again"
        )
    return delivery.sink


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
    came_whole = works.kept.journal.with_outcome(part.collector.name, delivery.stream, "superseded")
    found = {}
    for one in headers:
        if one.created_ns in waiting or (one.ends and not delivery.sink.replaces):
            continue
        if one.created_ns in given_up and which.batch != one.batch_id:
            continue
        # Rows that another stream's place refused are in this one, or in the batch they came with.
        if one.origin is not None and (delivery.stream not in one.streams or one.created_ns in came_whole):
            continue
        # What was rebuilt is elsewhere in the batches of the polls themselves.
        if one.batch_id.startswith(REBUILT) and delivery.stream not in one.streams:
            continue
        found[one.created_ns] = one
    return found


def _missing(delivery: Delivery, waits: Mapping[int, Header], which: Which) -> set[int]:
    if not isinstance(delivery.sink, Traceable):
        raise ConfigError(f"stream {delivery.name} can't tell which batches its place has: nothing is replayed")
    if which.again:
        _removable(delivery)
        return {created_ns for created_ns, one in waits.items() if which.has(created_ns, one.batch_id)}
    lacking = delivery.sink.lacks({created_ns: one.batch_id for created_ns, one in waits.items()})
    if delivery.sink.replaces:
        # What a younger replacement, that is there, has superseded must not come back.
        newest_there = max(waits.keys() - lacking, default=0)
        lacking = {created_ns for created_ns in lacking if created_ns > newest_there}
    return {created_ns for created_ns in lacking if which.has(created_ns, waits[created_ns].batch_id)}


def _time(created_ns: int) -> str:
    return dt.datetime.fromtimestamp(created_ns // 10**9, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
