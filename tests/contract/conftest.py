"""``place``: an empty database of each dialect in turn; ``make_sink``: sinks into it; ``door``: files in turn too.

Which sinks a test is for, cheapest first:

place        SQLite, DuckDB, PostgreSQL and MariaDB
every_place  a mark: the loader for any other database of SQLAlchemy's too, here over SQLite. Without it are types, that
             are others there (tests/contract/test_generic.py has them, on three databases), what that loader doesn't do
             (widen a column), and what is slow and the same code for all
door         the four databases, and the three ways of writing files
any_door     those, the generic loader, BigQuery's emulator, where a load takes half a second, and HeavyDB's peer. What
             these two do of the rest is in tests/sinks/test_bigquery*.py and tests/omnisci: ``SqlSink`` doesn't load
             them, and one SQL to look into both and the others there isn't
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import make_url

from api2db.sinks.sql import SqlSink
from tests.contract.doors import DOORS, MODES, BigQueryDoor, DatabaseDoor, Door, FileDoor, OmnisciDoor
from tests.contract.places import (
    PLACES,
    DuckDBPlace,
    MariaDBPlace,
    Place,
    PlainPlace,
    PostgresPlace,
    SQLitePlace,
    table_name,
)
from tests.servers import Postgres


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return new_place(request, request.param, tmp_path)


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    """A stream into an empty place of each kind in turn, files too."""
    if request.param in MODES:
        yield FileDoor(tmp_path, request.param)
        return
    opened = DatabaseDoor(new_place(request, request.param, tmp_path))
    yield opened
    opened.reopen()


@pytest.fixture(params=[*DOORS, "generic", "bigquery", "omnisci"])
def any_door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    """The same, and the sinks that ``place`` leaves out."""
    if request.param in MODES:
        yield FileDoor(tmp_path, request.param)
    elif request.param == "bigquery":
        yield BigQueryDoor(request.getfixturevalue("bigquery"), tmp_path)
    elif request.param == "omnisci":
        opened_there = OmnisciDoor(request.getfixturevalue("peer"))
        yield opened_there
        opened_there.reopen()
    else:
        opened = DatabaseDoor(new_place(request, request.param, tmp_path))
        yield opened
        opened.reopen()


def new_place(request: pytest.FixtureRequest, dialect: str, folder: Path) -> Place:
    if dialect == "sqlite":
        return SQLitePlace(folder / "db.sqlite")
    if dialect == "generic":
        return PlainPlace(folder / "db.sqlite")
    if dialect == "duckdb":
        return DuckDBPlace(folder / "db.duckdb")
    if dialect == "mariadb":
        server = request.getfixturevalue("mariadb")
        return MariaDBPlace(make_url(server.url(request.getfixturevalue("mariadb_database"))))
    server, database = request.getfixturevalue("postgres"), request.getfixturevalue("contract_database")
    return PostgresPlace.new_schema(server.url(database))


@pytest.fixture(scope="package")
def contract_database(postgres_server: Postgres) -> Iterator[str]:
    """One database for all these tests: making one costs more than most of them."""
    postgres_server.start()
    name = postgres_server.create_database()
    yield name
    postgres_server.start()
    postgres_server.drop_database(name)


class MakeSink(Protocol):
    """Makes sinks into ``place``; without a table, into one of their own."""

    def __call__(self, **options: Any) -> SqlSink: ...


@pytest.fixture
def make_sink(place: Place) -> Iterator[MakeSink]:
    made: list[SqlSink] = []

    def make(**options: Any) -> SqlSink:
        options = {"stream": "weather/sql", "url": place.url, "table": table_name(), **options}
        made.append(SqlSink(**options))
        return made[-1]

    yield make
    for sink in made:
        sink.close()
