"""Counts what really is in the scratch places, without asking the sinks that put it there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy
from sqlalchemy import URL, column, func, select, table

from api2db.chaos.scratch import Scratch
from api2db.layout import Layout
from api2db.ledger import NAME as LEDGER
from api2db.state import read_state
from api2db.stream.stream2local import Stream2Local
from api2db.stream.stream2sql import Stream2Sql

_JOURNAL = (
    "SELECT d.created_ns, d.batch_id, b.rows, d.outcome, coalesce(d.rows, 0), coalesce(d.quarantined, 0)"
    " FROM deliveries d JOIN batches b USING (batch_id) WHERE d.collector = ? AND d.stream = ?"
)


@dataclass
class Counted:
    """One stream, in rows.

    found    rows in its table, or in its files
    lost     rows accepted that are neither there nor held with a reason
    doubled  rows that are there once too often
    how      what was compared
    """

    stream: str
    target: str
    accepted: int = 0
    loaded: int = 0
    held: int = 0
    superseded: int = 0
    waiting: int = 0
    found: int = 0
    lost: int = 0
    doubled: int = 0
    how: str = ""


@dataclass(frozen=True)
class _Batch:
    created_ns: int
    batch_id: str
    accepted: int
    outcome: str
    loaded: int
    held: int


def count(scratch: Scratch) -> list[Counted]:
    """Every stream of the scratch, whose daemon has stopped."""
    return [line for name, target in _targets(scratch) for line in _count(scratch, name, target)]


def _targets(scratch: Scratch) -> Iterator[tuple[str, Stream2Sql | Stream2Local]]:
    for collector in scratch.collectors():
        for target in scratch.targets_of(collector):
            assert isinstance(target, (Stream2Sql, Stream2Local))
            yield collector.name, target


def _count(scratch: Scratch, collector: str, target: Stream2Sql | Stream2Local) -> Iterator[Counted]:
    settings = scratch.settings
    layout = Layout(settings.store)
    where = target.target(settings.project, settings.store)
    directories = read_state(layout.state(collector)).streams
    for directory in (name for name, place in directories.items() if place == where):
        batches = _batches(layout, collector, directory)
        line = Counted(f"{collector}/{directory}", where)
        line.accepted = sum(batch.accepted for batch in batches)
        line.loaded = sum(batch.loaded for batch in batches)
        line.held = sum(batch.held for batch in batches)
        line.superseded = sum(batch.accepted for batch in batches if batch.outcome == "superseded")
        line.waiting = sum(batch.accepted for batch in batches if batch.outcome in ("waiting", "parked"))
        nowhere = line.accepted - line.loaded - line.held - line.superseded - line.waiting
        line.lost, line.doubled = max(0, nowhere), max(0, -nowhere)
        if isinstance(target, Stream2Sql):
            _in_table(line, target, batches)
        else:
            _in_files(line, target, Path(where), batches)
        yield line


def _batches(layout: Layout, collector: str, directory: str) -> list[_Batch]:
    with closing(sqlite3.connect(layout.journal)) as journal:
        return [_Batch(*row) for row in journal.execute(_JOURNAL, (collector, directory))]


def _in_table(line: Counted, target: Stream2Sql, batches: list[_Batch]) -> None:
    assert target.table is not None
    engine = sqlalchemy.create_engine(URL.create("sqlite") if target.engine_str is None else target.engine_str)
    rows = table(target.table, *(column(name) for name in target.key))
    ledger = table(LEDGER, column("stream"), column("batch_id"))
    try:
        with engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table(target.table):
                line.lost += line.loaded
                line.how = "there is no table"
                return
            line.found = connection.execute(select(func.count()).select_from(rows)).scalar_one()
            mine = select(ledger.c.batch_id).where(ledger.c.stream == line.stream)
            there = set(connection.execute(mine).scalars())
            absent = sum(batch.loaded for batch in batches if batch.loaded and batch.batch_id not in there)
            if target.key:
                keys = select(*(rows.c[name] for name in target.key)).distinct().subquery()
                once = connection.execute(select(func.count()).select_from(keys)).scalar_one()
                line.doubled += line.found - once
                line.lost += absent
                line.how = "each key is one row; each batch is in the ledger"
            elif target.if_exists == "replace":
                line.lost += absent
                line.how = "each batch is in the ledger"
            else:
                line.lost += max(absent, line.loaded - line.found, 0)
                line.doubled += max(0, line.found - line.loaded)
                line.how = "rows in the table = rows loaded"
    finally:
        engine.dispose()


def _in_files(line: Counted, target: Stream2Local, place: Path, batches: list[_Batch]) -> None:
    from api2db.formats import FORMATS

    fmt = FORMATS[target.fmt or ""]
    paths = sorted(place.glob(f"*{fmt.suffix}")) if target.mode == "shard" else [place] if place.exists() else []
    rows = {path.stem: len(fmt.decode(path.read_bytes())) for path in paths}
    line.found = sum(rows.values())
    if target.mode != "shard":
        line.how = "the file can be read"
        line.lost += line.loaded if line.loaded and not paths else 0
        return
    wanted = {str(batch.created_ns): batch.loaded for batch in batches if batch.outcome == "loaded"}
    line.lost += sum(loaded for name, loaded in wanted.items() if name not in rows)
    line.doubled += sum(found for name, found in rows.items() if name not in wanted)
    line.how = "one file a batch"
