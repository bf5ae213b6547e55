"""The two statements of a merge in MySQL and MariaDB: rows that are there are updated, the others inserted.

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
_ORDINAL = "_api2db_ordinal"
_RANK = "_api2db_rank"


@dataclass(frozen=True)
class Merge:
    """Rows of the stage into a table.

    stage    the statement that makes the stage; its ordinals are given as the rows come
    update   newer rows into those of the table with their keys; None where there is nothing but the key
    insert   rows whose keys the table doesn't have, in the key's order
    missing  how many those are
    """

    stage: str
    update: str | None
    insert: str
    missing: str

    @classmethod
    def of(cls, table: str, slots: Sequence[Slot], rule: MergeRule, types: dict[str, str]) -> Merge:
        names = [quote(slot.column) for slot in slots]
        key = [quote(name) for name in rule.key]
        others = [name for name in names if name not in key]
        columns = [f"{quote(slot.column)} {types[slot.column]}" for slot in slots]
        stage = (
            f"CREATE TEMPORARY TABLE {STAGE} ({', '.join(columns)}, "
            f"{_ORDINAL} bigint NOT NULL AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB"
        )
        same = " AND ".join(f"there.{name} = fresh.{name}" for name in key)
        fresh = f"{_newest(names, key, slots, rule)} AS fresh"
        update = None
        if others:
            sets = ", ".join(f"there.{name} = fresh.{name}" for name in others)
            update = f"UPDATE {fresh} JOIN {quote(table)} AS there ON {same} SET {sets}{_if_newer(slots, rule)}"
        absent = f"FROM {fresh} LEFT JOIN {quote(table)} AS there ON {same} WHERE there.{key[0]} IS NULL"
        insert = (
            f"INSERT INTO {quote(table)} ({', '.join(names)}) "
            f"SELECT {', '.join(f'fresh.{name}' for name in names)} {absent} "
            f"ORDER BY {', '.join(f'fresh.{name}' for name in key)}"
        )
        return cls(stage, update, insert, f"SELECT count(*) {absent}")


def _newest(names: Sequence[str], key: Sequence[str], slots: Sequence[Slot], rule: MergeRule) -> str:
    """One row a key: the newest version, NULL the oldest, of equals the later row."""
    staged = next((slot for slot in slots if slot.column == rule.version), None)
    order = f"{_ORDINAL} DESC"
    if staged is not None:
        version = quote(staged.column)
        order = f"{version} IS NOT NULL DESC, {_ordered(version, staged)} DESC, {order}"
    rank = f"row_number() OVER (PARTITION BY {', '.join(key)} ORDER BY {order}) AS {_RANK}"
    ranked = f"SELECT {', '.join(names)}, {rank} FROM {STAGE}"
    return f"(SELECT {', '.join(names)} FROM ({ranked}) AS ranked WHERE {_RANK} = 1)"


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
