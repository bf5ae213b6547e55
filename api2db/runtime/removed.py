"""``shards purge --removed``: what waits for streams that no collector has now is given up.

Until somebody does, it waits for such a stream to come back, and the log and the history wait with it.
"""

from __future__ import annotations

from pathlib import Path

from api2db.errors import ConfigError, StoreError
from api2db.layout import ACCEPTED, Layout
from api2db.runtime.assembly import reconcile
from api2db.runtime.works import Answer, Works, rows_of
from api2db.spool.collector import CollectorSpool

_STAGED = (".ready", ".group", ".rows")


def purge_removed(
    works: Works, collector: str, stream: str | None, answer: Answer, *, parked: tuple[bool, ...], dry_run: bool
) -> int:
    """Give up the shards of a collector's removed streams, or of that one. How many rows.

    parked  which: those that wait (False), those that failed (True)

    Raises ConfigError for a stream that isn't removed, or of which nobody can tell; StoreError.
    """
    part = works.parts.get(collector)
    if part is None:
        _check_gone(works, collector)
    own = {} if part is None else {each.stream: each for each in part.deliveries}
    if stream in own:
        raise ConfigError(f"collector {collector} has the stream {stream}: purge it without --removed")
    directories = [name for name in _directories(works.kept.spool.layout, collector) if name not in own]
    if stream is not None and stream not in directories:
        raise ConfigError(f"nothing of STORE is of a stream {collector}/{stream}: api2db shards ls lists what there is")
    wanted = directories if stream is None else [stream]
    shards = CollectorSpool(works.kept.spool, collector, keep_s=None) if part is None else part.shards
    rows = 0
    for directory in wanted:
        for lane in parked:
            rows += _purge(works, shards, directory, answer, parked=lane, dry_run=dry_run)
    return rows


def _purge(works: Works, shards: CollectorSpool, stream: str, answer: Answer, *, parked: bool, dry_run: bool) -> int:
    name = f"{shards.collector}/{stream}"
    queue = shards.queue(stream)
    there = queue.parked() if parked else queue.waiting()
    if not there:
        return 0
    _check_staged(works.kept.spool.layout.queue(shards.collector, stream), name)
    if dry_run:
        rows = rows_of(queue, there, parked=parked)
    elif (filled := works.filled.get(name)) is not None:  # a place that ``replay --to`` fills just now
        there, rows = filled.purge(lambda found: rows_of(queue, found, parked=parked), parked=parked)
    else:
        rows = rows_of(queue, there, parked=parked)
        journal = works.kept.journal
        reconcile(journal, shards, stream)
        for created_ns in there:
            journal.outcome(shards.collector, stream, created_ns, "purged")
        queue.drop(there, parked=parked)
    where = "failed for" if parked else "wait for"
    done = "would be given up" if dry_run else "are given up"
    answer.say(f"{name}: no collector has this stream now; {len(there)} shards, {rows:,} rows that {where} it {done}")
    return rows


def _check_gone(works: Works, collector: str) -> None:
    """Raise ConfigError unless it is sure that nobody declares the collector."""
    if collector in works.aside:
        raise ConfigError(f"collector {collector} is declared, and doesn't run: {works.aside[collector]}")
    if works.broken:
        raise ConfigError(
            f"no collector {collector} runs, but a module can't be used, which may declare it: {works.broken[0]}"
        )


def _check_staged(folder: Path, name: str) -> None:
    """A finished file without its shard is published when its stream comes back, with rows of shards that wait."""
    staged = [path for path in folder.glob("*") if path.suffix in _STAGED] if folder.is_dir() else []
    if staged:
        raise StoreError(
            f"stream {name}: {staged[0].name} was on its way to its place: give the collector that stream for one"
            " start, which finishes it, then take it away and run the command again"
        )


def _directories(layout: Layout, collector: str) -> list[str]:
    """All that hold, or held, shards of a collector."""
    roots = (layout.queue(collector, ACCEPTED).parent, layout.failed(collector, ACCEPTED).parent)
    found = {path.name for root in roots if root.is_dir() for path in root.iterdir() if path.is_dir()}
    return sorted(name for name in found if name != ACCEPTED and not name.startswith("."))
