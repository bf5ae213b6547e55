"""The databases the contract is tried on, as a test sees them: a sink's way in, and a way to look behind it."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pyarrow as pa
import pytest
from sqlalchemy import URL, make_url

from api2db.batch import Batch, new_batch_id
from api2db.errors import FatalError
from api2db.sinks.duck_connection import open_file
from api2db.sinks.sql import SqlSink
from tests.contract import plain  # noqa: F401 - registers its dialect
from tests.mariadb import MariaDB

_numbers = itertools.count(1)
PLACES = ("sqlite", "duckdb", "postgresql", "mariadb")
# A test so marked is for the loader too that knows none of them: see tests/contract/conftest.py.
every_place = pytest.mark.parametrize("place", [*PLACES, "generic"], indirect=True)


class Place(Protocol):
    """One empty database of one dialect."""

    name: str

    @property
    def url(self) -> URL:
        """Where the sinks are told to go."""

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own, committed; its rows, if it has any."""


@dataclass
class SQLitePlace:
    path: Path
    name: str = "sqlite"

    @property
    def url(self) -> URL:
        return URL.create("sqlite", database=str(self.path))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(sql).fetchall()


@dataclass
class PlainPlace(SQLitePlace):
    """SQLite as any other database of SQLAlchemy's: loaded in the way that knows none of them."""

    name: str = "generic"

    @property
    def url(self) -> URL:
        return URL.create("plain", database=str(self.path))


@dataclass
class DuckDBPlace:
    path: Path
    name: str = "duckdb"

    @property
    def url(self) -> URL:
        return URL.create("duckdb", database=str(self.path))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(open_file(self.path, read_only=False, timeout_s=60)) as connection:
            connection.held.execute("SET TimeZone = 'UTC'")
            return connection.held.execute(sql).fetchall()


@dataclass
class PostgresPlace:
    url: URL
    name: str = "postgresql"

    @classmethod
    def new_schema(cls, url: str) -> PostgresPlace:
        """A schema of its own in the database of ``url``: as empty as a new database, and made in no time."""
        schema = f"s{next(_numbers)}"
        cls(make_url(url)).query(f"CREATE SCHEMA {schema}")
        return cls(make_url(url).update_query_dict({"options": f"-csearch_path={schema}"}))

    def connect(self, autocommit: bool = False) -> psycopg.Connection[tuple[Any, ...]]:
        options: dict[str, Any] = self.url.translate_connect_args(username="user", database="dbname")
        options |= self.url.query
        return psycopg.connect(**options, autocommit=autocommit)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(self.connect(autocommit=True)) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []


@dataclass
class MariaDBPlace:
    url: URL
    name: str = "mariadb"

    def connect(self, **options: Any) -> Any:
        url = self.url
        server = MariaDB(url.host or "", url.port or 0, url.username or "", str(url.password or ""))
        return server.connect(url.database or "", **options)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())


@dataclass
class Quarantine:
    """Keeps what a sink hands over, by batch, as the real one does: the last call for a batch counts."""

    kept: dict[str, tuple[pa.Table, list[str]]] = field(default_factory=dict)
    on_call: Callable[[], None] = lambda: None

    def __call__(self, batch: Batch, rows: pa.Table, reasons: Sequence[str], at: Sequence[int] | None = None) -> None:
        self.on_call()
        assert rows.num_rows == len(reasons) > 0
        assert rows.schema == batch.table.schema
        self.kept[batch.batch_id] = rows, list(reasons)

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reasons in self.kept.values() for reason in reasons]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for table, _ in self.kept.values() for row in table.to_pylist()]


def batch(rows: Any) -> Batch:
    """A batch of an Arrow table, or of columns by name."""
    table = rows if isinstance(rows, pa.Table) else pa.table(rows)
    number = next(_numbers)
    return Batch(table, new_batch_id(), number)


def refusal(sink: SqlSink, rows: Any) -> str:
    """Why a whole load is refused."""
    with pytest.raises(FatalError) as refused:
        load(sink, batch(rows))
    return str(refused.value)


def table_name() -> str:
    """A name no other table of this test run has."""
    return f"t{next(_numbers)}"


def load(sink: SqlSink, *batches: Batch) -> Quarantine:
    """Load the batches in one go; what went to quarantine."""
    quarantine = Quarantine()
    receipts = sink.load(batches, quarantine)
    assert [receipt.batch_id for receipt in receipts] == [one.batch_id for one in batches]
    return quarantine
