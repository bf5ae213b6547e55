"""Rows with children against both tables loaded by themselves: seconds for 100,000 orders of 3 lines, by place.

Run as ``python -m bench.children [--orders N]``. PostgreSQL and MariaDB are the tests' own. What is loaded alone has
the columns that the tables have with children, and the same keys.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click
import pyarrow as pa
from sqlalchemy import make_url

from api2db.children import Children
from api2db.form import InferredForm
from api2db.sinks.family import families
from api2db.sinks.fitting import Goal
from api2db.sinks.sql import SqlSink
from tests.contract.places import (
    DuckDBPlace,
    MariaDBPlace,
    Place,
    PostgresPlace,
    Quarantine,
    SQLitePlace,
    batch,
    load,
    table_name,
)  # fmt: skip
from tests.mariadb import start_mariadb
from tests.servers import start_postgres

_LINES = 3


def orders(count: int) -> pa.Table:
    records = [
        {
            "id": number,
            "customer": f"customer {number % 997}",
            "total": number / 7,
            "lines": [{"sku": f"s{number % 89}-{at}", "qty": at + 1, "price": number / 3} for at in range(_LINES)],
        }
        for number in range(count)
    ]
    return InferredForm({}, {"lines": Children("lines")}).shape(records).table


def loaded(place: Place, parts: Sequence[tuple[str, Sequence[str], pa.Table]]) -> float:
    """How long it takes to load these, one after the other; each a table's name, its key and rows."""
    took = 0.0
    for table, key, rows in parts:
        with closing(SqlSink(stream=f"bench/{table}", url=place.url, table=table, key=key)) as sink:
            sink.connect()
            one = batch(rows)
            started = time.monotonic()
            quarantine: Quarantine = load(sink, one)
            took += time.monotonic() - started
            assert not quarantine.kept
    return took


@click.command()
@click.option("--orders", "count", default=100_000, show_default=True)
def main(count: int) -> None:
    """A line for each place and way: alone, with children, and how many times as long that takes."""
    postgres, mariadb = start_postgres(), start_mariadb()
    table = orders(count)
    try:
        with tempfile.TemporaryDirectory() as folder:
            places: list[Place] = [
                SQLitePlace(Path(folder) / "database.sqlite"),
                DuckDBPlace(Path(folder) / "database.duckdb"),
                PostgresPlace(make_url(postgres.url(postgres.create_database()))),
                MariaDBPlace(make_url(mariadb.url(mariadb.create_database()))),
            ]
            for place in places:
                for way, key in (("append", ()), ("merge", ("id",))):
                    alone, both = table_name(), table_name()
                    (own,) = families([batch(table)], Goal(alone, key, None, count))
                    (kin,) = own.kin
                    parts = [(alone, key, own.table), (f"{alone}_lines", kin.unique, kin.rows)]
                    for what in ("first", "again"):
                        by_themselves = loaded(place, parts)
                        together = loaded(place, [(both, key, table)])
                        click.echo(
                            f"{place.name:10} {way:6} {what:5} alone {by_themselves:6.2f} s"
                            f"  with children {together:6.2f} s  {together / by_themselves:4.2f}"
                        )
    finally:
        postgres.close()
        mariadb.close()


if __name__ == "__main__":
    main()
