"""What the demo's feed served against what the scratch places hold, version by version."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import sqlalchemy
from sqlalchemy import column, select, table

from api2db import demo
from api2db.chaos.scratch import Scratch
from api2db.demo.replay import Served
from api2db.demo.report import Report, compare, in_files, milliseconds
from api2db.stream.stream2local import Stream2Local
from api2db.stream.stream2sql import Stream2Sql


def report(served: Served, scratch: Scratch) -> Report | None:
    """None where the feed's collector doesn't deliver to both a table and parquet files, one a batch."""
    collectors = [collector for collector in scratch.collectors() if collector.name == demo.COLLECTOR]
    targets = [target for collector in collectors for target in scratch.targets_of(collector)]
    tables = [target for target in targets if isinstance(target, Stream2Sql) and target.key == ("id",)]
    folders = [t for t in targets if isinstance(t, Stream2Local) and (t.mode, t.fmt) == ("shard", "parquet")]
    if not tables or not folders:
        return None
    folder = Path(folders[0].target(scratch.settings.project, scratch.settings.store))
    engine = sqlalchemy.create_engine(tables[0].engine_str)
    name = str(tables[0].table)
    try:
        with engine.connect() as connection:
            found = connection.execute(select(table(name, column("id"), column("updated")))).all()
    finally:
        engine.dispose()
    rows = [(str(event), milliseconds(updated)) for event, updated in found]
    place = "SQLite" if engine.dialect.name == "sqlite" else "PostgreSQL"
    where = f"the {place} table {name}"
    return compare(served, Counter(in_files(folder)), rows, files="parquet files", database=where)
