"""Memory to parquet shards, in a process of its own: ``python -m bench.shards ours|bare FOLDER ROWS``.

Both with what ``pyarrow.parquet.write_table`` does by default (snappy, dictionaries, statistics), and flushed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import click
import pyarrow.parquet as pq

from api2db.batch import Batch, new_batch_id
from api2db.files import fsync_dir
from api2db.sinks.base import Placement
from api2db.stream import Stream2Local
from bench import load, rows


def main(which: str, folder: Path, count: int) -> None:
    batches = [Batch(table, new_batch_id(), i + 1) for i, table in enumerate(rows.tables(count, rows.PAGE_ROWS))]
    seconds = {"ours": ours, "bare": bare}[which](batches, folder)
    click.echo(json.dumps({"seconds": seconds}))


def ours(batches: list[Batch], folder: Path) -> float:
    """Prepared in groups as a delivery makes them, and published; no row is a duplicate, which is found out too."""
    staging = folder / "queue"
    staging.mkdir()
    placement = Placement("bench/local", folder, staging, folder / "failed", folder)
    sink = Stream2Local("bench", path="out").sink(placement)
    sink.connect()
    start = time.perf_counter()
    for group in load.grouped(batches):
        sink.load(group, load.refuse)
        sink.publish(group)
    return time.perf_counter() - start


def bare(batches: list[Batch], folder: Path) -> float:
    out = folder / "out"
    out.mkdir()
    start = time.perf_counter()
    for batch in batches:
        with open(out / f"{batch.created_ns}.parquet", "wb") as file:
            pq.write_table(batch.table, file)
            file.flush()
            os.fsync(file.fileno())
    fsync_dir(out)
    return time.perf_counter() - start


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
