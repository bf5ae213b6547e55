"""The ledger: which batches are in a database already, kept in that database and in the load's transaction.

One row per stream and batch. It is inserted first, ignoring conflicts: where an earlier transaction with the
same batch is still deciding, the insert waits for it; where it committed, the batch isn't new. So a batch is
loaded once whatever happens to the answer of a COMMIT.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Dialect,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mssql, mysql, oracle, postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import TypeEngine

from api2db.batch import Batch
from api2db.errors import RetryableError

NAME = "_api2db_ledger"

# MySQL's keys are text of limited length.
_STREAM = mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin")
_BATCH_ID = mysql.VARCHAR(64, charset="utf8mb4", collation="utf8mb4_bin")
# SQLAlchemy's own for Oracle is DATE, without a zone.
_LOADED_AT = DateTime(timezone=True).with_variant(oracle.TIMESTAMP(timezone=True), "oracle")


def _text(chars: int, in_mysql: TypeEngine[Any]) -> TypeEngine[Any]:
    """Text without a limit where that can be a key, compared by code point."""
    in_mssql = mssql.NVARCHAR(chars, collation="Latin1_General_100_BIN2")
    kept = String(chars).with_variant(Text(), "postgresql", "sqlite", "duckdb")
    return kept.with_variant(in_mysql, "mysql", "mariadb").with_variant(in_mssql, "mssql")


# In place of a batch: the stream is about to make its table, where that can't be done in a load's transaction.
_MARK = "table"
# In place of a batch, with a STORE's id: entries of its batches created before ``rows`` (nanoseconds) may be gone.
_HORIZON = "horizon "
# In place of a batch, with a digest of a column's name: from the batch created at ``rows`` (nanoseconds) on, each row
# of the stream holds its batch's id in that column.
_COLUMN = "column "

_TABLE = Table(
    NAME,
    MetaData(),
    Column("stream", _text(255, _STREAM), primary_key=True),
    Column("batch_id", _text(64, _BATCH_ID), primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("loaded_at", _LOADED_AT, nullable=False, server_default=func.current_timestamp()),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)
_CLAIM = {
    name: dialect.insert(_TABLE).on_conflict_do_nothing().returning(_TABLE.c.batch_id)
    for name, dialect in (("postgresql", postgresql), ("sqlite", sqlite))
}
# Bound parameters have a limit everywhere; SQLite's oldest is 999.
_IDS_PER_QUERY = 500
_RECEIPTS_PER_PAGE = 20_000


def ddl(dialect: Dialect) -> str:
    """The statement that creates the ledger, for a person to run where we aren't allowed to."""
    return " ".join(str(_create(dialect).compile(dialect=dialect)).split())


def _create(dialect: Dialect) -> CreateTable:
    # Of those that don't know IF NOT EXISTS, whoever comes second fails and comes again.
    return CreateTable(_TABLE, if_not_exists=dialect.name not in ("mssql", "oracle"))


def exists(connection: Connection) -> bool:
    return inspect(connection).has_table(NAME)


def create(connection: Connection) -> None:
    connection.execute(_create(connection.dialect))


def claim(connection: Connection, stream: str, batches: Sequence[Batch]) -> set[str]:
    """Enter the batches; the ids of those that weren't there.

    Waits for another transaction that has entered one of them and is still deciding.
    """
    # Always in the same order: two processes that claim the same batches wait instead of deadlocking.
    rows = {batch.batch_id: batch.table.num_rows for batch in batches}
    values = [{"stream": stream, "batch_id": name, "rows": rows[name]} for name in sorted(rows)]
    if connection.dialect.name == "mysql":
        return _claim_in_mysql(connection, values)
    if connection.dialect.name not in _CLAIM:
        return _claim_what_is_missing(connection, stream, values)
    # One batch, as most loads have, as one dictionary: SQLAlchemy's way with many costs more than the statement.
    rows_given: Any = values if len(values) > 1 else values[0]
    return set(connection.execute(_CLAIM[connection.dialect.name], rows_given).scalars())


def _claim_what_is_missing(connection: Connection, stream: str, values: list[dict[str, object]]) -> set[str]:
    """In plain SQL. Where another transaction enters a batch meanwhile the key refuses ours, which is repeated."""
    there = loaded(connection, stream, [str(value["batch_id"]) for value in values])
    new = [value for value in values if value["batch_id"] not in there]
    try:
        if new:
            connection.execute(insert(_TABLE), new)
    except IntegrityError as error:
        raise RetryableError("another process is loading one of these batches") from error
    return {str(value["batch_id"]) for value in new}


def _claim_in_mysql(connection: Connection, values: list[dict[str, object]]) -> set[str]:
    """There only the number of rows says which were new: all together, else one by one."""
    statement = mysql.insert(_TABLE).prefix_with("IGNORE")
    if len(values) > 1:
        with connection.begin_nested() as together:
            if connection.execute(statement.values(values)).rowcount == len(values):
                return {str(value["batch_id"]) for value in values}
            together.rollback()
    new = {str(value["batch_id"]) for value in values if connection.execute(statement, value).rowcount}
    # IGNORE would also hide that a row can't be entered; such a batch is neither new nor loaded.
    others = {str(value["batch_id"]) for value in values} - new
    if others - set(loaded(connection, str(values[0]["stream"]), others)):
        raise RetryableError("the ledger didn't take a batch, nor did it have it")
    return new


