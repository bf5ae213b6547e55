"""Memory to SQLite through ``SqlSink``, against ``DataFrame.to_sql``.

Twice: over Python's own connection, where it is fastest (a larger ``chunksize`` gains nothing, a smaller one
loses), and over an SQLAlchemy engine, as its documentation has it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bench import load
from bench.context import Context, module, say
from bench.table import Line

PEERS = ("sqlite3", "sqlalchemy")


def run(context: Context) -> list[Line]:
    ours: list[float] = []
    peers: dict[str, list[float]] = {name: [] for name in PEERS}
    for number in range(context.runs):
        file = context.folder / "rows.sqlite"
        ours.append(context.rows / module("bench.load", f"sqlite:///{file}", context.rows)["seconds"])
        finish(file, context.rows)
        for name, speeds in peers.items():
            speeds.append(context.rows / module("bench.frames", name, file, context.rows)["seconds"])
            finish(file, context.rows)
        say(f"sqlite {number + 1}: ours {ours[-1]:,.0f} rows/s; to_sql {[round(peers[name][-1]) for name in PEERS]}")
    return [
        Line("memory → SQLite", ours, "rows/s", 2.5, at_least=True, peer=speeds, peer_name=f"to_sql over {name}")
        for name, speeds in peers.items()
    ]


def finish(file: Path, count: int) -> None:
    """What is timed has happened; the next starts afresh."""
    with closing(sqlite3.connect(file)) as db:
        counted = db.execute(f"SELECT count(*), count(DISTINCT id), count(updated) FROM {load.TABLE}").fetchone()
    if counted != (count,) * 3:
        raise AssertionError(f"{file.name}: {counted} of {count:,} rows")
    for path in file.parent.glob(f"{file.name}*"):
        path.unlink()
