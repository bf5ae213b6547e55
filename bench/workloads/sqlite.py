"""Memory to SQLite through ``SqlSink``, against ``DataFrame.to_sql``."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bench import load
from bench.context import Context, module, say
from bench.table import Line


def run(context: Context) -> list[Line]:
    ours, peer = [], []
    for number in range(context.runs):
        files = [context.folder / f"{name}{number}.sqlite" for name in ("ours", "peer")]
        ours.append(context.rows / module("bench.load", f"sqlite:///{files[0]}", context.rows)["seconds"])
        check(files[0], context.rows)
        peer.append(context.rows / module("bench.frames", files[1], context.rows)["seconds"])
        check(files[1], context.rows)
        for file in files:
            file.unlink()
        say(f"sqlite {number + 1}: ours {ours[-1]:,.0f} rows/s; to_sql {peer[-1]:,.0f}")
    return [Line("memory → SQLite", ours, "rows/s", 2.5, at_least=True, peer=peer, peer_name="DataFrame.to_sql")]


def check(file: Path, count: int) -> None:
    with closing(sqlite3.connect(file)) as db:
        counted = db.execute(f"SELECT count(*), count(DISTINCT id), count(updated) FROM {load.TABLE}").fetchone()
    if counted != (count,) * 3:
        raise AssertionError(f"{file.name}: {counted} of {count:,} rows")
