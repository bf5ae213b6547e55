"""DuckDB: a scan of the Arrow columns, one transaction; the file is held only while a load is under way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine
from sqlalchemy.dialects import registry
from sqlalchemy.exc import DBAPIError

from api2db.errors import ConfigError, FatalError, RetryableError
from api2db.files import make_dir
from api2db.schema import Field
from api2db.sinks import duck_errors, duck_refusals, duck_types
from api2db.sinks.conform import Slot
from api2db.sinks.dialect import ORDINAL, Cause, Column, FindRefusals, MergeRule, cursor, still_there
from api2db.sinks.kin_sql import STAGE, KinSql, losers
from api2db.sinks.names import NameRules

# As many as DuckDB keeps together: a row group.
_ROW_GROUP = 122_880
_SOURCE = "_api2db_source"
_READ_ONLY = "read_only"
_MARK = "api2db: becomes DOUBLE when a fraction arrives"
_COLUMNS = """
SELECT c.column_name, c.data_type, NOT c.is_nullable, c.column_default, t.sql IS NULL
FROM duckdb_columns() AS c
LEFT JOIN duckdb_tables() AS t ON t.table_oid = c.table_oid AND t.database_name = c.database_name
WHERE c.database_name = current_database() AND c.schema_name = current_schema() AND lower(c.table_name) = lower(?)
ORDER BY c.column_index"""
_GENERATED = """
SELECT column_name FROM information_schema.columns
WHERE table_catalog = current_database() AND table_schema = current_schema() AND lower(table_name) = lower(?)
  AND is_generated = 'ALWAYS'"""
_MADE = """
SELECT 1 FROM duckdb_columns() AS c
WHERE c.database_name = current_database() AND c.schema_name = current_schema()
  AND lower(c.table_name) = lower(?) AND c.column_name = ? AND c.comment = ?
  AND NOT EXISTS (SELECT 1 FROM duckdb_indexes() AS i WHERE i.table_oid = c.table_oid)"""
_CONSTRAINED = """
SELECT constraint_column_names FROM duckdb_constraints()
WHERE database_name = current_database() AND schema_name = current_schema() AND lower(table_name) = lower(?)
  AND constraint_type IN ('PRIMARY KEY', 'UNIQUE')"""
_INDEXED = """
SELECT expressions FROM duckdb_indexes()
WHERE database_name = current_database() AND schema_name = current_schema() AND lower(table_name) = lower(?)
  AND is_unique"""


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class DuckDB:
    """One file, one process at a time."""

    name = "duckdb"
    names = NameRules(ignores_case=True)
    max_threads: int | None = 1
    chunk_rows = _ROW_GROUP
    ddl_commits = False
    adds = "ADD COLUMN"
    seeks = False

    @property
    def refusals(self) -> FindRefusals:
        return duck_refusals.find

    @cached_property
    def errors(self) -> tuple[type[Exception], ...]:
        return (DBAPIError, _driver().Error)

    def engine(self, url: URL, pool_size: int) -> Engine:
        _driver()
        if url.database in (None, "", ":memory:"):
            raise ConfigError(
                "a database in memory forgets what it was given: name a file, duckdb:///folder/file.duckdb"
            )
        from api2db.sinks.duck_connection import BUSY_TIMEOUT_S, file_of, open_file

        timeout_s = _timeout_s(url, BUSY_TIMEOUT_S)
        read_only = url.query.get("access_mode") == _READ_ONLY
        registry.register("duckdb.api2db", "api2db.sinks.duck_connection", "DuckDBDialect")
        return create_engine(
            "duckdb+api2db://",
            creator=lambda: open_file(file_of(url), read_only=read_only, timeout_s=timeout_s),
            # An open connection would lock the file for everybody else.
            poolclass=NullPool,
        )

    def quote(self, name: str) -> str:
        return quote(name)

    def target(self, url: URL) -> str:
        return f"duckdb:///{url.database}"

    def cause(self, error: BaseException) -> Cause:
        return duck_errors.cause(error.orig or error if isinstance(error, DBAPIError) else error)

    def reading(self, url: URL) -> URL:
        return url.update_query_dict({"access_mode": _READ_ONLY})

    def is_there(self, url: URL) -> bool:
        from api2db.sinks.duck_connection import file_of

        return file_of(url).exists()

    def is_missing_database(self, error: BaseException, url: URL) -> bool:
        from api2db.sinks.duck_connection import file_of

        return not file_of(url).parent.is_dir()

    def create_database(self, url: URL) -> None:
        from api2db.sinks.duck_connection import file_of

        folder = file_of(url).parent
        try:
            make_dir(folder)
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise FatalError(
                f"the folder {folder} can't be made: {error.strerror}; make it, or choose another"
            ) from error
        except OSError as error:
            raise RetryableError(f"the folder {folder} can't be made: {error.strerror}") from error

    def declare(self, field: Field, key_columns: int = 0) -> str:
        return duck_types.declare(field)

    def define(self, connection: Connection | None, table: str, name: str, field: Field, key_columns: int = 0) -> str:
        return f"{quote(name)} {self.declare(field)}"

    def mark(self, table: str, columns: Sequence[str]) -> Sequence[str]:
        return [f"COMMENT ON COLUMN {quote(table)}.{quote(column)} IS '{_MARK}'" for column in columns]

    def made(self, connection: Connection, table: str, column: str) -> bool:
        return bool(_rows(connection, _MADE, table, column, _MARK))

    def table_options(self, connection: Connection | None) -> str:
        return ""

    def slot(self, column: Column, field: Field) -> Slot:
        return duck_types.slot(column, field)

    def columns(self, connection: Connection, table: str) -> tuple[Column, ...] | None:
        found = _rows(connection, _COLUMNS, table)
        if any(is_view for *_, is_view in found):
            raise FatalError("it is a view: load into the table behind it")
        # The expression of a generated column is where others have their default.
        asks = any(default is not None for _, _, _, default, _ in found)
        generated = {name for (name,) in _rows(connection, _GENERATED, table)} if asks else set()
        return (
            tuple(
                duck_types.column(name, declared, not_null, default, name in generated)
                for name, declared, not_null, default, _ in found
            )
            or None
        )

    def lock_columns(self, connection: Connection, table: str) -> tuple[Column, ...]:
        # No other process has the file open, and a target has one thread.
        return still_there(self.columns(connection, table))

    def lock_schema(self, connection: Connection, table: str) -> None:
        """Nobody else has the file open."""

    def widen(self, table: str, column: str) -> Sequence[str]:
        t, c = quote(table), quote(column)
        return f"ALTER TABLE {t} ALTER COLUMN {c} TYPE DOUBLE", f"COMMENT ON COLUMN {t}.{c} IS NULL"

    def has_unique(self, connection: Connection, table: str, key: Sequence[str]) -> bool:
        wanted = set(key)
        if any(set(names) == wanted for (names,) in _rows(connection, _CONSTRAINED, table)):
            return True
        # The catalog has an index's columns as text, quoted where need be.
        spelled = [{name, quote(name), f"'{quote(name)}'"} for name in key]
        parts = [text[1:-1].split(", ") for (text,) in _rows(connection, _INDEXED, table)]
        return any(len(each) == len(key) and all(names & set(each) for names in spelled) for each in parts)

    def begin_careful(self, connection: Connection) -> None:
        """Nothing is deferred."""

    def append(
        self, connection: Connection, table: str, slots: Sequence[Slot], chunks: Iterable[pa.RecordBatch]
    ) -> None:
        names = ", ".join(quote(slot.column) for slot in slots)
        values = ", ".join(duck_types.value(slot, quote(slot.column)) for slot in slots)
        with _source(connection, chunks) as source:
            _run(connection, f"INSERT INTO {quote(table)} ({names}) SELECT {values} FROM {source}")

    def merge(
        self,
        connection: Connection,
        table: str,
        slots: Sequence[Slot],
        chunks: Iterable[pa.RecordBatch],
        rule: MergeRule,
    ) -> None:
        with _source(connection, _numbered(chunks)) as source:
            _run(connection, _merge(table, source, slots, rule))

    def stage(self, connection: Connection, table: str, slots: Sequence[Slot], rule: MergeRule) -> None:
        """Refused rows are found by questions, not by trying."""

    def disown(
        self,
        connection: Connection,
        table: str,
        slots: Sequence[Slot],
        chunks: Iterable[pa.RecordBatch],
        key: Sequence[str],
        row: str,
        children: Mapping[str, Sequence[str]],
    ) -> pa.Array:
        names = ", ".join(f"{duck_types.value(slot, quote(slot.column))} AS {quote(slot.column)}" for slot in slots)
        with _source(connection, chunks) as source:
            _run(connection, f"CREATE OR REPLACE TEMP TABLE {STAGE} AS SELECT {names} FROM {source}")
        sql = KinSql(quote, table, f"temp.{STAGE}", key, row)
        for child, links in children.items():
            _run(connection, sql.delete_in(child, links))
        with cursor(connection) as run:
            lost = losers(run, sql)
        _run(connection, f"DROP TABLE temp.{STAGE}")
        return lost


def _driver() -> Any:
    """The driver, when first needed."""
    try:
        import duckdb
    except ImportError as error:
        raise ConfigError('DuckDB needs its package: pip install "api2db-daemon[duckdb]"') from error
    return duckdb


def _timeout_s(url: URL, otherwise: float) -> float:
    for name in url.query:
        if name not in ("timeout", "access_mode"):
            raise ConfigError(f"a url of DuckDB takes timeout, not {name}")
    given = str(url.query.get("timeout", otherwise))
    if not re.fullmatch(r"\d+(\.\d+)?", given):
        raise ConfigError(f"timeout={given} in the url is no number of seconds")
    return float(given)


def _rows(connection: Connection, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
    with cursor(connection) as run:
        run.execute(sql, parameters)
        found: list[tuple[Any, ...]] = run.fetchall()
    return found


def _run(connection: Connection, sql: str) -> None:
    with cursor(connection) as run:
        run.execute(sql)


@contextmanager
def _source(connection: Connection, chunks: Iterable[pa.RecordBatch]) -> Iterator[str]:
    """A name under which a statement reads the chunks, once, as they come."""
    chunks = map(_without_minus_zero, chunks)
    first = next(chunks)
    held: Any = connection.connection.driver_connection
    held.held.register(_SOURCE, pa.RecordBatchReader.from_batches(first.schema, _from(first, chunks)))
    try:
        yield quote(_SOURCE)
    finally:
        with suppress(
            _driver().TransactionException
        ):  # after an error only ROLLBACK is heard; the next one replaces it
            held.held.unregister(_SOURCE)


def _without_minus_zero(chunk: pa.RecordBatch) -> pa.RecordBatch:
    """DuckDB's compression keeps the sign of a zero or loses it, as its neighbours are: better always the same."""
    columns = [
        pc.add(column, pa.scalar(0, column.type)) if pa.types.is_floating(column.type) else column
        for column in chunk.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=chunk.schema)


