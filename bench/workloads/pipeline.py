"""HTTP pages of 10,000 rows to PostgreSQL by the daemon, against dlt at its best and the first api2db's way.

Everyone is timed from the first request the API sees to the COMMIT of the last row, by the server's own clock.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from bench import measure, rows
from bench.context import TIMEOUT_S, Context, say
from bench.daemon import project, until
from bench.server import Server, serving
from bench.table import Line

TABLE = "events"
PEERS = Path(__file__).parents[1] / "peers"
MANY = 5
_COLLECTOR = f"""
import time
from pathlib import Path

import requests

from api2db import Page, collector
from api2db.sources.decode import decode

session = requests.Session()


@collector(every=3600, to=["bench"], shape={rows.SHAPE!r}, timeout=600)
def {TABLE}():
    while not Path("go").exists():
        time.sleep(0.01)
    for number in range(PAGES):
        yield Page(decode(session.get(f"API/{{number}}").content), number)
"""
_COMMITTED = f"""
SELECT extract(epoch FROM max(pg_xact_commit_timestamp(x::xid))) FROM (SELECT DISTINCT xmin::text AS x FROM {TABLE}) t
"""


@dataclass(frozen=True)
class Ran:
    """seconds    from the first request to the last COMMIT
    growth_mb  most resident memory over what there was when the daemon said that it runs
    measured   what ``bench.launch`` wrote, if it was asked to
    """

    seconds: float
    growth_mb: float
    measured: dict[str, Any]


def run(context: Context) -> list[Line]:
    ours, dlt, original, growth, growth_many = [], [], [], [], []
    count = context.rows
    for number in range(context.runs):
        ran = ours_once(context, count)
        ours.append(count / ran.seconds)
        growth.append(ran.growth_mb)
        dlt.append(count / peer_once(context, "with_dlt.py", "postgresql", count))
        original.append(count / peer_once(context, "original.py", "postgresql+psycopg2", count))
        growth_many.append(ours_once(context, count * MANY).growth_mb)
        say(f"pipeline {number + 1}: ours {ours[-1]:,.0f} rows/s, dlt {dlt[-1]:,.0f}, original {original[-1]:,.0f}")
        say(f"  growth of memory: {growth[-1]:.0f} MB, at {MANY} times the rows {growth_many[-1]:.0f} MB")
    what = "HTTP → form → spool → PostgreSQL"
    return [
        Line(what, ours, "rows/s", 1.0, at_least=True, peer=dlt, peer_name="dlt, its best"),
        Line(what, ours, "rows/s", 6.0, at_least=True, peer=original, peer_name="first api2db"),
        Line(f"growth of memory at {count:,} rows", growth, "MB", 120),
        Line(f"growth of memory at {count * MANY:,} rows", growth_many, "MB", 120),
    ]


def ours_once(context: Context, count: int, *, measured: bool = False) -> Ran:
    """The daemon, from its start to its end, in a database and a project of its own."""
    pages = -(-count // rows.PAGE_ROWS)
    source = _COLLECTOR.replace("PAGES", str(pages))
    with context.database() as db, serving(rows.PAGE_ROWS) as api:
        toml = f'[places.bench]\nurl = "{context.postgres.url(db)}"\n'
        with project(context.folder, toml=toml, measured=measured, **{TABLE: source.replace("API", api.url)}) as made:
            process = made.start()
            made.ready(process)
            before_mb = measure.rss_mb(process.pid)
            measure.reset_peak(process.pid)
            (made.folder / "go").touch()
            until(lambda: loaded(context, db) >= count, made, process)
            growth_mb = measure.peak_mb(process.pid) - before_mb
            made.stop(process)
            said = json.loads((made.folder / "measured.json").read_text()) if measured else {}
        return Ran(seconds(context, db, api, pages), growth_mb, said)


def loaded(context: Context, db: str) -> int:
    """Rows the ledger has."""
    if context.postgres.psql("SELECT to_regclass('_api2db_ledger')", db) == [(None,)]:
        return 0
    return int(context.postgres.psql("SELECT coalesce(sum(rows), 0) FROM _api2db_ledger", db)[0][0])


def peer_once(context: Context, program: str, driver: str, count: int) -> float:
    """Seconds that one of the peers takes."""
    pages = -(-count // rows.PAGE_ROWS)
    with context.database() as db, serving(rows.PAGE_ROWS) as api:
        url = make_url(context.postgres.url(db)).set(drivername=driver).render_as_string(hide_password=False)
        command = [context.peer_python(), PEERS / program, api.url, str(pages), url]
        done = subprocess.run(command, cwd=context.folder, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")
        return seconds(context, db, api, pages)


def seconds(context: Context, db: str, api: Server, pages: int) -> float:
    """From the first request to the last COMMIT, once it is certain that each row is there."""
    count = pages * rows.PAGE_ROWS
    (counted,) = context.postgres.psql(f"SELECT count(*), count(DISTINCT id), count(updated) FROM {TABLE}", db)
    if counted != (count,) * 3:
        raise AssertionError(f"{TABLE}: {counted} of {count:,} rows")
    return float(context.postgres.psql(_COMMITTED, db)[0][0]) - api.first_s()
