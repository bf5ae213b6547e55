"""Memory to parquet shards through ``Stream2Local``'s sink, against a bare ``pyarrow.parquet.write_table``.

Both write the same tables of 10,000 rows with pyarrow's default settings and flush each file. Ours also looks for
duplicates, and publishes each file once whatever is killed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.dataset as ds

from bench.context import Context, module, say
from bench.table import Line


def run(context: Context) -> list[Line]:
    speeds: dict[str, list[float]] = {"bare": [], "ours": []}
    for number in range(context.runs):
        for which, measured in speeds.items():
            folder = context.folder / which
            folder.mkdir()
            measured.append(context.rows / module("bench.shards", which, folder, context.rows)["seconds"])
            finish(folder, context.rows)
        say(f"local {number + 1}: ours {speeds['ours'][-1]:,.0f} rows/s, write_table {speeds['bare'][-1]:,.0f}")
    return [
        Line(
            "memory → parquet shards", speeds["ours"], "rows/s", 0.7, at_least=True,
            peer=speeds["bare"], peer_name="pyarrow write_table, flushed",
        )
    ]  # fmt: skip


def finish(folder: Path, count: int) -> None:
    """What is timed has happened; the next starts afresh."""
    counted = ds.dataset(str(folder / "out"), format="parquet").count_rows()
    if counted != count:
        raise AssertionError(f"{folder.name}: {counted:,} of {count:,} rows")
    shutil.rmtree(folder)
