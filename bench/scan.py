"""Memory to DuckDB by its fastest way, a scan of an Arrow table: ``python -m bench.scan FILE ROWS``."""

from __future__ import annotations

import json
import sys
import time

import click
import duckdb
import pyarrow as pa

from bench import load, rows


def main(file: str, count: int) -> None:
    arrow_table = pa.concat_tables(rows.tables(count, load.BATCH_ROWS))
    with duckdb.connect(file) as connection:
        connection.execute(f"CREATE TABLE {load.TABLE} AS SELECT * FROM arrow_table LIMIT 0")
        start = time.perf_counter()
        connection.execute(f"INSERT INTO {load.TABLE} SELECT * FROM arrow_table")
        seconds = time.perf_counter() - start
    assert arrow_table.num_rows == count
    click.echo(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
