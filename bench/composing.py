"""A folder of small shards as one frame, in a process of its own: ``python -m bench.composing FOLDER``."""

from __future__ import annotations

import json
import sys
import time

import click

from api2db.stream.file_converter import FileConverter
from bench import measure


def main(folder: str) -> None:
    FileConverter.static_load_df(f"{folder}/1.parquet", "parquet")  # what is imported and allocated once
    measure.give_back()
    before_mb = measure.rss_mb()
    measure.reset_peak()
    start = time.perf_counter()
    frame = FileConverter.static_compose_df_from_dir(folder, "parquet")
    seconds = time.perf_counter() - start
    peak_mb = measure.peak_mb() - before_mb
    assert frame is not None
    frame_mb = float(frame.memory_usage(deep=True).sum()) / 2**20
    click.echo(json.dumps({"seconds": seconds, "peak_mb": peak_mb, "frame_mb": frame_mb, "rows": len(frame)}))


if __name__ == "__main__":
    main(sys.argv[1])
