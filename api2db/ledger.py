"""The ledger: which batches are in a database already, kept in that database and in the load's transaction.

One row per stream and batch. It is inserted first, ignoring conflicts: where an earlier transaction with the
same batch is still deciding, the insert waits for it; where it committed, the batch isn't new. So a batch is
loaded once whatever happens to the answer of a COMMIT.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    func,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from api2db.batch import Batch

NAME = "_api2db_ledger"

_TABLE = Table(
    NAME,
    MetaData(),
    Column("stream", Text, primary_key=True),
    Column("batch_id", Text, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("loaded_at", DateTime(timezone=True), nullable=False, server_default=func.current_timestamp()),
)
_CLAIM = {
    name: dialect.insert(_TABLE).on_conflict_do_nothing().returning(_TABLE.c.batch_id)
    for name, dialect in (("postgresql", postgresql), ("sqlite", sqlite))
}
# Bound parameters have a limit everywhere; SQLite's oldest is 999.
_IDS_PER_QUERY = 500


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
    # One batch, as most loads have, as one dictionary: SQLAlchemy's way with many costs more than the statement.
    rows_given: Any = values if len(values) > 1 else values[0]
    return set(connection.execute(_CLAIM[connection.dialect.name], rows_given).scalars())


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


def count(connection: Connection, stream: str) -> int:
    """How many batches of the stream the database has."""
    query = select(func.count()).select_from(_TABLE).where(_TABLE.c.stream == stream)
    return connection.execute(query).scalar_one()
