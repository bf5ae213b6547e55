"""A merge in MySQL and MariaDB: from a staging table, rows that are there are updated and the others inserted.

Not ``ON DUPLICATE KEY UPDATE``: that would also update a row which only another unique index has met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api2db.schema import Kind
from api2db.sinks.conform import Slot
from api2db.sinks.dialect import MergeRule
from api2db.sinks.my_names import quote

STAGE = "_api2db_stage"
_NEWEST = "_api2db_newest"
_ORDINAL = "_api2db_ordinal"
# TRUNCATE would commit.
CLEAR = f"DROP TEMPORARY TABLE IF EXISTS {STAGE}, {_NEWEST}"


@dataclass(frozen=True)
class Merge:
    """The statements of one merge, in their order.

    make     the stage, whose ordinals are given as the rows come, and the list of what is newest in it
    choose   one row a key into that list, in the key's order: daemons meet the table's rows in the same order
    update   newer rows into those of the table with their keys; None where there is nothing but the key
    insert   rows whose keys the table doesn't have
    missing  how many those are
    """

    make: tuple[str, str]
    choose: str
    update: str | None
    insert: str
    missing: str

    @classmethod
    def of(cls, table: str, slots: Sequence[Slot], rule: MergeRule, types: dict[str, str]) -> Merge:
        names = [quote(slot.column) for slot in slots]
        key = [quote(name) for name in rule.key]
        others = [name for name in names if name not in key]
        columns = [f"{quote(slot.column)} {types[slot.column]}" for slot in slots]
        counted = "bigint NOT NULL AUTO_INCREMENT PRIMARY KEY"
        make = (
            f"CREATE TEMPORARY TABLE {STAGE} ({', '.join(columns)}, {_ORDINAL} {counted}) ENGINE=InnoDB",
            f"CREATE TEMPORARY TABLE {_NEWEST} (place {counted}, ordinal bigint NOT NULL) ENGINE=InnoDB",
        )
        fresh = f"{_NEWEST} AS newest STRAIGHT_JOIN {STAGE} AS fresh ON fresh.{_ORDINAL} = newest.ordinal"
        same = " AND ".join(f"there.{name} = fresh.{name}" for name in key)
        update = None
        if others:
            sets = ", ".join(f"there.{name} = fresh.{name}" for name in others)
            there = f"STRAIGHT_JOIN {quote(table)} AS there ON {same}"
            update = f"UPDATE {fresh} {there} SET {sets}{_if_newer(slots, rule)}"
        absent = f"FROM {fresh} LEFT JOIN {quote(table)} AS there ON {same} WHERE there.{key[0]} IS NULL"
        insert = (
            f"INSERT INTO {quote(table)} ({', '.join(names)}) "
            f"SELECT {', '.join(f'fresh.{name}' for name in names)} {absent} ORDER BY newest.place"
        )
        return cls(make, _choose(key, slots, rule), update, insert, f"SELECT count(*) {absent}")


def _choose(key: Sequence[str], slots: Sequence[Slot], rule: MergeRule) -> str:
    """Of each key the newest version, NULL the oldest, of equals the later row."""
    staged = next((slot for slot in slots if slot.column == rule.version), None)
    order = f"{_ORDINAL} DESC"
    if staged is not None:
        version = quote(staged.column)
        order = f"{version} IS NOT NULL DESC, {_ordered(version, staged)} DESC, {order}"
    columns = ", ".join(key)
    rank = f"row_number() OVER (PARTITION BY {columns} ORDER BY {order}) AS _api2db_rank"
    ranked = f"SELECT {columns}, {_ORDINAL}, {rank} FROM {STAGE}"
    return (
        f"INSERT INTO {_NEWEST} (ordinal) SELECT {_ORDINAL} FROM ({ranked}) AS ranked "
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
