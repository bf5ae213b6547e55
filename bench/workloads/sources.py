"""HTTP pages to SQLite and PostgreSQL through ``RestSource``, against a loop written by hand and dlt's ``rest_api``.

The loop is a collector too, so that both have the same form, spool and loader: what is compared is what asks. Both and
dlt are timed from the first request the API sees until the last row is in. The source follows links and asks for what
is new, by an ``Incremental``.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bench import rows
from bench.context import TIMEOUT_S, Context, module, say
from bench.daemon import project, until
from bench.server import serving
from bench.table import Line

PEER = Path(__file__).parents[1] / "peers" / "with_dlt_rest.py"
SIZES = (1_000, 10_000)
# dlt is asked for so much less: its speed doesn't depend on how much it is, and a million rows are many minutes.
PEER_PART = 10
PLACES = ("SQLite", "PostgreSQL")
_BY_HAND = f"""
import time
from pathlib import Path

import requests

from api2db import Page, collector
from api2db.sources.decode import decode

session = requests.Session()


@collector(every=3600, to=["bench"], shape={rows.SHAPE!r}, timeout=600)
def events():
    while not Path("go").exists():
        time.sleep(0.01)
    for number in range(PAGES):
        yield Page(decode(session.get(f"API/linked/{{number}}?of=PAGES").content), number)
"""
_DECLARED = f"""
import time
from pathlib import Path

from api2db import Incremental, RestSource, collector

new = Incremental("id", "since", start=0, order="ascending")
source = RestSource("API", "/linked/0", params={{"of": PAGES}}, records="", incremental=new)


@collector(every=3600, to=["bench"], shape={rows.SHAPE!r}, timeout=600)
def events(cursor):
    while not Path("go").exists():
        time.sleep(0.01)
    yield from source(cursor)
"""


def run(context: Context) -> list[Line]:
    lines = []
    for size in SIZES:
        pages = context.rows // size
        for place in PLACES:
            ours, by_hand, dlt = [], [], []
            for number in range(context.runs):
                ours.append(context.rows / ours_once(context, place, _DECLARED, size, pages))
                by_hand.append(context.rows / ours_once(context, place, _BY_HAND, size, pages))
                fewer = pages // PEER_PART
                dlt.append(fewer * size / peer_once(context, place, size, fewer))
                say(
                    f"sources {number + 1}, {place}, pages of {size:,}: RestSource {ours[-1]:,.0f} rows/s, by hand"
                    f" {by_hand[-1]:,.0f}, dlt {dlt[-1]:,.0f}; load average {os.getloadavg()[0]:.1f}"
                )
            what = f"RestSource, pages of {size:,} → {place}"
            lines.append(Line(what, ours, "rows/s", 0.7, at_least=True, peer=by_hand, peer_name="a loop by hand"))
            lines.append(Line(what, ours, "rows/s", 5.0, at_least=True, peer=dlt, peer_name="dlt's rest_api"))
    return [*lines, *_costs(context)]


def _costs(context: Context) -> list[Line]:
    """What a page of 1,000 costs beside its request."""
    declared, incremental = [], []
    with serving(SIZES[0]) as api:
        for _ in range(context.runs):
            found = module("bench.rest_pages", api.url, 200)
            declared.append(found["declared"] - found["by_hand"])
            incremental.append(found["incremental"] - found["by_hand"])
    what = f"added to a page of {SIZES[0]:,}"
    return [
        Line(f"{what} by RestSource", declared, "ms of the processor", 2.0),
        Line(f"{what} by RestSource with an Incremental", incremental, "ms of the processor", 2.0),
    ]


def ours_once(context: Context, place: str, source: str, size: int, pages: int) -> float:
    """Seconds a collector takes, in a daemon and a database of its own."""
    with _database(context, place) as (url, count), serving(size) as api:
        toml = f'[places.bench]\nurl = "{url}"\n'
        text = source.replace("API", api.url).replace("PAGES", str(pages))
        with project(context.folder, toml=toml, events=text) as made:
            process = made.start()
            made.ready(process)
            (made.folder / "go").touch()
            loaded = "SELECT coalesce(sum(rows), 0) FROM deliveries WHERE outcome = 'loaded'"
            until(lambda: made.journal(loaded) == [(pages * size,)], made, process)
            seconds = time.time() - api.first_s()
            made.stop(process)
        _check(count(), pages * size)
    return seconds


def peer_once(context: Context, place: str, size: int, pages: int) -> float:
    """Seconds that dlt takes."""
    with _database(context, place) as (url, count), serving(size) as api:
        bare = url.replace("postgresql+psycopg://", "postgresql://")
        command = [context.peer_python(), PEER, api.url, str(pages), bare]
        done = subprocess.run(command, cwd=context.folder, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode:
            raise RuntimeError(f"{PEER.name} failed:\n{done.stdout}{done.stderr}")
        _check(count(), pages * size)
        return float(done.stdout.splitlines()[-1]) - api.first_s()


def _check(counted: tuple[int, ...], count: int) -> None:
    if counted != (count, count):
        raise AssertionError(f"{counted} of {count:,} rows")


@contextmanager
def _database(context: Context, place: str) -> Iterator[tuple[str, Any]]:
    """A new database's URL, and how many rows, and how many different ones, are in it."""
    query = "SELECT count(*), count(DISTINCT id) FROM events"
    if place == "PostgreSQL":
        with context.database() as db:
            yield context.postgres.url(db), lambda: tuple(context.postgres.psql(query, db)[0])
        return
    file = context.folder / "sources.sqlite"

    def count() -> tuple[int, ...]:
        with closing(sqlite3.connect(file)) as db:
            return tuple(db.execute(query).fetchone())

    try:
        yield f"sqlite:///{file}", count
    finally:
        for path in file.parent.glob(f"{file.name}*"):
            path.unlink()