def _from(first: pa.RecordBatch, others: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from others


def _numbered(chunks: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The chunks with the place of each row, by which the later of two rows is known."""
    start = 0
    for chunk in chunks:
        ordinals = pa.array(range(start, start + chunk.num_rows), pa.int64())
        yield chunk.append_column(ORDINAL, ordinals)
        start += chunk.num_rows


def _merge(table: str, source: str, slots: Sequence[Slot], rule: MergeRule) -> str:
    """The newest row of each key into the table; not ON CONFLICT, which would also meet other unique indexes."""
    names = [quote(slot.column) for slot in slots]
    key = [quote(name) for name in rule.key]
    values = ", ".join(f"{duck_types.value(slot, quote(slot.column))} AS {quote(slot.column)}" for slot in slots)
    staged = any(slot.column == rule.version for slot in slots)
    newest = f"{quote(rule.version)} DESC NULLS LAST, " if staged and rule.version else ""
    sql = (
        f"MERGE INTO {quote(table)} AS stored USING (SELECT * FROM (SELECT {values}, {quote(ORDINAL)} "
        f"FROM {source}) QUALIFY row_number() OVER "
        f"(PARTITION BY {', '.join(key)} ORDER BY {newest}{quote(ORDINAL)} DESC) = 1) AS fresh "
        f"ON {' AND '.join(f'stored.{name} = fresh.{name}' for name in key)}"
    )
    others = [name for name in names if name not in key]
    if others:
        sql += _if_newer(rule, staged) + " THEN UPDATE SET " + ", ".join(f"{name} = fresh.{name}" for name in others)
    given = ", ".join(f"fresh.{name}" for name in names)
    return f"{sql} WHEN NOT MATCHED THEN INSERT ({', '.join(names)}) VALUES ({given})"


def _if_newer(rule: MergeRule, staged: bool) -> str:
    if rule.version is None:
        return " WHEN MATCHED"
    version = quote(rule.version)
    newer = f" OR fresh.{version} >= stored.{version}" if staged else ""
    return f" WHEN MATCHED AND (stored.{version} IS NULL{newer})"
