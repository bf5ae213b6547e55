"""``python -m bench.duck_kills``: SIGKILL a process that loads DuckDB, at random, then count every row.

Batches are loaded one after the other, appended to one table and merged into another; whoever is killed is started
again from the first batch, as a daemon that has heard of no receipt. In the end each row has to be there once.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import click
import duckdb
import pyarrow as pa
from sqlalchemy import URL

from api2db.batch import Batch
from api2db.sinks.sql import SqlSink
from bench.load import refuse

ROWS = 5_000


def work(file: str, first: int, batches: int) -> None:
    """Load the batches, and print the number of each that has its receipt."""
    url = URL.create("duckdb", database=file)
    sinks = [SqlSink(stream="a/sql", url=url, table="a"), SqlSink(stream="m/sql", url=url, table="m", key="id")]
    for number in range(first, batches):
        ids = pa.array(range(number * ROWS // 2, number * ROWS // 2 + ROWS))  # a merge meets half of what is there
        rows = pa.table({"id": ids, "n": pa.repeat(pa.scalar(number), ROWS), "text": ids.cast(pa.string())})
        for at, sink in enumerate(sinks):
            sink.load([Batch(rows, f"{at}{number:031x}", number + 1)], refuse)
        click.echo(number)


@click.command()
@click.option("--kills", default=60, show_default=True)
@click.option("--batches", default=20, show_default=True, help="Loaded in each round; a round is a new file.")
@click.option("--seed", default=1, show_default=True)
def main(kills: int, batches: int, seed: int) -> None:
    """Kill, restart, count."""
    chance, done, rounds, rows = random.Random(seed), 0, 0, 0
    while done < kills:
        with tempfile.TemporaryDirectory(prefix="api2db-duck-") as folder:
            file, reached = Path(folder, "x.duckdb"), 0
            while reached < batches:
                # The last one with a receipt is loaded again: its answer may have been lost.
                command = [sys.executable, "-m", "bench.duck_kills", "work", str(file), str(max(0, reached - 1))]
                with subprocess.Popen([*command, str(batches)], stdout=subprocess.PIPE, text=True) as child:
                    assert child.stdout is not None
                    if done < kills and child.stdout.readline():
                        time.sleep(chance.uniform(0, 1.5))
                        child.send_signal(signal.SIGKILL)
                    told = child.stdout.read().split()
                done += child.returncode == -signal.SIGKILL
                reached = max([reached, *(int(number) + 1 for number in told)])
            with closing(duckdb.connect(str(file))) as db:
                counted = db.execute("SELECT count(*), count(DISTINCT (id, n)) FROM a").fetchone()
                merged = db.execute("SELECT count(*), count(DISTINCT id), sum(n) FROM m").fetchone()
                entered = db.execute("SELECT count(*) FROM \"_api2db_ledger\" WHERE batch_id NOT LIKE 'h%'").fetchone()
        half = ROWS // 2
        newest = sum(number * half for number in range(batches)) + (batches - 1) * half
        assert counted == (batches * ROWS, batches * ROWS), counted
        assert merged == ((batches + 1) * half, (batches + 1) * half, newest), merged
        assert entered == (2 * batches,), entered
        rounds, rows = rounds + 1, rows + batches * ROWS
        click.echo(json.dumps({"rounds": rounds, "kills": done, "rows": rows, "lost": 0, "doubled": 0}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
