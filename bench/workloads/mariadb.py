"""Memory to MariaDB through ``SqlSink``, against LOAD DATA LOCAL by the ``mariadb`` program, and ``to_sql``."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from bench import load, rows
from bench.context import Context, module, say
from bench.table import Line

# The second load is small: there what a load costs by itself shows.
SMALL = 100_000


def run(context: Context) -> list[Line]:
    lines = []
    for count in sorted({min(SMALL, context.rows), context.rows}):
        lines += measure(context, count)
    return lines


def measure(context: Context, count: int) -> list[Line]:
    csv = context.folder / "rows.csv"
    write_csv(csv, count)
    ours, client, frames, growth = [], [], [], []
    for number in range(context.runs):
        with context.mariadb_database() as db:
            measured = module("bench.load", context.mariadb.url(db), count)
            ours.append(count / measured["seconds"])
            growth.append(measured["growth_mb"])
            check(context, db, load.TABLE, count)
            context.mariadb.query(f"CREATE TABLE copied LIKE {load.TABLE}", db)
            client.append(count / copy(context, db, csv))
            check(context, db, "copied", count)
        with context.mariadb_database() as db:
            frames.append(count / module("bench.frames", "sqlalchemy", context.mariadb.url(db), count)["seconds"])
            check(context, db, load.TABLE, count)
        say(
            f"mariadb {count:,} rows, {number + 1}: ours {ours[-1]:,.0f} rows/s, +{growth[-1]:.0f} MB;"
            f" mariadb {client[-1]:,.0f}, to_sql {frames[-1]:,.0f}"
        )
    csv.unlink()
    what = f"memory → MariaDB, {count:,} rows"
    return [
        Line(what, ours, "rows/s", 0.7, at_least=True, peer=client, peer_name="mariadb LOAD DATA"),
        Line(what, ours, "rows/s", 2.5, at_least=True, peer=frames, peer_name="to_sql over sqlalchemy"),
        Line(f"{what}, growth of memory", growth, "MB", 50),
    ]


def write_csv(path: Path, count: int) -> None:
    """The rows as MariaDB reads them: 0 and 1, and times in UTC that don't say so."""
    kinds = {"felt": pa.int8(), "updated": pa.timestamp("us")}
    schema = pa.schema([pa.field(field.name, kinds.get(field.name, field.type)) for field in rows.SCHEMA])
    options = pyarrow.csv.WriteOptions(include_header=False)
    with pyarrow.csv.CSVWriter(path, schema, write_options=options) as writer:
        for table in rows.tables(count, load.BATCH_ROWS):
            writer.write(table.cast(schema))


def copy(context: Context, db: str, csv: Path) -> float:
    """Seconds, as the program itself times it: its start and its log-in don't count."""
    server = context.mariadb
    login = ["-h", server.host, "-P", str(server.port), "-u", server.user]
    statement = (
        f"LOAD DATA LOCAL INFILE '{csv}' INTO TABLE copied CHARACTER SET utf8mb4"
        " FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY ''"
    )
    done = subprocess.run(
        ["mariadb", "--no-defaults", *login, "--local-infile=1", "-vvv", "-e", statement, db],
        env={**os.environ, "MYSQL_PWD": server.password, "LC_ALL": "C"},
        check=True,
        capture_output=True,
        text=True,
    )
    timed = re.search(r"Query OK, .* \((?:(\d+) min )?([\d.]+) sec\)", done.stdout)
    if timed is None:
        raise RuntimeError(f"mariadb says {done.stdout!r}")
    return 60 * int(timed[1] or 0) + float(timed[2])


def check(context: Context, db: str, table: str, count: int) -> None:
    """What is timed has happened."""
    (counted,) = context.mariadb.query(f"SELECT count(*), count(DISTINCT id), count(updated) FROM {table}", db)
    if counted != (count,) * 3:
        raise AssertionError(f"{table}: {counted} of {count:,} rows")