def mark(connection: Connection, stream: str) -> None:
    """Enter the stream itself, which ``knows`` finds from then on."""
    row = {"stream": stream, "batch_id": _MARK, "rows": 0}
    if connection.dialect.name == "mysql":
        connection.execute(mysql.insert(_TABLE).prefix_with("IGNORE").values(row))
    elif not knows(connection, stream):
        connection.execute(insert(_TABLE), row)


def knows(connection: Connection, stream: str) -> bool:
    """Whether the stream has loaded a batch, or made its table."""
    return bool(connection.execute(select(_TABLE.c.stream).where(_TABLE.c.stream == stream).limit(1)).first())


def set_rows(connection: Connection, stream: str, batch_id: str, rows: int) -> None:
    """Put right how many rows of a batch were loaded, after some went to quarantine."""
    mine = (_TABLE.c.stream == stream) & (_TABLE.c.batch_id == batch_id)
    connection.execute(update(_TABLE).where(mine).values(rows=rows))


def loaded(connection: Connection, stream: str, batch_ids: Iterable[str]) -> dict[str, int]:
    """Which of the batches the database has, with the rows that were loaded of each."""
    ids = list(batch_ids)
    found: dict[str, int] = {}
    for start in range(0, len(ids), _IDS_PER_QUERY):
        part = ids[start : start + _IDS_PER_QUERY]
        query = select(_TABLE.c.batch_id, _TABLE.c.rows).where(_TABLE.c.stream == stream, _TABLE.c.batch_id.in_(part))
        found.update((batch_id, rows) for batch_id, rows in connection.execute(query))
    return found


def release(connection: Connection, stream: str, batch_ids: Iterable[str]) -> None:
    """Take batches out: they will be loaded again."""
    ids = list(batch_ids)
    for start in range(0, len(ids), _IDS_PER_QUERY):
        part = ids[start : start + _IDS_PER_QUERY]
        connection.execute(delete(_TABLE).where(_TABLE.c.stream == stream, _TABLE.c.batch_id.in_(part)))


def count(connection: Connection, stream: str) -> int:
    """How many batches of the stream the database has."""
    of_batches = (_TABLE.c.batch_id != _MARK) & ~or_(
        *(_TABLE.c.batch_id.startswith(word) for word in (_HORIZON, _COLUMN))
    )
    query = select(func.count()).select_from(_TABLE).where(_TABLE.c.stream == stream, of_batches)
    return connection.execute(query).scalar_one()


def receipts(connection: Connection, stream: str) -> Iterator[tuple[str, int]]:
    """(batch id, rows) of each batch of the stream, by id. In pages, each a walk along the key: none is a long read."""
    newest = " "  # before any id; to Oracle an empty text is NULL
    while True:
        mine = (_TABLE.c.stream == stream) & (_TABLE.c.batch_id > newest)
        query = select(_TABLE.c.batch_id, _TABLE.c.rows).where(mine).order_by(_TABLE.c.batch_id)
        with connection.begin():
            page = connection.execute(query.limit(_RECEIPTS_PER_PAGE)).all()
        yield from ((batch_id, rows) for batch_id, rows in page if _is_batch(batch_id))
        if len(page) < _RECEIPTS_PER_PAGE:
            return
        newest = page[-1][0]


def _is_batch(name: str) -> bool:
    return name != _MARK and not name.startswith((_HORIZON, _COLUMN))


def label(connection: Connection, stream: str, column: str, created_ns: int) -> None:
    """Remember that rows of batches created at ``created_ns`` and later hold their batch's id in ``column``."""
    if labelled_since(connection, stream, column) is None:
        connection.execute(insert(_TABLE).values(stream=stream, batch_id=_label(column), rows=created_ns))


def labelled_since(connection: Connection, stream: str, column: str) -> int | None:
    """``created_ns`` of the first batch whose rows hold its id in ``column``; None where that isn't known."""
    mine = (_TABLE.c.stream == stream) & (_TABLE.c.batch_id == _label(column))
    return connection.execute(select(_TABLE.c.rows).where(mine)).scalar()


def _label(column: str) -> str:
    return _COLUMN + hashlib.sha256(column.encode()).hexdigest()[:32]


def horizon(connection: Connection, stream: str, store_id: str) -> int:
    """``created_ns`` before which entries of that STORE's batches may be gone; 0 while all are kept."""
    return _horizon(connection, stream, store_id) or 0


def _horizon(connection: Connection, stream: str, store_id: str) -> int | None:
    mine = (_TABLE.c.stream == stream) & (_TABLE.c.batch_id == _HORIZON + store_id)
    return connection.execute(select(_TABLE.c.rows).where(mine)).scalar()


def forget(connection: Connection, stream: str, store_id: str, batch_ids: Sequence[str], horizon_ns: int) -> None:
    """Remove the entries of these batches of a STORE, all older than ``horizon_ns``, and remember that."""
    known = _horizon(connection, stream, store_id)
    name = _HORIZON + store_id
    if known is None:
        connection.execute(insert(_TABLE).values(stream=stream, batch_id=name, rows=horizon_ns))
    elif known < horizon_ns:
        mine = (_TABLE.c.stream == stream) & (_TABLE.c.batch_id == name)
        connection.execute(update(_TABLE).where(mine).values(rows=horizon_ns))
    for start in range(0, len(batch_ids), _IDS_PER_QUERY):
        part = batch_ids[start : start + _IDS_PER_QUERY]
        connection.execute(delete(_TABLE).where(_TABLE.c.stream == stream, _TABLE.c.batch_id.in_(part)))
