"""Memory to PostgreSQL through ``SqlSink``, against ``psql \\copy`` of the same rows as CSV."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pyarrow.csv

from bench import load, rows
from bench.context import Context, module, say
from bench.table import Line


def run(context: Context) -> list[Line]:
    csv = context.folder / "rows.csv"
    write_csv(csv, context.rows)
    ours, peer, growth = [], [], []
    for number in range(context.runs):
        with context.database() as db:
            measured = module("bench.load", context.postgres.url(db), context.rows)
            ours.append(context.rows / measured["seconds"])
            growth.append(measured["growth_mb"])
            check(context, db, load.TABLE)
            context.postgres.psql(f"CREATE TABLE copied (LIKE {load.TABLE}); CHECKPOINT", db)
            peer.append(context.rows / copy(context, db, csv))
            check(context, db, "copied")
        say(f"postgres {number + 1}: ours {ours[-1]:,.0f} rows/s, +{growth[-1]:.0f} MB; psql {peer[-1]:,.0f}")
    csv.unlink()
    return [
        Line("memory → PostgreSQL", ours, "rows/s", 0.6, at_least=True, peer=peer, peer_name="psql \\copy"),
        Line("memory → PostgreSQL, growth of memory", growth, "MB", 50),
    ]


def write_csv(path: Path, count: int) -> None:
    with pyarrow.csv.CSVWriter(path, rows.SCHEMA) as writer:
        for table in rows.tables(count, load.BATCH_ROWS):
            writer.write(table)


def copy(context: Context, db: str, csv: Path) -> float:
    """Seconds, as psql itself times it: its start and its log-in don't count."""
    server = context.postgres
    login = ["-h", server.host, "-p", str(server.port), "-U", server.user, "-d", db]
    command = rf"\copy copied FROM '{csv}' WITH (FORMAT csv, HEADER)"
    done = subprocess.run(
        ["psql", "-X", *login, "-v", "ON_ERROR_STOP=1", "-c", r"\timing on", "-c", command],
        env={**os.environ, "PGPASSWORD": server.password, "LC_ALL": "C"},
        check=True,
        capture_output=True,
        text=True,
    )
    timed = re.search(r"Time: ([\d.]+) ms", done.stdout)
    if timed is None:
        raise RuntimeError(f"psql says {done.stdout!r}")
    return float(timed[1]) / 1000


def check(context: Context, db: str, table: str) -> None:
    """What is timed has happened."""
    (counted,) = context.postgres.psql(f"SELECT count(*), count(DISTINCT id), count(updated) FROM {table}", db)
    if counted != (context.rows,) * 3:
        raise AssertionError(f"{table}: {counted} of {context.rows:,} rows")
