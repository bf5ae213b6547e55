"""What happens inside one load's transaction: make the table fit, check, load, find what is refused."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from api2db.batch import Batch, Receipt
from api2db.errors import BadDataError, FatalError, RetryableError
from api2db.schema import Field, Kind
from api2db.sinks.conform import Slot, reason
from api2db.sinks.dialect import Cause, Column, Dialect, MergeRule, cursor
from api2db.sinks.group import Group
from api2db.sinks.names import place

log = logging.getLogger(__name__)

_EXACT = 2**53  # beyond it a float doesn't hold every integer

# In connection.info: what this connection has seen of tables, columns by table and which keys are unique.
_LEARNED = "api2db.learned"


@dataclass(frozen=True)
class Goal:
    """What a sink loads into: one table, appended to or, with a key, merged into.

    chunk_rows  rows converted and sent at once
    """

    table: str
    key: tuple[str, ...]
    version: str | None
    chunk_rows: int


class TableWork:
    """One transaction's work on one table. Used once, by one thread, inside ``connection``'s transaction."""

    def __init__(self, connection: Connection, dialect: Dialect, goal: Goal) -> None:
        self._connection = connection
        self._dialect = dialect
        self._goal = goal
        self._columns: dict[str, Column] = {}

    def prepare(self, groups: Sequence[Group]) -> None:
        """Create the table or add columns, for all groups before the first row: no lock is raised later.

        Afterwards the catalog can't change under the load.
        """
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
        if self._creatable:
            columns = self._dialect.lock_columns(self._connection, self._goal.table)
            if self._missing(columns, groups):
                raise RetryableError("its columns were changed by someone else meanwhile")
            self._columns = {column.name: column for column in columns}
            self._learned[self._goal.table] = columns

    def clear(self) -> None:
        """Delete all rows; for other transactions they stay until this one commits."""
        if not self._creatable:
            return
        self._run("SAVEPOINT api2db_old")
        with self._old_rows_go():
            self._run(f"DELETE FROM {self._dialect.quote(self._goal.table)}")

    @contextmanager
    def _old_rows_go(self) -> Iterator[None]:
        """Others' rules may keep the old rows; that is no row of ours to set aside."""
        try:
            yield
        except self._dialect.errors as error:
            cause = self._dialect.cause(error)
            if cause.error is not BadDataError:
                raise
            raise FatalError(
                f"the old rows can't be deleted: {cause.text}; other tables refer to them, or a trigger keeps them: "
                "load by key= instead of replacing, or change that rule"
            ) from error

    def keep_old(self) -> None:
        """Take ``clear`` back: of what was to replace the rows, not one could be loaded."""
        if self._creatable:
            self._run("ROLLBACK TO SAVEPOINT api2db_old")

    # False for a table of which nothing has a type yet: there is nothing to make it of.
    _creatable = True

    @property
    def _learned(self) -> dict[object, Any]:
        learned: dict[object, Any] = self._connection.info.setdefault(_LEARNED, {})
        return learned

    def _known(self) -> tuple[Column, ...] | None:
        """What this connection saw last; enough to decide whether DDL is needed, since columns seldom go."""
        seen: tuple[Column, ...] | None = self._learned.get(self._goal.table)
        return seen or self._dialect.columns(self._connection, self._goal.table)

    def _missing(self, known: Sequence[Column], groups: Sequence[Group]) -> dict[str, Field]:
        """Columns to create, by name in the table. A field that has only been NULL waits for a type."""
        names = [column.name for column in known]
        new: dict[str, Field] = {}
        for one in groups:
            typed = [field for field in one.fields if field.kind is not Kind.NULL]
            placed = place([field.name for field in typed], names, self._dialect.names)
            for field in typed:
                if placed[field.name] not in names:
                    names.append(placed[field.name])
                    new[placed[field.name]] = field
        return new

    def _create(self, fields: dict[str, Field]) -> None:
        key = [self._dialect.names.legal(name) for name in self._goal.key]
        if not fields or not set(key) <= set(fields):
            self._creatable = False
            return
        quote = self._dialect.quote
        parts = [self._definition(name, field) + (" NOT NULL" if name in key else "") for name, field in fields.items()]
        if key:
            parts.append(f"PRIMARY KEY ({', '.join(map(quote, key))})")
        self._define("the table can't be created", f"CREATE TABLE {quote(self._goal.table)} ({', '.join(parts)})")
        self._mark(fields)

    def _add(self, fields: dict[str, Field]) -> None:
        quote = self._dialect.quote
        for name, field in fields.items():
            self._define(
                f'column "{name}" can\'t be added (or leave it out of the form)',
                f"ALTER TABLE {quote(self._goal.table)} ADD COLUMN {self._definition(name, field)}",
            )
        self._mark(fields)

    def _definition(self, name: str, field: Field) -> str:
        return self._dialect.define(self._connection, self._goal.table, name, field)

    def _define(self, problem: str, sql: str) -> None:
        try:
            self._run(sql)
        except self._dialect.errors as error:
            cause = self._dialect.cause(error)
            if cause.error is not FatalError:
                raise
            raise FatalError(f"{problem}: {cause.text}; {cause.advice}, or as someone who may, run: {sql}") from error

    def _mark(self, fields: dict[str, Field]) -> None:
        integers = [name for name, field in fields.items() if field.kind is Kind.INTEGER and name not in self._goal.key]
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
                fixed = field.name in self._goal.key or name in found or name in self._kept_narrow
                if field.kind is Kind.FLOAT and name in integers and not fixed and _has_fraction(one.table, field.name):
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
            run.execute(f"SELECT 1 FROM {table} WHERE {name} NOT BETWEEN -{_EXACT} AND {_EXACT} LIMIT 1")
            inexact = run.fetchone() is not None
        started = time.monotonic()
        try:
            if not inexact:
                with self._connection.begin_nested():
                    for sql in self._dialect.widen(self._goal.table, column):
                        self._run(sql)
        except self._dialect.errors as error:
            cause = self._dialect.cause(error)
            if cause.lost:
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
    def _kept_narrow(self) -> set[str]:
        """Columns that can't be widened: an index or a view needs them, or a value would change."""
        kept: set[str] = self._learned.setdefault(("narrow", self._goal.table), set())
        return kept

    def _run(self, sql: str) -> None:
        with cursor(self._connection) as run:
            run.execute(sql)

    def load(self, one: Group) -> None:
        """Load a group at once; rows that don't fit their columns are in ``one.refused`` afterwards."""
        self._load(one, 0, one.table.num_rows)

    def load_carefully(self, one: Group) -> None:
        """Load a group although the database refuses some of its rows, in order, until each of those is alone.

        Steps halve at a refusal and double at a success: a few bad rows cost a few statements each, and a group of
        nothing but bad rows one for each.
        """
        with self._old_rows_go():  # a rule that waits for COMMIT speaks now, of what was deleted
            self._dialect.begin_careful(self._connection)
        self._run("SAVEPOINT api2db")
        at, step = 0, one.table.num_rows
        while at < one.table.num_rows:
            stop = min(at + step, one.table.num_rows)
            refusal = self._try(one, at, stop)
            if refusal is None:
                at, step = stop, 2 * step
            elif stop - at > 1:
                step = (stop - at) // 2
            else:
                one.refused[at] = self._told(one, at, refusal)
                at = stop
        self._run("RELEASE SAVEPOINT api2db")

    def _told(self, one: Group, row: int, cause: Cause) -> str:
        """Why the database refuses this row: with type and value of the column it names; else in its own words."""
        placed = self._placed(one)
        field = next((field for field in one.fields if placed[field.name] == cause.column), None)
        if field is None or cause.column not in self._columns:
            return cause.text
        slot = self._dialect.slot(self._columns[cause.column], field)
        value = one.table.column(field.name).slice(row, 1).combine_chunks()
        return reason(value, field, slot, cause.text.removeprefix(f'column "{cause.column}": '))

    def _try(self, one: Group, start: int, stop: int) -> Cause | None:
        """Load some rows, or none of them and say why the database refuses one."""
        try:
            self._load(one, start, stop)
        except self._dialect.errors as error:
            cause = self._dialect.cause(error)
            if cause.error is not BadDataError:
                raise
            self._run("ROLLBACK TO SAVEPOINT api2db")
            return cause
        self._run("RELEASE SAVEPOINT api2db")
        self._run("SAVEPOINT api2db")
        return None

    def _load(self, one: Group, start: int, stop: int) -> None:
        if start == stop:
            return
        lacks = self._why_none_fits(one)
        if lacks:
            one.refuse_all(lacks)
            return
        slots, rule = self._slots(one)
        chunks = one.chunks(slots, start, stop, self._goal.chunk_rows)
        used = [slot for slot in slots if slot is not None]
        if rule is None:
            self._dialect.append(self._connection, self._goal.table, used, chunks)
        else:
            self._dialect.merge(self._connection, self._goal.table, used, chunks, rule)

    def _why_none_fits(self, one: Group) -> str:
        names = {field.name for field in one.fields}
        for key in self._goal.key:
            if key not in names:
                return f'the key column "{key}" is missing: a row without it is no one\'s newer version'
        if not self._creatable:
            columns = f'the key column "{self._goal.key[0]}"' if self._goal.key else "every column"
            return (
                f"there is no table yet and no type to create it with: {columns} has only been NULL; "
                "say the types in the form, or replay the row once the table is there"
            )
        placed = self._placed(one)
        if not any(column in self._columns and not self._columns[column].generated for column in placed.values()):
            return "every value is NULL and the table has none of these columns, or computes them itself"
        for column in self._columns.values():
            if not column.optional and column.name not in placed.values():
                return f'column "{column.name}" ({column.declared}) must have a value and the rows have none'
        return ""

    def _placed(self, one: Group) -> Mapping[str, str]:
        return place([field.name for field in one.fields], self._columns, self._dialect.names)

    def _slots(self, one: Group) -> tuple[list[Slot | None], MergeRule | None]:
        placed = self._placed(one)
        slots: list[Slot | None] = []
        for field in one.fields:
            column = self._columns.get(placed[field.name])
            if column is not None and column.generated:
                if field.kind is not Kind.NULL:
                    raise FatalError(
                        f'column "{column.name}" is computed by the database and takes no value: '
                        "leave it out of the form, or give the field another name there"
                    )
                column = None
            slot = None if column is None else self._dialect.slot(column, field)
            if slot is not None and field.name in self._goal.key:
                slot = replace(slot, required=True, nan_free=True)
            elif slot is not None and field.name == self._goal.version:
                slot = replace(slot, nan_free=True)
            slots.append(slot)
        if not self._goal.key:
            return slots, None
        rule = MergeRule(tuple(placed[name] for name in self._goal.key), self._version(placed))
        self._check_unique(rule)
        return slots, rule

    def _version(self, placed: Mapping[str, str]) -> str | None:
        """The version's column; None while no row has had one, when every row is as old as any other."""
        if self._goal.version is None:
            return None
        column = (
            placed.get(self._goal.version)
            or place([self._goal.version], self._columns, self._dialect.names)[self._goal.version]
        )
        return column if column in self._columns else None

    def _check_unique(self, rule: MergeRule) -> None:
        memory = (self._goal.table, rule.key)
        if memory in self._learned:
            return
        if not self._dialect.has_unique(self._connection, self._goal.table, rule.key):
            quote = self._dialect.quote
            raise FatalError(
                f"no unique index over the key, so a merge can't find its rows (in place of a view name the table "
                f"behind it); run: CREATE UNIQUE INDEX {quote(self._dialect.names.legal(self._goal.table + '_key'))} "
                f"ON {quote(self._goal.table)} ({', '.join(map(quote, rule.key))})"
            )
        self._learned[memory] = True


def _has_fraction(table: pa.Table, name: str) -> bool:
    values = table.column(name)
    return bool(pc.any(pc.and_(pc.is_finite(values), pc.not_equal(values, pc.trunc(values)))).as_py())


def forget(connection: Connection) -> None:
    """Drop what the connection has learned of tables: a transaction was rolled back, with any DDL in it."""
    connection.info.pop(_LEARNED, None)


def receipts(batches: Sequence[Batch], had: Mapping[str, int], groups: Sequence[Group]) -> list[Receipt]:
    """One receipt a batch, in order. A batch given twice is new once.

    ``had`` are the batches that were there before, with the rows loaded of each: what isn't among them went to
    quarantine then, and the answer that was lost is given again.
    """
    quarantined = {batch.batch_id: len(rows) for one in groups for batch, rows, _ in one.refused_by_batch()}
    seen: set[str] = set()
    answers = []
    for batch in batches:
        rows = batch.table.num_rows
        loaded = had.get(batch.batch_id, rows - quarantined.get(batch.batch_id, 0))
        duplicate = batch.batch_id in had or batch.batch_id in seen
        answers.append(Receipt(batch.batch_id, loaded, rows - loaded, duplicate))
        seen.add(batch.batch_id)
    return answers
