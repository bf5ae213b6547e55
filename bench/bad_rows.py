"""What rows cost that only the database can refuse: seconds for one batch, by place, way of loading and their share.

Run as ``python -m bench.bad_rows [--rows N]``. PostgreSQL and MariaDB are the tests' own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click
from sqlalchemy import make_url

from api2db.sinks.sql import SqlSink
from tests.contract.places import MariaDBPlace, Place, PostgresPlace, Quarantine, SQLitePlace, batch, load, table_name
from tests.mariadb import start_mariadb
from tests.servers import start_postgres

_SHARES = {
    "one bad": lambda n, rows: n == rows // 2,
    "all bad": lambda n, rows: True,
    "every other": lambda n, _: n % 2,
}


def seconds(place: Place, key: Sequence[str], values: Sequence[int]) -> float:
    """How long a batch takes of which the database refuses what is below 0. Raises AssertionError unless all arrive."""
    table = table_name()
    place.query(f"CREATE TABLE {table} (id bigint PRIMARY KEY, value bigint, CHECK (value >= 0))")
    with closing(SqlSink(stream=f"bench/{table}", url=place.url, table=table, key=key)) as sink:
        quarantine = Quarantine()
        load(sink, batch({"id": [-1], "value": [0]}))
        started = time.monotonic()
        sink.load([batch({"id": range(len(values)), "value": values})], quarantine)
        took = time.monotonic() - started
    good = sum(value >= 0 for value in values)
    assert place.query(f"SELECT count(*) FROM {table}") == [(good + 1,)]
    assert len(quarantine.reasons) == len(values) - good
    return took


@click.command()
@click.option("--rows", default=10_000, show_default=True, help="In one batch.")
def main(rows: int) -> None:
    """A line for each."""
    postgres, mariadb = start_postgres(), start_mariadb()
    try:
        with tempfile.TemporaryDirectory() as folder:
            places: list[Place] = [
                SQLitePlace(Path(folder) / "database.sqlite"),
                PostgresPlace(make_url(postgres.url(postgres.create_database()))),
                MariaDBPlace(make_url(mariadb.url(mariadb.create_database()))),
            ]
            for place in places:
                for way, key in (("append", ()), ("merge", ("id",))):
                    for share, bad in _SHARES.items():
                        values = [-1 if bad(n, rows) else n for n in range(rows)]
                        click.echo(f"{place.name:10} {way:6} {share:11} {seconds(place, key, values):6.2f} s")
    finally:
        postgres.close()
        mariadb.close()


if __name__ == "__main__":
    main()
