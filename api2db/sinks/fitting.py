"""A table made to fit what is loaded into it: created, given columns, its integers widened where they are ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection

from api2db.errors import FatalError, RetryableError
from api2db.schema import Field, Kind
from api2db.sinks.dialect import Column, Dialect, cursor
from api2db.sinks.group import Group
from api2db.sinks.names import place
from api2db.sinks.new_columns import EXACT, has_fraction, new_columns

log = logging.getLogger(__name__)

# In connection.info: what this connection has seen of tables, columns by table and which keys are unique.
_LEARNED = "api2db.learned"


@dataclass(frozen=True)
class Goal:
    """What a sink loads into: one table, appended to or, with a key, merged into.

    chunk_rows  rows converted and sent at once
    unique      columns of which each row that is appended is unique, in a table we create; none without
    """

    table: str
    key: tuple[str, ...]
    version: str | None
    chunk_rows: int
    unique: tuple[str, ...] = ()

    @property
    def fixed(self) -> tuple[str, ...]:
        """Columns that must have a value, and whose type never changes."""
        return self.key or self.unique


class Fitting:
    """One transaction's DDL on one table, under the locks of ``Dialect``. Used once, by one thread."""

    def __init__(self, connection: Connection, dialect: Dialect, goal: Goal) -> None:
        self._connection = connection
        self._dialect = dialect
        self._goal = goal
        self._typed = True  # False for a table of which nothing has a type yet: there is nothing to make it of

    def fits(self, groups: Sequence[Group]) -> bool:
        """Whether nothing has to be created, as far as this connection has seen the table."""
        seen = learned(self._connection).get(self._goal.table)
        return seen is not None and not self._missing(seen, groups) and not self._too_narrow(seen, groups)

    def fit(self, groups: Sequence[Group]) -> None:
        """Create the table, or add and widen columns: for all groups at once, so that no lock is raised later."""
        known = self._known()
        if known is None or self._missing(known, groups) or self._too_narrow(known, groups):
            self._dialect.lock_schema(self._connection, self._goal.table)
            known = self._dialect.columns(self._connection, self._goal.table)
            if known is None:
                self._create(self._missing((), groups))
            else:
                self._add(self._missing(known, groups))
                for column in self._too_narrow(known, groups):
                    self._widen(column)

    def lock(self, groups: Sequence[Group]) -> tuple[Column, ...] | None:
        """The table's columns, as they stay until the transaction ends; None where nothing has a type yet."""
        if not self._typed:
            return None
        columns = self._dialect.lock_columns(self._connection, self._goal.table)
        if self._missing(columns, groups):
            raise RetryableError("its columns were changed by someone else meanwhile")
        learned(self._connection)[self._goal.table] = columns
        return columns

    def _known(self) -> tuple[Column, ...] | None:
        """What this connection saw last; enough to decide whether DDL is needed, since columns seldom go."""
        seen: tuple[Column, ...] | None = learned(self._connection).get(self._goal.table)
        return seen or self._dialect.columns(self._connection, self._goal.table)

    def _missing(self, known: Sequence[Column], groups: Sequence[Group]) -> dict[str, Field]:
        """Columns to create, by name in the table."""
        return missing(self._dialect, known, groups, self._goal)

    def _create(self, fields: dict[str, Field]) -> None:
        creation = creation_of(self._dialect, self._goal, fields, self._connection)
        if creation is None:
            self._typed = False
            return
        self._define("the table can't be created", f"{creation.head} ({', '.join(creation.parts)}){creation.tail}")
        self._mark(fields)

    def _add(self, fields: dict[str, Field]) -> None:
        quote = self._dialect.quote
        for name, field in fields.items():
            self._define(
                f'column "{name}" can\'t be added (or leave it out of the form)',
                f"ALTER TABLE {quote(self._goal.table)} {self._dialect.adds} {self._definition(name, field)}",
            )
        self._mark(fields)

    def _definition(self, name: str, field: Field, key_columns: int = 0) -> str:
        return self._dialect.define(self._connection, self._goal.table, name, field, key_columns)

    def _define(self, problem: str, sql: str) -> None:
        try:
            self._run(sql)
        except self._dialect.errors as error:
            cause = self._dialect.cause(error)
            if cause.error is not FatalError:
                raise
            raise FatalError(f"{problem}: {cause.text}; {cause.advice}, or as someone who may, run: {sql}") from error

    def _mark(self, fields: dict[str, Field]) -> None:
        fixed = self._goal.fixed
        integers = [name for name, field in fields.items() if field.kind is Kind.INTEGER and name not in fixed]
        for sql in self._dialect.mark(self._goal.table, integers):
            self._run(sql)

    def _too_narrow(self, known: Sequence[Column], groups: Sequence[Group]) -> list[str]:
        """Integer columns, as we create them, for which a fraction has come: numbers are integer until then."""
        ours = self._dialect.declare(Field("", Kind.INTEGER, pa.int64()))
        integers = {
            column.name
            for column in known
            if column.kind is Kind.INTEGER and column.declared == ours and not column.generated
        }
        found: list[str] = []
        for one in groups:
            placed = place([field.name for field in one.fields], [column.name for column in known], self._dialect.names)
            for field in one.fields:
                name = placed[field.name]
                fixed = field.name in self._goal.fixed or name in found or name in self._kept_narrow
                if field.kind is Kind.FLOAT and name in integers and not fixed and has_fraction(one.table, field.name):
                    found.append(name)
        return found

    def _widen(self, column: str) -> None:
        """Make an integer column floating if it is ours and every value stays exact.

        Else rows with a fraction go to quarantine.
        """
        if not self._dialect.made(self._connection, self._goal.table, column):
            log.warning("column stays integer table=%s column=%s cause=it isn't ours", self._goal.table, column)
            self._kept_narrow.add(column)
            return
        table, name = self._dialect.quote(self._goal.table), self._dialect.quote(column)
        with cursor(self._connection) as run:
            run.execute(f"SELECT 1 FROM {table} WHERE {name} NOT BETWEEN -{EXACT} AND {EXACT} LIMIT 1")
            inexact = run.fetchone() is not None
        started = time.monotonic()
        try:
            if not inexact:
                with nullcontext() if self._is_whole else self._connection.begin_nested():
                    for sql in self._dialect.widen(self._goal.table, column):
                        self._run(sql)
        except self._dialect.errors as error:
            cause = self._dialect.cause(error)
            if cause.lost or self._dialect.refusals is not None:
                raise
            log.warning("column stays integer table=%s column=%s cause=%s", self._goal.table, column, cause.text)
        else:
            if not inexact:
                seconds = time.monotonic() - started
                log.warning(
                    "column widened table=%s column=%s to=float duration_s=%.1f", self._goal.table, column, seconds
                )
                return
        self._kept_narrow.add(column)

    @property
    def _is_whole(self) -> bool:
        """Whether a statement that fails can't be taken back by itself."""
        return self._dialect.ddl_commits or self._dialect.refusals is not None

    @property
    def _kept_narrow(self) -> set[str]:
        """Columns that can't be widened: an index or a view needs them, or a value would change."""
        kept: set[str] = learned(self._connection).setdefault(("narrow", self._goal.table), set())
        return kept

    def _run(self, sql: str) -> None:
        with cursor(self._connection) as run:
            run.execute(sql)


