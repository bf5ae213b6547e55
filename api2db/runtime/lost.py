"""``shards purge --lost``: batches that are nowhere, since somebody removed their shards, are given up."""

from __future__ import annotations

from contextlib import nullcontext

from api2db.errors import ConfigError, StoreError
from api2db.nearest import nearest
from api2db.runtime.hindsight import lost
from api2db.runtime.works import Answer, Works
from api2db.spool.collector import CollectorSpool


def purge_lost(works: Works, collector: str, stream: str | None, answer: Answer, *, dry_run: bool) -> int:
    """Those of a collector's streams, or of that one, whether a collector has it now or not. How many rows.

    Raises ConfigError for a stream nobody knows; SinkError where a place can't be asked whether it has them;
    StoreError.
    """
    journal, part = works.kept.journal, works.parts.get(collector)
    known = journal.streams(collector)
    if not known or (stream is not None and stream not in known):
        name = collector if stream is None else f"{collector}/{stream}"
        raise ConfigError(f"the journal knows no {name!r}{nearest(stream or '', known)}")
    shards = CollectorSpool(works.kept.spool, collector, keep_s=None) if part is None else part.shards
    deliveries = {each.name: each for each in ([] if part is None else part.deliveries)} | works.filled
    rows = 0
    for each in known if stream is None else [stream]:
        delivery = deliveries.get(f"{collector}/{each}")
        with nullcontext() if delivery is None else delivery.turn:
            found = lost(journal, shards.queue(each), None if delivery is None else delivery.sink)
            if not found:
                continue
            count = journal.rows_of(found.values())
            done = "would be given up" if dry_run else "are given up"
            answer.say(f"{collector}/{each}: {len(found)} batches that are nowhere, {count:,} rows {done}")
            rows += count
            for created_ns in [] if dry_run else found:
                if not journal.shard_given_up(collector, each, created_ns):
                    raise StoreError("the journal can't be written now: run the command again")
    return rows
