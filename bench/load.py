"""Memory to database through ``SqlSink``, in a process of its own: ``python -m bench.load URL ROWS [replace|whole]``.

With ``whole`` they are one load, else as many loads as a delivery makes of a backlog.
With ``replace`` the table is full of as many rows, which those that are timed take the place of.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence

import click
import pyarrow as pa
from sqlalchemy import make_url

from api2db.batch import Batch, new_batch_id
from api2db.runtime.delivery import GROUP_BYTES, GROUP_ROWS
from api2db.sinks.sql import SqlSink
from bench import measure, rows

BATCH_ROWS = 50_000
TABLE = "events"


def main(url: str, count: int, way: str = "append") -> None:
    batches = [Batch(table, new_batch_id(), i) for i, table in enumerate(rows.tables(count, BATCH_ROWS))]
    sink = SqlSink(stream="bench/sql", url=make_url(url), table=TABLE, if_exists="append" if way == "whole" else way)
    groups = [batches] if way == "whole" else list(grouped(batches))
    if sink.replaces:
        groups = [batches]  # all of one poll
        sink.load([Batch(each.table, new_batch_id(), each.created_ns) for each in batches], refuse)
    measure.give_back()
    before_mb = measure.rss_mb()
    measure.reset_peak()
    start = time.perf_counter()
    for group in groups:
        sink.load(group, refuse)
    seconds = time.perf_counter() - start
    growth_mb = measure.peak_mb() - before_mb
    sink.close()
    click.echo(json.dumps({"seconds": seconds, "growth_mb": growth_mb}))


def grouped(
    batches: Sequence[Batch], max_rows: int = GROUP_ROWS, max_bytes: int = GROUP_BYTES
) -> Iterator[list[Batch]]:
    """As many batches as a delivery loads at once."""
    group: list[Batch] = []
    for batch in batches:
        together = [*group, batch]
        too_many = sum(one.table.num_rows for one in together) > max_rows
        if group and (too_many or sum(one.table.nbytes for one in together) > max_bytes):
            yield group
            together = [batch]
        group = together
    yield group


def refuse(batch: Batch, rows: pa.Table, reasons: Sequence[str], at: object = None) -> None:
    raise AssertionError(f"{rows.num_rows} rows refused: {reasons[0]}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
