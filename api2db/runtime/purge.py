"""``shards purge --in quarantine``: rows in quarantine are given up, and the journal is told before their file goes.

Rows whose file somebody has taken away are given up with the others: nothing else can be done about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from api2db.errors import StoreError, TornShardError
from api2db.files import fsync_dir
from api2db.layout import ACCEPTED, HELD
from api2db.quarantine import SOURCE
from api2db.runtime.delivery import Delivery
from api2db.runtime.works import Answer, Part, Works
from api2db.shard import peek
from api2db.shardlog import name_ns


@dataclass(frozen=True)
class _Given:
    """What is given up: a batch's rows in quarantine. ``path`` is None where its file is gone."""

    batch_id: str
    rows: int
    path: Path | None


def purge_quarantine(works: Works, part: Part, stream: str | None, answer: Answer, *, dry_run: bool) -> int:
    """All of it; or one stream's, or what is in ``held``, ``source`` or ``accepted``. How many rows.

    Raises Api2dbError; what was given up until then stays so.
    """
    rows = 0
    if stream not in (HELD, SOURCE, ACCEPTED):
        for delivery in part.streams(stream):
            with delivery.turn:  # a load may write such a file just now
                rows += _refused(works, part, delivery, answer, dry_run=dry_run)
    for kind in (HELD, SOURCE, ACCEPTED):
        if stream in (None, kind):
            _others(works, part, kind, answer, dry_run=dry_run)
    return rows


def _refused(works: Works, part: Part, delivery: Delivery, answer: Answer, *, dry_run: bool) -> int:
    journal, name = works.kept.journal, part.collector.name
    folder = works.kept.spool.layout.quarantine(name, delivery.stream)
    there = {path.stem: path for path in sorted(folder.glob("[!.]*.parquet"))}
    found = []
    for batch_id, created_ns, rows in journal.in_quarantine(name, delivery.stream):
        paths = [path for stem in (batch_id, str(created_ns)) if (path := there.pop(stem, None)) is not None]
        found += [_Given(batch_id, rows if at == 0 else 0, path) for at, path in enumerate(paths or [None])]
    found += [_by_itself(path) for path in there.values()]  # their lines are summed up, or the journal was begun anew
    if not found:
        return 0
    rows = sum(each.rows for each in found)
    gone = sum(each.path is None for each in found)
    what = f"{len(found) - gone} files, {rows:,} rows" + (f", of {gone} files that are gone," if gone else "")
    answer.say(f"{delivery.name}: {what} {'would be' if dry_run else 'are'} given up")
    if not dry_run:
        for each in found:
            _told(journal.given_up(name, delivery.stream, each.batch_id, each.rows))
            if each.path is not None:
                _remove(works, name, each.path)
    return rows


def _by_itself(path: Path) -> _Given:
    try:
        if name_ns(path.name) is not None:
            header = peek(path)
            return _Given(header.batch_id, header.rows, path)
        return _Given(path.stem, pq.read_metadata(path).num_rows, path)
    except (TornShardError, pa.ArrowInvalid):
        return _Given(path.stem, 0, path)  # nobody can tell


def _others(works: Works, part: Part, kind: str, answer: Answer, *, dry_run: bool) -> None:
    """Held rows and payloads, which were never accepted; and shards that were damaged before they were a stream's."""
    name = part.collector.name
    paths = sorted(works.kept.spool.layout.quarantine(name, kind).glob("[!.]*.*"))
    if not paths:
        return
    answer.say(f"{name}/{kind}: {len(paths)} files {'would be' if dry_run else 'are'} given up")
    for path in [] if dry_run else paths:
        created_ns = name_ns(path.name)
        if kind == ACCEPTED and created_ns is not None:
            for delivery in part.deliveries:
                _told(works.kept.journal.shard_given_up(name, delivery.stream, created_ns))
        _remove(works, name, path)


def _told(written: bool) -> None:
    if not written:
        raise StoreError("the journal can't be written now, and would miss these rows for ever: run the command again")


def _remove(works: Works, collector: str, path: Path) -> None:
    spool = works.kept.spool
    try:
        size = path.stat().st_size
        path.unlink()
        if spool.durable:
            fsync_dir(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"can't remove {path}: {error.strerror}") from error
    spool.usage.add(collector, -size)
