"""Memory to SQLite through ``DataFrame.to_sql``: ``python -m bench.frames FILE ROWS``."""

from __future__ import annotations

import json
import sys
import time

import click
from sqlalchemy import create_engine

from bench import load, rows


def main(file: str, count: int) -> None:
    frames = [table.to_pandas() for table in rows.tables(count, load.BATCH_ROWS)]
    engine = create_engine(f"sqlite:///{file}")
    start = time.perf_counter()
    for frame in frames:
        frame.to_sql(load.TABLE, engine, if_exists="append", index=False)
    click.echo(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
