"""Any other database that SQLAlchemy has a dialect for: batched INSERTs, UPDATEs and the ledger in one transaction."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cached_property
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError, NoSuchModuleError
from sqlalchemy.sql import quoted_name

from api2db.errors import BadDataError, ConfigError, FatalError, RetryableError, SinkError
from api2db.schema import Field, Kind
from api2db.secret import redact
from api2db.sinks import generic_merge, generic_target, generic_types
from api2db.sinks.conform import Slot
from api2db.sinks.dialect import Cause, Column, MergeRule, still_there
from api2db.sinks.names import NameRules

_NO_BYTES_IN_KEYS = ("mysql", "mariadb", "mssql", "oracle")
_ADDS = {"mssql": "ADD", "oracle": "ADD"}
# What repeating heals, whatever class it has: by SQLSTATE, by Oracle's numbers (a deadlock, busy, not serializable,
# no space), and by words.
_PASSING = re.compile(
    r"\b(?:08|40|53|55|57|58|HYT)[0-9A-Z]{3}\b|ORA-0*(?:54|60|1013|165\d|1688|8177|12\d{3}|300(?:06|36))\b"
    r"|dead ?lock|\block|time(?:d )?-?out|serializ|again|restart|shut ?down|busy|connect|gone away|network|socket"
    r"|terminat|kill|cancel|interrupt|space|extend|memory|disk|quota|full|read[- ]only|too many|i/?o error",
    re.IGNORECASE,
)
_NAMES = re.compile(r"([`'\"]).*?\1")
# Classes of errors that some drivers give a refused row too.
_DOUBTFUL = ("OperationalError", "InternalError", "DatabaseError")
# By the classes that PEP 249 gives a driver's errors; what isn't here is repeated.
_CAUSES: dict[str, tuple[type[SinkError], str]] = {
    "IntegrityError": (BadDataError, ""),
    "DataError": (BadDataError, ""),
    "ProgrammingError": (FatalError, "compare the table, and what the account may do, with what is loaded into it"),
    "NotSupportedError": (FatalError, "compare the table with what is loaded into it"),
}


class Generic:
    """One database by its URL, with the types and the SQL that its SQLAlchemy dialect makes of plain ones."""

    max_threads: int | None = None
    chunk_rows = 1_000
    # Of some databases; for the others a step more.
    ddl_commits = True
    seeks = True
    refusals = None

    def __init__(self, url: URL) -> None:
        self.name = url.get_backend_name()
        try:
            self._class = url.get_dialect()
        except NoSuchModuleError:
            raise ConfigError(
                f'no sink for dialect "{url.drivername}": there are "duckdb", "mariadb", "mysql", "postgresql", '
                '"sqlite", and what SQLAlchemy has a dialect for, once its package is installed'
            ) from None
        self._dialect: sa.Dialect = self._class()
        self.adds = _ADDS.get(self.name, "ADD COLUMN")
        longest = self._dialect.max_identifier_length
        self.names = NameRules(max_bytes=min(longest, 128) if longest < 9999 else 63, ignores_case=True)

    @cached_property
    def errors(self) -> tuple[type[Exception], ...]:
        return (DBAPIError, self._driver().Error)

    def _driver(self) -> Any:
        try:
            return self._class.import_dbapi()
        except ImportError as error:
            raise ConfigError(f"{self.name} needs its driver: pip install {error.name}") from None

    def engine(self, url: URL, pool_size: int) -> Engine:
        self._driver()
        return create_engine(url, pool_size=pool_size, max_overflow=0, pool_pre_ping=True)

    def quote(self, name: str) -> str:
        preparer = self._dialect.identifier_preparer
        return (
            preparer.initial_quote + name.replace(preparer.final_quote, preparer.final_quote * 2) + preparer.final_quote
        )

    def target(self, url: URL) -> str:
        return generic_target.target(self.name, url)

    def cause(self, error: BaseException) -> Cause:
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        original = error.orig or error if isinstance(error, DBAPIError) else error
        text = redact(" ".join(f"{type(original).__name__}: {original}".split()))[:300]
        for one in type(original).__mro__:
            if one.__name__ in _CAUSES:
                kind, advice = _CAUSES[one.__name__]
                return Cause(RetryableError if lost else kind, text, advice, lost)
        told = _NAMES.sub("", " ".join(map(str, original.args)))
        doubtful = not lost and type(original).__name__ in _DOUBTFUL and not _PASSING.search(told)
        return Cause(RetryableError, text, lost=lost, doubtful=doubtful)

    def reading(self, url: URL) -> URL:
        return url

    def is_there(self, url: URL) -> bool:
        return True

    def is_missing_database(self, error: BaseException, url: URL) -> bool:
        return False

    def create_database(self, url: URL) -> None:
        """Not here: how that is done differs too much."""

    def declare(self, field: Field, key_columns: int = 0) -> str:
        if key_columns and field.kind is Kind.BINARY and self.name in _NO_BYTES_IN_KEYS:
            raise FatalError(
                f'key column "{field.name}": bytes of any length can\'t be a key in {self.name}; make text of them in'
                " the form (their hexadecimal digits), or make the table yourself, with a length for that column"
            )
        return generic_types.declared(field, bool(key_columns)).compile(dialect=self._dialect)

    def define(self, connection: Connection | None, table: str, name: str, field: Field, key_columns: int = 0) -> str:
        return f"{self.quote(name)} {self.declare(field, key_columns)}"

    def mark(self, table: str, columns: Sequence[str]) -> Sequence[str]:
        return ()

    def made(self, connection: Connection, table: str, column: str) -> bool:
        return False  # nothing says so in every database: integers stay integers

    def table_options(self, connection: Connection | None) -> str:
        return ""

    def slot(self, column: Column, field: Field) -> Slot:
        return generic_types.slot(self.name, column, field)

    def columns(self, connection: Connection, table: str) -> tuple[Column, ...] | None:
        found = self._inspect(connection, table)
        return None if found is None else tuple(generic_types.column(each, connection.dialect) for each in found)

    def _inspect(self, connection: Connection, table: str) -> list[Any] | None:
        inspector = sa.inspect(connection)
        name = quoted_name(table, True)
        return list(inspector.get_columns(name)) if inspector.has_table(name) else None

    def lock_columns(self, connection: Connection, table: str) -> tuple[Column, ...]:
        return still_there(self.columns(connection, table))

    def lock_schema(self, connection: Connection, table: str) -> None:
        """Nothing does that in every database: who comes second fails, and comes again."""

    def widen(self, table: str, column: str) -> Sequence[str]:
        return ()

    def has_unique(self, connection: Connection, table: str, key: Sequence[str]) -> bool:
        inspector, name, wanted = sa.inspect(connection), quoted_name(table, True), set(key)
        if set(inspector.get_pk_constraint(name)["constrained_columns"]) == wanted:
            return True
        if any(set(index["column_names"]) == wanted for index in inspector.get_indexes(name) if index["unique"]):
            return True
        try:
            return any(set(each["column_names"]) == wanted for each in inspector.get_unique_constraints(name))
        except NotImplementedError:
            return False

    def begin_careful(self, connection: Connection) -> None:
        """What is deferred to COMMIT isn't known here."""

    def append(
        self, connection: Connection, table: str, slots: Sequence[Slot], chunks: Iterable[pa.RecordBatch]
    ) -> None:
        into = self._table(connection, table, slots)
        for rows in _rows(slots, chunks, into):
            connection.execute(sa.insert(into), rows)

    def merge(
        self,
        connection: Connection,
        table: str,
        slots: Sequence[Slot],
        chunks: Iterable[pa.RecordBatch],
        rule: MergeRule,
    ) -> None:
        into = self._table(connection, table, slots)
        for rows in _rows(slots, chunks, into):
            generic_merge.merge(connection, into, slots, rows, rule)

    def stage(self, connection: Connection, table: str, slots: Sequence[Slot], rule: MergeRule) -> None:
        """No temporary tables that every database has."""

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
        into = self._table(connection, table, slots)
        names = [slot.column for slot in slots]
        places = [names.index(name) for name in key]
        at = names.index(row)
        keyed = [f"c{place}" for place in places]
        keys: set[tuple[Any, ...]] = set()
        given: set[Any] = set()
        for rows in _rows(slots, chunks, into):
            keys.update(tuple(each[name] for name in keyed) for each in rows)
            given.update(each[f"c{at}"] for each in rows)
        # By key, which is indexed. Which of them are these rows says a row's own name, however its key is spelled.
        stored = generic_merge.rows_of(connection, into, keyed, list(keys), [*keyed, f"c{at}"])
        there = {one: tuple(place) for *place, one in stored if one in given}
        for child, links in children.items():
            theirs = [replace(slots[place], column=link) for place, link in zip(places, links, strict=True)]
            of = self._table(connection, child, theirs)
            mine = sa.and_(*(of.c[f"c{n}"] == sa.bindparam(f"_c{n}") for n in range(len(links))))
            if there:
                connection.execute(
                    sa.delete(of).where(mine), [{f"_c{n}": v for n, v in enumerate(place)} for place in there.values()]
                )
        return pa.array(list(given - there.keys()), pa.string())

    def _table(self, connection: Connection, table: str, slots: Sequence[Slot]) -> sa.Table:
        types = {each["name"]: each["type"] for each in self._inspect(connection, table) or ()}
        columns = [
            sa.Column(quoted_name(slot.column, True), types[slot.column], key=f"c{at}") for at, slot in enumerate(slots)
        ]
        return sa.Table(quoted_name(table, True), sa.MetaData(), *columns, implicit_returning=False)


def _rows(slots: Sequence[Slot], chunks: Iterable[pa.RecordBatch], into: sa.Table) -> Iterator[list[dict[str, Any]]]:
    """The chunks as the parameters of statements, by the columns' keys."""
    names = [f"c{at}" for at in range(len(slots))]
    for chunk in chunks:
        if not chunk.num_rows:
            continue
        columns = [_values(chunk.column(at), slot, into.c[names[at]].type) for at, slot in enumerate(slots)]
        yield [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(array: pa.Array, slot: Slot, kind: sa.types.TypeEngine[Any]) -> list[Any]:
    if slot.kind is Kind.DURATION:
        array = array.cast(pa.int64())
    values: list[Any] = array.to_pylist()
    if slot.kind is Kind.DECIMAL:
        return [None if value is None else Decimal(value) for value in values]
    if isinstance(kind, sa.JSON):
        return [None if value is None else json.loads(value) for value in values]
    return values