@dataclass(frozen=True)
class Creation:
    """CREATE TABLE, its columns and keys between ``head`` and ``tail``."""

    head: str
    parts: tuple[str, ...]
    tail: str


def creation_of(
    dialect: Dialect, goal: Goal, fields: Mapping[str, Field], connection: Connection | None
) -> Creation | None:
    """How the table is made; None where nothing, or not the whole key, has a type yet.

    connection  as in ``Dialect.define``
    """
    key = [dialect.names.legal(name) for name in goal.fixed]
    if not fields or not set(key) <= set(fields):
        return None

    def define(name: str, field: Field) -> str:
        if name in key:
            return f"{dialect.define(connection, goal.table, name, field, len(key))} NOT NULL"
        return dialect.define(connection, goal.table, name, field)

    parts = [define(name, field) for name, field in fields.items()]
    if key:
        parts.append(f"PRIMARY KEY ({', '.join(map(dialect.quote, key))})")
    return Creation(f"CREATE TABLE {dialect.quote(goal.table)}", tuple(parts), dialect.table_options(connection))


def missing(dialect: Dialect, known: Sequence[Column], groups: Sequence[Group], goal: Goal) -> dict[str, Field]:
    """Columns to create, by name in the table."""
    existing = [column.name for column in known]
    new = new_columns(groups, existing, lambda names, columns: place(names, columns, dialect.names), goal.fixed)
    return {name: each.field for name, each in new.items()}


def learned(connection: Connection) -> dict[object, Any]:
    """What this connection has seen of tables; kept until ``forget``."""
    found: dict[object, Any] = connection.info.setdefault(_LEARNED, {})
    return found


def forget(connection: Connection) -> None:
    """Drop what the connection has learned of tables: a transaction was rolled back, with any DDL in it."""
    connection.info.pop(_LEARNED, None)
