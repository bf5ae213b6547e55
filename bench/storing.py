"""A folder of small shards into a database, in a process of its own: ``python -m bench.storing ours|scan FOLDER URL``.

ours  a store, by a daemon with nothing else to do: from its start until the last row is in and the last file gone
scan  one scan of the folder by pyarrow's dataset, and that loaded through the same sink
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import click
import pyarrow.dataset as ds
from sqlalchemy import make_url

from api2db.batch import Batch, new_batch_id
from api2db.collector import Collector
from api2db.runtime.daemon import Daemon
from api2db.settings import load as load_settings
from api2db.sinks.sql import SqlSink
from api2db.store.places import with_stores
from api2db.store.store import Store
from api2db.stream.places import targets_of
from api2db.stream.stream2sql import Stream2Sql
from bench import measure
from bench.load import BATCH_ROWS, TABLE, grouped, refuse

LOOK_S = 0.02


def ours(folder: Path, url: str) -> dict[str, float]:
    store = Store(TABLE, 3600, str(folder))
    store.stream = Stream2Sql(TABLE, url=url, store=True)
    project = folder.parent / "project"
    project.mkdir()
    settings = load_settings(project)
    owner = Collector(TABLE, 3600, lambda: None, None, None, lambda: [store])
    collectors = with_stores([owner], settings)
    begun = [0.0, 0.0]
    waited = threading.Event()

    def started(running: object) -> None:
        measure.give_back()
        begun[:] = time.perf_counter(), measure.rss_mb()
        measure.reset_peak()
        threading.Thread(target=watch, daemon=True).start()

    def watch() -> None:
        queue = settings.store / "queue" / collectors[1].name
        while _holds_any(folder) or any(queue.glob("*/*.parquet")):
            waited.wait(LOOK_S)
        begun[0] = time.perf_counter() - begun[0]
        daemon.stop()

    daemon = Daemon(settings, collectors, lambda one: targets_of(one, settings), started=started)
    daemon.run()
    return {"seconds": begun[0], "growth_mb": measure.peak_mb() - begun[1]}


def _holds_any(folder: Path) -> bool:
    """Without reading it whole: that would hold up who deletes from it."""
    with os.scandir(folder) as entries:
        return next(entries, None) is not None


def scan(folder: Path, url: str) -> dict[str, float]:
    sink = SqlSink(stream="bench/scan", url=make_url(url), table=TABLE)
    start = time.perf_counter()
    table = ds.dataset(folder).to_table()
    parts = [table.slice(at, BATCH_ROWS).combine_chunks() for at in range(0, table.num_rows, BATCH_ROWS)]
    for group in grouped([Batch(part, new_batch_id(), at) for at, part in enumerate(parts)]):
        sink.load(group, refuse)
    seconds = time.perf_counter() - start
    sink.close()
    return {"seconds": seconds}


if __name__ == "__main__":
    how, where, place = sys.argv[1:]
    click.echo(json.dumps({"ours": ours, "scan": scan}[how](Path(where), place)))
