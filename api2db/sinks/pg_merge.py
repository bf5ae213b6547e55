"""A merge in PostgreSQL: COPY into a staging table, and from there by INSERT … ON CONFLICT."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
from sqlalchemy import Connection

from api2db.schema import Kind
from api2db.sinks.conform import Slot
from api2db.sinks.dialect import ORDINAL, MergeRule, cursor
from api2db.sinks.kin_sql import KinSql, losers
from api2db.sinks.pg_copy import copy, quote

_ORDINAL_SLOT = Slot(ORDINAL, Kind.INTEGER, pa.int64(), "bigint")
# In connection.info: the last transaction that merged, and its staging tables.
_STAGED = "api2db.staged"
_PARTS = "pg_temp._api2db_parts"


def merge(
    connection: Connection, table: str, slots: Sequence[Slot], chunks: Iterable[pa.RecordBatch], rule: MergeRule
) -> None:
    """Insert or update by key; later rows of ``chunks`` win ties."""
    columns = _columns(slots)
    stage = f"_api2db_stage_{hashlib.sha1(f'{table} {columns}'.encode()).hexdigest()[:16]}"
    with cursor(connection) as run:
        run.execute(
            f"CREATE TEMP TABLE IF NOT EXISTS {stage} ({columns}, {ORDINAL} bigint) ON COMMIT DELETE ROWS".encode()
        )
        if _used_before(connection, stage):
            run.execute(f"TRUNCATE pg_temp.{stage}".encode())
        copy(connection, f"pg_temp.{stage}", [*slots, _ORDINAL_SLOT], _numbered(chunks))
        run.execute(_upsert(table, f"pg_temp.{stage}", slots, rule).encode())


def disown(
    connection: Connection,
    table: str,
    slots: Sequence[Slot],
    chunks: Iterable[pa.RecordBatch],
    key: Sequence[str],
    row: str,
    children: Mapping[str, Sequence[str]],
) -> pa.Array:
    """As ``Dialect.disown``."""
    columns = _columns(slots)
    stage = f"_api2db_kin_{hashlib.sha1(f'{table} {columns}'.encode()).hexdigest()[:16]}"
    with cursor(connection) as run:
        run.execute(f"CREATE TEMP TABLE IF NOT EXISTS {stage} ({columns}) ON COMMIT DELETE ROWS".encode())
        if _used_before(connection, stage):
            run.execute(f"TRUNCATE pg_temp.{stage}".encode())
        copy(connection, f"pg_temp.{stage}", slots, chunks)
        sql = KinSql(quote, table, f"pg_temp.{stage}", key, row)
        for child, links in children.items():
            run.execute(sql.delete_using(child, links).encode())
        return losers(run, sql)


class Parts:
    """A stage whose rows are merged in parts: rows that the table refuses are sent once, not for every try.

    To empty and fill it for each try would take longer with each: what TRUNCATE leaves in the catalog is only
    cleared after COMMIT.
    """

    def __init__(self, connection: Connection, table: str, slots: Sequence[Slot], rule: MergeRule) -> None:
        self._connection = connection
        self._slots = slots
        self._table = table
        self._rule = rule
        with cursor(connection) as run:
            run.execute(f"DROP TABLE IF EXISTS {_PARTS}".encode())
            columns = f"{_columns(slots)}, {ORDINAL} bigint PRIMARY KEY"
            run.execute(f"CREATE TEMP TABLE {_PARTS.partition('.')[2]} ({columns}) ON COMMIT DROP".encode())

    def fill(self, chunks: Iterable[pa.RecordBatch]) -> None:
        copy(self._connection, _PARTS, [*self._slots, _ORDINAL_SLOT], chunks)

    def merge(self, first: int, last: int) -> None:
        with cursor(self._connection) as run:
            part = f"WHERE {ORDINAL} BETWEEN {first} AND {last} "
            run.execute(_upsert(self._table, _PARTS, self._slots, self._rule, part).encode())

    def close(self) -> None:
        with cursor(self._connection) as run:
            run.execute(f"DROP TABLE {_PARTS}".encode())


def _columns(slots: Sequence[Slot]) -> str:
    return ", ".join(f"{quote(slot.column)} {slot.declared}" for slot in slots)


def _used_before(connection: Connection, stage: str) -> bool:
    """Whether this transaction has filled the stage already, which COMMIT would empty: halving comes back to it."""
    transaction = connection.get_transaction()
    last, stages = connection.info.get(_STAGED, (None, set()))
    if last is not transaction:
        stages = set()
    used = stage in stages
    connection.info[_STAGED] = transaction, {*stages, stage}
    return used


def _numbered(chunks: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The chunks with the place of each row, by which the later of two rows is known."""
    start = 0
    for chunk in chunks:
        ordinals = pa.array(range(start, start + chunk.num_rows), pa.int64())
        yield pa.RecordBatch.from_arrays([*chunk.columns, ordinals], names=[*chunk.schema.names, ORDINAL])
        start += chunk.num_rows


def _upsert(table: str, stage: str, slots: Sequence[Slot], rule: MergeRule, part: str = "") -> str:
    """The newest row of each key in the stage into the table. In the key's order: daemons don't deadlock."""
    key = ", ".join(map(quote, rule.key))
    names = ", ".join(quote(slot.column) for slot in slots)
    staged = next((slot for slot in slots if slot.column == rule.version), None)
    # By code point, wherever the server was set up.
    collate = ' COLLATE "C"' if staged is not None and staged.kind is Kind.TEXT else ""
    newest = f"{quote(staged.column)}{collate} DESC NULLS LAST, " if staged is not None else ""
    sql = (
        # As COPY does: a value for an identity column is kept, also where that is GENERATED ALWAYS.
        f"INSERT INTO {quote(table)} AS stored ({names}) OVERRIDING SYSTEM VALUE "
        f"SELECT DISTINCT ON ({key}) {names} FROM {stage} {part}"
        f"ORDER BY {key}, {newest}{ORDINAL} DESC ON CONFLICT ({key}) DO "
    )
    columns = [quote(slot.column) for slot in slots if slot.column not in rule.key]
    if not columns:
        return sql + "NOTHING"
    sql += "UPDATE SET " + ", ".join(f"{column} = EXCLUDED.{column}" for column in columns)
    if rule.version is None:
        return sql
    version = quote(rule.version)
    return f"{sql} WHERE stored.{version} IS NULL OR EXCLUDED.{version} >= stored.{version}{collate}"
