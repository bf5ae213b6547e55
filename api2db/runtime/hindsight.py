"""What the journal has missed of a stream: told to it once, when the place is reached, before anything is loaded.

A journal that was deleted or damaged, a power cut, a disk that was full: the log and the place's ledger still know.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from api2db.errors import StoreError, TornShardError
from api2db.journal.journal import Journal
from api2db.quarantine import is_set_aside
from api2db.shard import Header, peek
from api2db.sinks.base import Filed, Ledgered, Sink
from api2db.spool.queue import StreamQueue

if TYPE_CHECKING:
    from api2db.runtime.delivery import Delivery

log = logging.getLogger(__name__)

_AT_ONCE = 500


def look_back(delivery: Delivery) -> bool:
    """Give the journal its missing lines and outcomes, as far as log and ledger have them. With ``turn`` held.

    False while the journal can't be read: nothing depends on it. Raises SinkError.
    """
    sink, journal, name = delivery.sink, delivery.journal, (delivery.collector, delivery.stream)
    try:
        if isinstance(sink, Ledgered):  # of files nobody can tell: they may have been taken away
            _look_where(delivery, sink)
            _tell_kept(delivery, sink)
        gone = lost(journal, delivery.queue, sink)
    except (StoreError, sqlite3.DatabaseError) as error:
        log.debug("journal can't be read, looking back at the next start stream=%s cause=%s", delivery.name, error)
        return False
    if not isinstance(sink, Ledgered):
        gone = {
            each: batch for each, batch in gone.items() if isinstance(sink, Filed) and sink.published(each) is False
        }
    for created_ns in gone:
        journal.outcome(*name, created_ns, "removed")
    if gone:
        log.error(
            "shards removed by someone, their rows not loaded stream=%s batches=%d oldest=%s; see: api2db audit %s",
            delivery.name, len(gone), gone[min(gone)], delivery.collector,
        )  # fmt: skip
    return True


def lost(journal: Journal, queue: StreamQueue, sink: Sink | None) -> dict[int, str]:
    """Batches that were accepted for a stream and are nowhere: ``created_ns`` -> batch id.

    The journal is told of those that the place has. ``sink`` is None where nobody can ask it. Raises SinkError,
    StoreError.
    """
    layout, name = queue.spool.layout, (queue.collector, queue.stream)
    lines = journal.without_outcome(*name)
    waits = {*queue.waiting(), *queue.parked()}
    missed = {
        created_ns: batch_id
        for created_ns, batch_id in lines.items()
        if created_ns not in waits
        and not (layout.accepted(queue.collector) / f"{created_ns}.parquet").exists()
        and not is_set_aside(layout, *name, created_ns)
    }
    if isinstance(sink, Filed):
        return {created_ns: batch_id for created_ns, batch_id in missed.items() if not sink.published(created_ns)}
    had = sink.loaded(list(missed.values())) if missed and isinstance(sink, Ledgered) else dict[str, int]()
    for created_ns, batch_id in missed.items():
        if batch_id in had:
            journal.found(*name, created_ns, had[batch_id])
    return {created_ns: batch_id for created_ns, batch_id in missed.items() if batch_id not in had}


def _tell_kept(delivery: Delivery, sink: Ledgered) -> None:
    """Tell the journal of kept batches it has no line of."""
    for kept in _in_parts(_unknown(delivery)):
        headers = _headers(delivery, kept)
        had = sink.loaded([header.batch_id for header in headers])
        for header in headers:
            if delivery.stream in header.streams or header.batch_id in had:
                delivery.journal.accepted(replace(header, streams=(delivery.stream,)))


def _look_where(delivery: Delivery, sink: Ledgered) -> None:
    """Where the stream's target is another now: has its data moved, with its ledger, or is it another place?"""
    journal, name, target = delivery.journal, (delivery.collector, delivery.stream), delivery.sink.target
    before = journal.place(*name)
    if before == target:
        return
    moved, newest_ns = before is None, 0
    while not moved and (part := journal.loaded(*name, newest_ns, _AT_ONCE)):
        moved = bool(sink.loaded([batch_id for _, batch_id in part]))
        newest_ns = part[-1][0]
    journal.goes_to(*name, target, elsewhere=None if moved else before)
    if before is not None:
        log.warning(
            "stream goes to another place stream=%s from=%s to=%s: %s",
            delivery.name, before, target,
            "its ledger has batches of before" if moved else "it has no batch of before; to fill it: api2db replay",
        )  # fmt: skip


def _unknown(delivery: Delivery) -> list[int]:
    """``created_ns`` of the kept batches of which the journal has no line, oldest first."""
    kept, name = delivery.queue.spool.log.shards(delivery.collector), (delivery.collector, delivery.stream)
    if not kept or delivery.sink.replaces:
        return []  # of replacements nobody can tell which ones a younger one had superseded
    known = delivery.journal.known(*name, kept[0])
    # What is older is of an old copy of STORE: it is in the sums, or nobody can tell whether it was loaded.
    since_ns = max(delivery.journal.summed_until(*name) + 1, delivery.horizon_ns)
    return [created_ns for created_ns in kept if created_ns >= since_ns and created_ns not in known]


def _headers(delivery: Delivery, kept: Sequence[int]) -> list[Header]:
    found = []
    for created_ns in kept:
        try:
            header = peek(delivery.queue.spool.log.path(delivery.collector, created_ns))
        except (TornShardError, FileNotFoundError):
            continue  # ``shards verify`` names it; or it was pruned just now
        if not header.ends:
            found.append(header)
    return found


def _in_parts(items: Sequence[int]) -> Iterator[Sequence[int]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))
