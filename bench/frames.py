"""Memory to a database through ``DataFrame.to_sql``: ``python -m bench.frames sqlite3|sqlalchemy WHERE ROWS``.

WHERE is a file of SQLite or, over sqlalchemy, a URL.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from typing import Any

import click
from sqlalchemy import create_engine

from bench import load, rows


def main(over: str, where: str, count: int) -> None:
    frames = [table.to_pandas() for table in rows.tables(count, load.BATCH_ROWS)]
    connection: Any = (
        sqlite3.connect(where)
        if over == "sqlite3"
        else create_engine(where if "://" in where else f"sqlite:///{where}")
    )
    start = time.perf_counter()
    for frame in frames:
        frame.to_sql(load.TABLE, connection, if_exists="append", index=False)
    click.echo(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
