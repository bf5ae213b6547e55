"""Memory to DuckDB through ``SqlSink``, against one ``INSERT INTO t SELECT * FROM arrow_table``.

Twice: all rows as one load, and in the groups in which a delivery loads a backlog, for each of which the file is
opened, committed and closed.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import duckdb

from bench import load
from bench.context import Context, module, say
from bench.table import Line


def run(context: Context) -> list[Line]:
    whole: list[float] = []
    groups: list[float] = []
    raw: list[float] = []
    file = context.folder / "rows.duckdb"
    for number in range(context.runs):
        raw.append(context.rows / module("bench.scan", file, context.rows)["seconds"])
        finish(file, context.rows)
        whole.append(context.rows / module("bench.load", f"duckdb:///{file}", context.rows, "whole")["seconds"])
        finish(file, context.rows)
        groups.append(context.rows / module("bench.load", f"duckdb:///{file}", context.rows)["seconds"])
        finish(file, context.rows)
        say(f"duckdb {number + 1}: {whole[-1]:,.0f} rows/s at once, {groups[-1]:,.0f} in groups; raw {raw[-1]:,.0f}")
    name = "INSERT … SELECT * FROM arrow_table"
    return [
        Line("memory → DuckDB, one load", whole, "rows/s", 0.8, at_least=True, peer=raw, peer_name=name),
        Line("memory → DuckDB, groups of a delivery", groups, "rows/s", at_least=True, peer=raw, peer_name=name),
    ]


def finish(file: Path, count: int) -> None:
    """What is timed has happened; the next starts afresh."""
    with closing(duckdb.connect(str(file))) as db:
        counted = db.execute(f"SELECT count(*), count(DISTINCT id), count(updated) FROM {load.TABLE}").fetchone()
    if counted != (count,) * 3:
        raise AssertionError(f"{file.name}: {counted} of {count:,} rows")
    for path in file.parent.glob(f"{file.name}*"):
        path.unlink()
