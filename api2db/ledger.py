"""The ledger: which batches are in a database already, kept in that database and in the load's transaction.

One row per stream and batch. It is inserted first, ignoring conflicts: where an earlier transaction with the
same batch is still deciding, the insert waits for it; where it committed, the batch isn't new. So a batch is
loaded once whatever happens to the answer of a COMMIT.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Dialect,
    MetaData,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateTable

from api2db.batch import Batch
from api2db.errors import RetryableError

NAME = "_api2db_ledger"

# MySQL's keys are text of limited length.
_STREAM = mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin")
_BATCH_ID = mysql.VARCHAR(64, charset="utf8mb4", collation="utf8mb4_bin")
# In place of a batch: the stream is about to make its table, where that can't be done in a load's transaction.
_MARK = "table"
# In place of a batch, with a STORE's id: entries of its batches created before ``rows`` (nanoseconds) may be gone.
_HORIZON = "horizon "

_TABLE = Table(
    NAME,
    MetaData(),
    Column("stream", Text().with_variant(_STREAM, "mysql"), primary_key=True),
    Column("batch_id", Text().with_variant(_BATCH_ID, "mysql"), primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("loaded_at", DateTime(timezone=True), nullable=False, server_default=func.current_timestamp()),
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
    return " ".join(str(CreateTable(_TABLE, if_not_exists=True).compile(dialect=dialect)).split())


def exists(connection: Connection) -> bool:
    return inspect(connection).has_table(NAME)


def create(connection: Connection) -> None:
    connection.execute(CreateTable(_TABLE, if_not_exists=True))


def claim(connection: Connection, stream: str, batches: Sequence[Batch]) -> set[str]:
    """Enter the batches; the ids of those that weren't there.

    Waits for another transaction that has entered one of them and is still deciding.
    """
    # Always in the same order: two processes that claim the same batches wait instead of deadlocking.
    rows = {batch.batch_id: batch.table.num_rows for batch in batches}
    values = [{"stream": stream, "batch_id": name, "rows": rows[name]} for name in sorted(rows)]
    if connection.dialect.name == "mysql":
        return _claim_in_mysql(connection, values)
    # One batch, as most loads have, as one dictionary: SQLAlchemy's way with many costs more than the statement.
    rows_given: Any = values if len(values) > 1 else values[0]
    return set(connection.execute(_CLAIM[connection.dialect.name], rows_given).scalars())


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
    ignoring = _CLAIM.get(connection.dialect.name, mysql.insert(_TABLE).prefix_with("IGNORE"))
    connection.execute(ignoring, {"stream": stream, "batch_id": _MARK, "rows": 0})


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
    of_batches = (_TABLE.c.batch_id != _MARK) & ~_TABLE.c.batch_id.startswith(_HORIZON)
    query = select(func.count()).select_from(_TABLE).where(_TABLE.c.stream == stream, of_batches)
    return connection.execute(query).scalar_one()


def receipts(connection: Connection, stream: str) -> Iterator[tuple[str, int]]:
    """(batch id, rows) of each batch of the stream, by id. In pages, each a walk along the key: none is a long read."""
    newest = ""
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
    return name != _MARK and not name.startswith(_HORIZON)


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
