"""Which rows DuckDB would refuse, found by asking: its transactions end at the first error, and nothing is tried twice.

A row is refused by a type that can't be made of its text, by NOT NULL and CHECK, by a foreign key, or because another
row has the same unique values: one that is there, or an earlier one that loads. Each question is one statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection

from api2db.errors import BadDataError
from api2db.sinks import duck_types
from api2db.sinks.conform import Slot
from api2db.sinks.dialect import ORDINAL, Cause, MergeRule, cursor

_GIVEN = "_api2db_given"
_CONSTRAINTS = """
SELECT constraint_type, constraint_text, expression, constraint_column_names, referenced_table, referenced_column_names
FROM duckdb_constraints()
WHERE database_name = current_database() AND schema_name = current_schema() AND lower(table_name) = lower(?)
ORDER BY CASE constraint_type WHEN 'CHECK' THEN 1 WHEN 'FOREIGN KEY' THEN 2 ELSE 3 END, constraint_index"""
_INDEXES = """
SELECT expressions FROM duckdb_indexes() WHERE database_name = current_database() AND schema_name = current_schema()
  AND lower(table_name) = lower(?) AND is_unique AND NOT is_primary"""
_DEFAULTS = """
SELECT column_name, data_type, column_default FROM duckdb_columns()
WHERE database_name = current_database() AND schema_name = current_schema() AND lower(table_name) = lower(?)"""


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def find(
    connection: Connection,
    table: str,
    slots: Sequence[Slot],
    chunks: Iterable[pa.RecordBatch],
    rule: MergeRule | None,
) -> Iterator[tuple[int, Cause]]:
    """(ordinal, why) of each row that is refused, by its first reason. The last column of the chunks is ``ORDINAL``."""
    given = list(chunks)
    if not given:
        return
    held: Any = connection.connection.driver_connection
    held.held.register(_GIVEN, pa.Table.from_batches(given))
    try:
        search = _Search(connection, table, slots, rule)
        yield from search.refused().items()
    finally:
        held.held.unregister(_GIVEN)


class _Search:
    def __init__(self, connection: Connection, table: str, slots: Sequence[Slot], rule: MergeRule | None) -> None:
        self._connection = connection
        self._table = quote(table)
        self._name = table
        self._slots = slots
        self._rule = rule
        self._found: dict[int, Cause] = {}

    def refused(self) -> dict[int, Cause]:
        self._types()
        for kind, text, expression, columns, other, others in self._ask(_CONSTRAINTS, self._name):
            if kind == "CHECK":
                self._add(text, f"SELECT {ORDINAL} FROM ({self._whole()}) WHERE NOT ({expression})")
            elif kind == "FOREIGN KEY":
                self._foreign(text, columns, other, others)
            elif kind in ("UNIQUE", "PRIMARY KEY"):
                self._unique(text, [quote(column) for column in columns])
        for (expressions,) in self._ask(_INDEXES, self._name):
            self._unique(
                f"a unique index over {expressions}", [part.strip("'") for part in expressions[1:-1].split(", ")]
            )
        return self._found

    def _ask(self, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
        with cursor(self._connection) as run:
            run.execute(sql, parameters)
            found: list[tuple[Any, ...]] = run.fetchall()
        return found

    def _add(self, text: str, sql: str, column: str = "") -> None:
        told = f'column "{column}": {text}' if column else f"the table refuses it: {text}"
        for (ordinal,) in self._ask(sql):
            self._found.setdefault(ordinal, Cause(BadDataError, told, column=column))

    def _types(self) -> None:
        for slot in filter(duck_types.is_cast, self._slots):
            name = quote(slot.column)
            sql = f"SELECT {ORDINAL} FROM {_GIVEN} WHERE {name} IS NOT NULL AND {self._tried(slot)} IS NULL"
            self._add("it has no such value", sql, slot.column)

    def _tried(self, slot: Slot) -> str:
        return duck_types.value(slot, quote(slot.column), tried=True)

    def _rows(self) -> str:
        """The rows not yet refused, as the table will have them."""
        values = ", ".join(f"{self._tried(slot)} AS {quote(slot.column)}" for slot in self._slots)
        without = f" WHERE {ORDINAL} NOT IN ({', '.join(map(str, self._found))})" if self._found else ""
        return f"SELECT {values}, {ORDINAL} FROM {_GIVEN}{without}"

    def _whole(self) -> str:
        """As ``_rows``, with what columns hold that aren't given."""
        named = {slot.column for slot in self._slots}
        rest = [
            f"CAST({default or 'NULL'} AS {declared}) AS {quote(name)}"
            for name, declared, default in self._ask(_DEFAULTS, self._name)
            if name not in named
        ]
        return f"SELECT *, {', '.join(rest)} FROM ({self._rows()})" if rest else self._rows()

    def _foreign(self, text: str, columns: Sequence[str], other: str, others: Sequence[str]) -> None:
        given = " AND ".join(f"given.{quote(name)} IS NOT NULL" for name in columns)
        same = " AND ".join(
            f"there.{quote(theirs)} = given.{quote(ours)}" for ours, theirs in zip(columns, others, strict=True)
        )
        missing = f"NOT EXISTS (SELECT 1 FROM {quote(other)} AS there WHERE {same})"
        self._add(text, f"SELECT {ORDINAL} FROM ({self._whole()}) AS given WHERE {given} AND {missing}")

    def _unique(self, text: str, parts: Sequence[str]) -> None:
        """Rows whose values are there already, or in an earlier row that isn't refused; NULL meets nothing."""
        key = [quote(name) for name in self._rule.key] if self._rule else []
        if key and set(parts) == set(key):
            return  # those are what a merge looks for
        names = [f"_u{at}" for at in range(len(parts))]
        computed = ", ".join(f"{part} AS {name}" for part, name in zip(parts, names, strict=True))
        keys = "".join(f", {part} AS _k{at}" for at, part in enumerate(key))
        fresh = f"SELECT {computed}{keys}, {ORDINAL} FROM ({self._whole()})"
        stored = f"SELECT {computed}{keys} FROM {self._table}"
        text = f"duplicate: another row has these values already: {text}"
        known = " AND ".join(f"{name} IS NOT NULL" for name in names)
        same = " AND ".join(f"b.{name} = a.{name}" for name in names)
        # Of a merge the rows of one key are one row.
        other = f" AND ({' OR '.join(f'b._k{at} <> a._k{at}' for at in range(len(key)))})" if key else ""
        self._add(
            text,
            f"WITH fresh AS MATERIALIZED (SELECT * FROM ({fresh}) WHERE {known}) "
            f"SELECT {ORDINAL} FROM fresh AS a WHERE EXISTS (SELECT 1 FROM ({stored}) AS b WHERE {same}{other}) "
            f"OR EXISTS (SELECT 1 FROM fresh AS b WHERE {same}{other} AND b.{ORDINAL} < a.{ORDINAL})",
        )
