"""A merge in MySQL and MariaDB: from a staging table, rows that are there are updated and the others inserted.

Not ``ON DUPLICATE KEY UPDATE``: that would also update a row which only another unique index has met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from api2db.schema import Kind
from api2db.sinks import my_errors
from api2db.sinks.conform import Slot
from api2db.sinks.dialect import ORDINAL, MergeRule
from api2db.sinks.my_load import driver
from api2db.sinks.my_names import quote

STAGE = "_api2db_stage"
_NEWEST = "_api2db_newest"
_ROW = "@api2db_row"
# TRUNCATE would commit.
CLEAR = f"DROP TEMPORARY TABLE IF EXISTS {STAGE}, {_NEWEST}"


class Parts:
    """A stage whose rows are merged in parts: rows that the table refuses are sent once, not for every try.

    merge   of several rows
    single  of one row
    load    fills the stage, given the slots of chunks and them
    """

    def __init__(
        self,
        session: Any,
        merge: Merge,
        single: Merge,
        slots: Sequence[Slot],
        load: Callable[[Sequence[Slot], Iterable[pa.RecordBatch]], None],
    ) -> None:
        self._session = session
        self._merge = merge
        self._single = single
        self._slots = [*slots, Slot(ORDINAL, Kind.INTEGER, pa.int64(), "bigint")]
        self._load = load
        for statement in (CLEAR, *merge.make):
            session.run(statement.encode())

    def fill(self, chunks: Iterable[pa.RecordBatch]) -> None:
        self._load(self._slots, chunks)

    def merge(self, first: int, last: int) -> None:
        if first == last:
            # Most tries are of one row. What this transaction has deleted from the list would be read in each of them.
            apply(self._session, self._single, str(first))
            return
        self._session.run(self._merge.again.encode())
        apply(self._session, self._merge, f" WHERE {ORDINAL} BETWEEN {first} AND {last}")

    def close(self) -> None:
        self._session.run(CLEAR.encode())


def apply(session: Any, merge: Merge, where: str = "") -> None:
    """Merge what is in the stage, or the rows of it that a condition names. The list of what is newest is empty."""
    session.run(merge.choose(where).encode())
    missing: int | None = None
    while True:
        if merge.update is not None:
            session.run(merge.update.encode())
        try:
            session.run(merge.insert.encode())
            break
        except driver().IntegrityError as error:
            if my_errors.number(error) != my_errors.DUPLICATE:
                raise
            # Another daemon inserted one of the keys meanwhile: that row is there to be updated now. A row that
            # only another unique index has met stays missing, and is refused.
            before, missing = missing, session.run(merge.missing.encode()).rows[0][0]
            if before is not None and missing >= before:
                raise


@dataclass(frozen=True)
class Merge:
    """The statements of one merge, in their order.

    make     the stage, whose ordinals are given as the rows come, and the list of what is newest in it
    again    empties that list, for another part of the stage
    choose   one row a key into that list, of the stage's rows that a condition names ("" is all); in the key's order:
             daemons meet the table's rows in the same order
    update   newer rows into those of the table with their keys; None where there is nothing but the key
    insert   rows whose keys the table doesn't have
    missing  how many those are
    """

    make: tuple[str, str]
    choose: Callable[[str], str]
    update: str | None
    insert: str
    missing: str
    again: str = f"DELETE FROM {_NEWEST}"

    @classmethod
    def of(
        cls, table: str, slots: Sequence[Slot], rule: MergeRule, types: dict[str, str], *, single: bool = False
    ) -> Merge:
        """For a stage of these types; with ``single`` for one row of it, which ``choose`` is given the ordinal of."""
        names = [quote(slot.column) for slot in slots]
        key = [quote(name) for name in rule.key]
        others = [name for name in names if name not in key]
        columns = [f"{quote(slot.column)} {types[slot.column]}" for slot in slots]
        counted = "bigint NOT NULL AUTO_INCREMENT PRIMARY KEY"
        make = (
            f"CREATE TEMPORARY TABLE {STAGE} ({', '.join(columns)}, {ORDINAL} {counted}) ENGINE=InnoDB",
            f"CREATE TEMPORARY TABLE {_NEWEST} (place {counted}, ordinal bigint NOT NULL) ENGINE=InnoDB",
        )
        fresh = f"{_NEWEST} AS newest STRAIGHT_JOIN {STAGE} AS fresh ON fresh.{ORDINAL} = newest.ordinal"
        fresh = f"{STAGE} AS fresh" if single else fresh
        chosen, order = (f" AND fresh.{ORDINAL} = {_ROW}", "") if single else ("", " ORDER BY newest.place")
        same = " AND ".join(f"there.{name} = fresh.{name}" for name in key)
        update = None
        if others:
            sets = ", ".join(f"there.{name} = fresh.{name}" for name in others)
            there = f"STRAIGHT_JOIN {quote(table)} AS there ON {same}{chosen}"
            update = f"UPDATE {fresh} {there} SET {sets}{_if_newer(slots, rule)}"
        absent = f"FROM {fresh} LEFT JOIN {quote(table)} AS there ON {same} WHERE there.{key[0]} IS NULL{chosen}"
        insert = (
            f"INSERT INTO {quote(table)} ({', '.join(names)}) "
            f"SELECT {', '.join(f'fresh.{name}' for name in names)} {absent}{order}"
        )
        choose = _choose_row if single else partial(_choose, key, slots, rule)
        return cls(make, choose, update, insert, f"SELECT count(*) {absent}")


def _choose_row(ordinal: str) -> str:
    return f"SET {_ROW} = {ordinal}"


def _choose(key: Sequence[str], slots: Sequence[Slot], rule: MergeRule, where: str) -> str:
    """Of each key the newest version, NULL the oldest, of equals the later row."""
    staged = next((slot for slot in slots if slot.column == rule.version), None)
    order = f"{ORDINAL} DESC"
    if staged is not None:
        version = quote(staged.column)
        order = f"{version} IS NOT NULL DESC, {_ordered(version, staged)} DESC, {order}"
    columns = ", ".join(key)
    rank = f"row_number() OVER (PARTITION BY {columns} ORDER BY {order}) AS _api2db_rank"
    ranked = f"SELECT {columns}, {ORDINAL}, {rank} FROM {STAGE}{where}"
    return (
        f"INSERT INTO {_NEWEST} (ordinal) SELECT {ORDINAL} FROM ({ranked}) AS ranked "
        f"WHERE _api2db_rank = 1 ORDER BY {columns}"
    )


def _if_newer(slots: Sequence[Slot], rule: MergeRule) -> str:
    if rule.version is None:
        return ""
    version = quote(rule.version)
    staged = next((slot for slot in slots if slot.column == rule.version), None)
    newer = f" WHERE (there.{version} IS NULL"
    if staged is not None:
        newer += f" OR {_ordered(f'fresh.{version}', staged)} >= {_ordered(f'there.{version}', staged)}"
    return newer + ")"


def _ordered(version: str, slot: Slot) -> str:
    """Text by code point, whatever the column's collation."""
    return f"CAST({version} AS BINARY)" if slot.kind in (Kind.TEXT, Kind.JSON) else version
