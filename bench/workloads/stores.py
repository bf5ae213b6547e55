"""A store over 10,000 shards of 100 rows, against one scan of them that is loaded by the same sink."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from api2db.formats import FORMATS
from bench import load, rows
from bench.context import Context, module, say
from bench.table import Line
from bench.workloads import postgres, sqlite

ROWS_EACH = 100


def run(context: Context) -> list[Line]:
    lines = []
    for name, once in (("SQLite", _sqlite), ("PostgreSQL", _postgres)):
        ours, peer, growth = [], [], []
        for number in range(context.runs):
            measured = once(context, "ours")
            ours.append(context.rows / measured["seconds"])
            growth.append(measured["growth_mb"])
            peer.append(context.rows / once(context, "scan")["seconds"])
            say(f"stores {number + 1}: {name} {ours[-1]:,.0f} rows/s, +{growth[-1]:.0f} MB; scan {peer[-1]:,.0f}")
        lines += [
            Line(f"{context.rows // ROWS_EACH:,} shards → {name}", ours, "rows/s", 0.6, True, peer, "scan and load"),
            Line(f"{context.rows // ROWS_EACH:,} shards → {name}, growth of memory", growth, "MB", 150),
        ]
    return lines


def _sqlite(context: Context, how: str) -> dict[str, float]:
    file = context.folder / "stored.sqlite"
    measured = _measured(context, how, f"sqlite:///{file}")
    sqlite.finish(file, context.rows)
    return measured


def _postgres(context: Context, how: str) -> dict[str, float]:
    with context.database() as db:
        measured = _measured(context, how, context.postgres.url(db))
        postgres.check(context, db, load.TABLE)
    return measured


def _measured(context: Context, how: str, url: str) -> dict[str, float]:
    folder = context.folder / "storing" / "shards"
    _write(folder, context.rows)
    measured: dict[str, float] = module("bench.storing", how, folder, url)
    if how == "ours" and list(folder.iterdir()):
        raise AssertionError("files were left")
    shutil.rmtree(folder.parent)
    return measured


def _write(folder: Path, count: int) -> None:
    """Written long ago, as a file's time has it: none is left for the next run."""
    folder.mkdir(parents=True)
    for number, table in enumerate(rows.tables(count, ROWS_EACH)):
        path = folder / f"{number}.parquet"
        path.write_bytes(FORMATS["parquet"].encode_table(table))
        os.utime(path, (1, 1))
