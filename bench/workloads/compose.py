"""What composing 10,000 small shards takes beside the frame they make: memory doesn't grow with their number."""

from __future__ import annotations

import shutil

from api2db.formats import FORMATS
from bench import rows
from bench.context import Context, module, say
from bench.table import Line

SHARDS = 10_000
ROWS_EACH = 50


def run(context: Context) -> list[Line]:
    (table,) = rows.tables(ROWS_EACH, ROWS_EACH)
    shard = FORMATS["parquet"].encode_table(table)
    ratios, speeds = [], []
    for number in range(context.runs):
        folder = context.folder / "shards"
        folder.mkdir()
        for shard_number in range(1, SHARDS + 1):
            (folder / f"{shard_number}.parquet").write_bytes(shard)
        done = module("bench.composing", folder)
        if done["rows"] != SHARDS * ROWS_EACH or list(folder.iterdir()):
            raise AssertionError(f"composed {done['rows']} rows, or left files")
        shutil.rmtree(folder)
        ratios.append(done["peak_mb"] / done["frame_mb"])
        speeds.append(SHARDS / done["seconds"])
        say(f"compose {number + 1}: peak {done['peak_mb']:.0f} MB, frame {done['frame_mb']:.0f} MB")
    return [
        Line(f"{SHARDS:,} shards → one frame, peak memory of the frame's", ratios, "×", 2.5),
        Line(f"{SHARDS:,} shards → one frame", speeds, "shards/s"),
    ]
