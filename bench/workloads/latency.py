"""100 rows: from the answer in the collector's hands until they are committed, spool included.

One collector polls every 50 ms. Beside it what the same database takes to commit one row, with nothing of ours.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from statistics import quantiles

from bench import rows
from bench.context import Context, say
from bench.daemon import project, until
from bench.server import serving
from bench.table import Line

SAMPLES = 500
# The first polls connect, create the table, and import what they are the first to need.
WARM_UP = 20
BATCH = 100
_COLLECTOR = f"""
import itertools
from pathlib import Path

import requests

from api2db import collector
from api2db.sources.decode import decode

session = requests.Session()
numbers = itertools.count()


@collector(every=0.05, to=["bench"], shape={rows.SHAPE!r})
def events():
    number = next(numbers)
    if number == {WARM_UP + SAMPLES + 10}:  # a few more: stopping may leave the last ones in the spool
        Path("done").touch()
    return decode(session.get(f"API/{{number}}").content)
"""


def run(context: Context) -> list[Line]:
    lines = []
    for name, once in (("PostgreSQL", postgres), ("SQLite", sqlite)):
        ours: list[tuple[float, float]] = []
        floor: list[tuple[float, float]] = []
        for number in range(context.runs):
            measured, commits = once(context)
            ours.append(percentiles(measured))
            floor.append(percentiles(commits))
            say(f"latency {name} {number + 1}: p50, p99 {ours[-1]} ms; one-row commit {floor[-1]} ms")
        for place, (percentile, limit) in enumerate((("p50", 8), ("p99", 30))):
            values, beside = ([pair[place] for pair in pairs] for pairs in (ours, floor))
            what = f"100 rows, answer → committed in {name}, {percentile}"
            lines.append(Line(what, values, "ms", limit, peer=beside, peer_name="one-row commit"))
    return lines


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """p50 and p99 in ms."""
    cuts = quantiles(seconds, n=100, method="inclusive")
    return round(cuts[49] * 1000, 3), round(cuts[98] * 1000, 3)


def postgres(context: Context) -> tuple[list[float], list[float]]:
    with context.database() as db:
        measured = deliver(context, context.postgres.url(db))
        with closing(context.postgres.connect(db)) as connection:
            return measured, floor(lambda sql: connection.execute(sql))


def sqlite(context: Context) -> tuple[list[float], list[float]]:
    file = context.folder / "latency.sqlite"
    measured = deliver(context, f"sqlite:///{file}")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        commits = floor(lambda sql: connection.execute(sql))
    for path in file.parent.glob(f"{file.name}*"):
        path.unlink()
    return measured, commits


def floor(execute: Callable[[str], object]) -> list[float]:
    """Seconds of each commit of one row, on an open connection that commits by itself."""
    execute("CREATE TABLE floor (id BIGINT, name TEXT)")
    taken = []
    for _ in range(WARM_UP + SAMPLES):
        start = time.perf_counter()
        execute("INSERT INTO floor VALUES (1, 'one row')")
        taken.append(time.perf_counter() - start)
    return taken[WARM_UP:]


def deliver(context: Context, url: str) -> list[float]:
    """Seconds of each batch."""
    with serving(BATCH) as api:
        toml = f'[places.bench]\nurl = "{url}"\n'
        source = _COLLECTOR.replace("API", api.url)
        with project(context.folder, toml=toml, measured=True, events=source) as made:
            process = made.start()
            until((made.folder / "done").exists, made, process)
            made.stop(process)
            latencies: list[float] = json.loads((made.folder / "measured.json").read_text())["latencies"]
    if len(latencies) < WARM_UP + SAMPLES:
        raise AssertionError(f"only {len(latencies)} batches were loaded")
    return latencies[WARM_UP:]
