"""``SqlSink``: batches into one table of a database, each exactly once. The choreography, written once.

One ``load`` is one transaction: ledger rows first, then the table made to fit, rows checked in columns against
the catalog, the bulk load, quarantine, COMMIT. What differs between databases is behind ``Dialect``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from enum import Enum

import pyarrow as pa
from sqlalchemy import URL, ColumnClause, Connection, TableClause, column, delete, func, select, table
from sqlalchemy.sql import quoted_name

from api2db import ledger
from api2db.batch import Batch, Receipt
from api2db.children import ROW
from api2db.errors import ConfigError, FatalError
from api2db.failpoint import reach
from api2db.sinks.base import Quarantine, Sink
from api2db.sinks.connections import Connections
from api2db.sinks.dialect import Dialect
from api2db.sinks.doubts import Doubts
from api2db.sinks.engines import Engines
from api2db.sinks.family import ChildrenRefused, Family, Spared, families, goals_of, tables_of
from api2db.sinks.fitting import Goal, creation_of, forget, missing
from api2db.sinks.group import Group
from api2db.sinks.names import place
from api2db.sinks.transaction import NothingLoadable, TableWork, receipts

log = logging.getLogger(__name__)

_GROUPS_AT_ONCE = 10_000
_LEDGER_READY = "api2db.ledger"


class IfExists(Enum):
    """What to do about what is in the table: add to it, replace it, or refuse a table that isn't the stream's own."""

    APPEND = "append"
    REPLACE = "replace"
    FAIL = "fail"

    @classmethod
    def parse(cls, text: str) -> IfExists:
        try:
            return cls(text)
        except ValueError:
            choices = ", ".join(f'"{choice.value}"' for choice in cls)
            raise ConfigError(f'if_exists="{text}" is none of {choices}') from None


def dialect_of(url: URL) -> Dialect:
    """The dialect of a URL. Raises ConfigError, naming the choices, for one that isn't supported."""
    # Imported here: a project that doesn't use a database doesn't load its module.
    name = url.get_backend_name()
    if name == "sqlite":
        from api2db.sinks.sqlite import SQLite

        return SQLite()
    if name == "postgresql":
        from api2db.sinks.postgresql import PostgreSQL

        return PostgreSQL()
    if name in ("mysql", "mariadb"):
        from api2db.sinks.mysql import MySQL

        return MySQL()
    if name == "duckdb":
        from api2db.sinks.duckdb import DuckDB

        return DuckDB()
    from api2db.sinks.generic import Generic

    return Generic(url)


class SqlSink:
    """A table as a ``Sink``. Used by one thread at a time; sinks share connections through ``engines``.

    stream      this stream's identity in the ledger
    key         columns that identify a row: with them a load is a merge, without it appends
    version     column whose highest value wins within a key; without it the later batch wins
    if_exists   "append"; "replace": what one poll brings takes the place of all rows, in one transaction;
                "fail" for a table that was there before this stream's first load
    engines     the process's connections; a sink made without them has its own, and closes them
    chunk_size  rows sent to the database at once; 0 leaves it to the sink
    batch_column  a column that is added to each row, with the id of its batch; where rows are appended
    dialect     another than the url's own, such as ``sinks.generic.Generic``
    store_id    of the STORE whose batches it loads
    horizon_ns  batches of that STORE created before it may be in although the ledger doesn't know; see ``connect``

    Raises ConfigError for a dialect, an option or a combination of them that can't work.
    """

    remembers = True  # in its ledger

    def __init__(
        self,
        *,
        stream: str,
        url: URL,
        table: str,
        key: Sequence[str] = (),
        version: str | None = None,
        if_exists: str = "append",
        engines: Engines | None = None,
        chunk_size: int = 0,
        store_id: str = "",
        batch_column: str | None = None,
        dialect: Dialect | None = None,
    ) -> None:
        if isinstance(key, str):
            key = (key,)
        if version is not None and not key:
            raise ConfigError(f'version="{version}" says which row of a key wins: it needs key="…" too')
        if chunk_size < 0:
            raise ConfigError(f"chunk_size={chunk_size} is a number of rows: 0 leaves it to the sink")
        self.stream = stream
        self.horizon_ns = 0
        self._store_id = store_id
        self._dialect = dialect or dialect_of(url)
        name = self._dialect.names.legal(table)
        if name == ledger.NAME:
            raise ConfigError(f'table="{table}" is where the ledger is; choose another name')
        self._goal = Goal(name, tuple(key), version, chunk_size or self._dialect.chunk_rows)
        self._if_exists = IfExists.parse(if_exists)
        if batch_column is not None and (key or self.replaces):
            raise ConfigError(f'batch_column="{batch_column}" is for rows that are appended: not with key or replace')
        self._batch_column = batch_column
        self._connections = Connections(stream, name, url, self._dialect, engines)
        self._doubts = Doubts()

    @property
    def target(self) -> str:
        return f"{self._dialect.target(self._connections.url)}/{self._goal.table}"

    @property
    def server(self) -> str:
        return self._dialect.target(self._connections.url)

    @property
    def ordered(self) -> bool:
        return bool(self._goal.key) or self.replaces

    @property
    def replaces(self) -> bool:
        return self._if_exists is IfExists.REPLACE

    @property
    def max_threads(self) -> int | None:
        return self._dialect.max_threads

    def sketch(self, batch: Batch) -> list[str]:
        lines: list[str] = []
        for goal, groups in goals_of(families([self._labelled(batch)], self._goal), self._goal, self._dialect):
            made = creation_of(self._dialect, goal, missing(self._dialect, (), groups, goal), None)
            if made is not None:
                parts = [f"  {part}" for part in made.parts]
                lines += [f"{made.head} (", *(f"{part}," for part in parts[:-1]), parts[-1], f"){made.tail}"]
        return lines

    def connect(self) -> None:
        """Reach the database, creating it and the ledger where they are missing; read the ledger's horizon."""
        with self._connections.to_load() as connection, connection.begin():
            self.horizon_ns = ledger.horizon(connection, self.stream, self._store_id)

    def load(self, batches: Sequence[Batch], quarantine: Quarantine) -> list[Receipt]:
        if not batches:
            return []
        batches = [self._labelled(batch) for batch in batches]
        with self._connections.to_load() as connection:
            try:
                answers = self._load_or_look(connection, batches, quarantine)
            except self._dialect.errors as error:
                if self._dialect.cause(error).doubtful:
                    self._doubts.failed(batches[0].batch_id)
                raise
            reach("sink.committed")
        self._doubts.loaded(batches[0].batch_id)
        return answers

    def publish(self, batches: Sequence[Batch]) -> None:
        """Nothing to do: COMMIT made the rows visible."""

    def close(self) -> None:
        self._connections.close()

    def go_in_as(self, other: Sink) -> bool:
        return isinstance(other, SqlSink) and self._connections.go_in_by(other._connections.url)

    @property
    def newest_wins(self) -> bool:
        """A merge in which the batch that comes later wins: an older one must not be loaded after a younger."""
        return bool(self._goal.key) and self._goal.version is None

    @property
    def newer_wins(self) -> bool:
        """A merge by a version, which may be given older rows again."""
        return self._goal.version is not None and not self.replaces

    def lacks(self, shards: Mapping[int, str]) -> set[int]:
        """Which of the shards (``created_ns`` -> batch id) aren't in the ledger."""
        there = self.loaded(list(shards.values()))
        return {created_ns for created_ns, batch_id in shards.items() if batch_id not in there}

    def release(self, batch_ids: Sequence[str]) -> None:
        """Take batches out of the ledger, so that they are loaded again. For merges, which change nothing then."""
        with self._connections.to_load() as connection, connection.begin():
            ledger.release(connection, self.stream, batch_ids)

    def may_take_out(self, batch_ids: Sequence[str]) -> None:
        """Raises ConfigError where the rows don't say which batch they came with, or may have come before they did."""
        if self._goal.key:
            return  # merged again, they find their rows
        if self._batch_column is None or self.replaces:
            raise ConfigError(
                f"stream {self.stream}: its rows don't say which batch they came with (batch_column), so they can't be"
                f" taken out to be loaded again: poll again where each poll replaces the table; else delete them"
                f" yourself, and the batch's line in {ledger.NAME}, in one transaction, then: api2db replay"
            )
        with self._connections.to_load() as connection, connection.begin():
            columns = self._dialect.columns(connection, self._goal.table)
            if columns is None:
                return  # the table is gone
            if ROW in {column.name for column in columns}:
                raise ConfigError(
                    f"stream {self.stream}: its rows have children in other tables, which aren't taken out with them:"
                    f" delete both yourself, by {ROW}, which begins with the batch's id, and the batch's line in"
                    f" {ledger.NAME}, in one transaction, then: api2db replay"
                )
            rows = self._labels(connection, self._batch_column)
            for batch_id in batch_ids:
                if rows is not None:
                    one, there = rows
                    some = select(one).select_from(there).limit(1)
                    if connection.execute(some.where(one == batch_id)).first() is not None:
                        continue
                    if connection.execute(some.where(one.is_(None))).first() is None:
                        continue  # all of its rows are gone
                raise ConfigError(
                    f"stream {self.stream}: no row says that it is of batch {batch_id}, and there are rows that say"
                    f" nothing: nobody can tell whether its rows are among those, of before {self._batch_column}"
                )

    def take_out(self, batch_ids: Sequence[str]) -> None:
        """Remove the batches' rows and their entries in the ledger; of a merge the entries alone."""
        with self._connections.to_load() as connection, connection.begin():
            name = None if self._goal.key else self._batch_column
            rows = None if name is None else self._labels(connection, name)
            if rows is not None:
                one, there = rows
                for batch_id in batch_ids:
                    connection.execute(delete(there).where(one == batch_id))
            ledger.release(connection, self.stream, batch_ids)

    def _labels(self, connection: Connection, batch_column: str) -> tuple[ColumnClause[str], TableClause] | None:
        """The column that holds the batches' ids, and its table; None where there is none."""
        columns = self._dialect.columns(connection, self._goal.table) or ()
        name = place([batch_column], {each.name: each for each in columns}, self._dialect.names)[batch_column]
        if name not in {each.name for each in columns}:
            return None
        one: ColumnClause[str] = column(quoted_name(name, True))
        return one, table(quoted_name(self._goal.table, True), one)

    def loaded(self, batch_ids: Sequence[str]) -> dict[str, int]:
        """Which of the batches the ledger has, with the rows that were loaded of each. Makes nothing."""
        with self._connections.to_read() as connection:
            if connection is None:
                return {}
            with connection.begin():
                return ledger.loaded(connection, self.stream, batch_ids)

    def recounted(self) -> Generator[tuple[str, int], None, None] | None:
        """(batch id, rows) in the table, by the column that holds the id; None without one. Makes nothing."""
        return None if self._batch_column is None else self._recounted(self._batch_column)

    def counted_since(self) -> int | None:
        """``created_ns`` of the first batch whose rows hold its id; None where that isn't known. Makes nothing."""
        with self._connections.to_read() as connection:
            if connection is None or self._batch_column is None:
                return None
            with connection.begin():
                return ledger.labelled_since(connection, self.stream, self._batch_column)

    def _recounted(self, batch_column: str) -> Generator[tuple[str, int], None, None]:
        with self._connections.to_read() as connection:
            if connection is None:
                return
            with connection.begin():
                found = self._labels(connection, batch_column)
                if found is None:
                    return
                one, there = found
                rows = select(one, func.count()).select_from(there)
                streamed = connection.execution_options(stream_results=True, yield_per=_GROUPS_AT_ONCE)
                for batch_id, count in streamed.execute(rows.where(one.is_not(None)).group_by(one)):
                    yield str(batch_id), count

    def _labelled(self, batch: Batch) -> Batch:
        """The batch with its id beside each row."""
        if self._batch_column is None:
            return batch
        if self._batch_column in batch.table.column_names:
            raise FatalError(f"the rows have a column {self._batch_column} already: choose another batch_column")
        ids = pa.repeat(pa.scalar(batch.batch_id, pa.string()), batch.table.num_rows)
        return replace(batch, table=batch.table.append_column(self._batch_column, ids))

    def horizon(self) -> int:
        """``created_ns`` before which the ledger may have forgotten batches. Makes nothing."""
        with self._connections.to_read() as connection:
            if connection is None:
                return 0
            with connection.begin():
                return ledger.horizon(connection, self.stream, self._store_id)

    def forget(self, batch_ids: Sequence[str], horizon_ns: int) -> None:
        """Remove entries from the ledger, and move its horizon, in one transaction."""
        with self._connections.to_load() as connection, connection.begin():
            ledger.forget(connection, self.stream, self._store_id, batch_ids, horizon_ns)

    def receipts(self) -> Generator[tuple[str, int], None, None]:
        """(batch id, rows) of each batch in the ledger, by id; none where there is no ledger. Makes nothing."""
        with self._connections.to_read() as connection:
            if connection is not None:
                yield from ledger.receipts(connection, self.stream)

    def count(self) -> int:
        """How many batches of this stream the ledger has."""
        with self._connections.to_load() as connection, connection.begin():
            return ledger.count(connection, self.stream)

    def _load_or_look(self, connection: Connection, batches: Sequence[Batch], quarantine: Quarantine) -> list[Receipt]:
        """Load at once; where the database refuses that because of rows, look for them."""
        doubt = self._doubts.of(batches[0].batch_id)
        try:
            return self._load(connection, batches, quarantine, TableWork.load)
        except self._dialect.errors as error:
            if not doubt.blames_rows(self._dialect.cause(error)):
                raise
        forget(connection)
        log.info("batch refused by the database, looking for the rows stream=%s", self.stream)
        return self._load(connection, batches, quarantine, lambda work, one: work.load_carefully(one, doubt))

    def _load(
        self,
        connection: Connection,
        batches: Sequence[Batch],
        quarantine: Quarantine,
        load: Callable[[TableWork, Group], None],
    ) -> list[Receipt]:
        spared: Spared = {}
        clears = self.replaces
        while True:
            try:
                return self._transaction(connection, batches, quarantine, load, clears=clears, spared=spared)
            except NothingLoadable:
                clears = False
            except ChildrenRefused as refused:
                spared = refused.rows
            forget(connection)

    def _transaction(
        self,
        connection: Connection,
        batches: Sequence[Batch],
        quarantine: Quarantine,
        load: Callable[[TableWork, Group], None],
        *,
        clears: bool,
        spared: Spared,
    ) -> list[Receipt]:
        work = Family(connection, self._dialect, self._goal)
        if self._dialect.ddl_commits:
            self._fit_first(connection, work, batches)
        with connection.begin():
            if self.replaces:
                # One after the other: a DELETE sees nothing of a replacement that commits while it waits for its rows.
                self._dialect.lock_schema(connection, self._goal.table)
            self._check_owner(connection, batches)
            new = ledger.claim(connection, self.stream, batches)
            reach("sink.ledger")
            once = {batch.batch_id: batch for batch in batches if batch.batch_id in new}
            if self._batch_column is not None and once:
                first_ns = min(batch.created_ns for batch in once.values())
                ledger.label(connection, self.stream, self._batch_column, first_ns)
            groups = families(list(once.values()), self._goal)
            if groups:
                work.prepare(groups)
                if clears:
                    work.clear()
                for one in groups:
                    work.load(one, load, spared)
                if clears and all(one.is_refused for one in groups):
                    work.keep_old()
                for one in groups:
                    self._keep_refused(connection, one, quarantine)
            reach("sink.loaded")
            known = [batch.batch_id for batch in batches if batch.batch_id not in new]
            return receipts(batches, ledger.loaded(connection, self.stream, known), groups)

    def _fit_first(self, connection: Connection, work: Family, batches: Sequence[Batch]) -> None:
        """The table made to fit in a step of its own, where DDL would commit the load's transaction half-way."""
        groups = families(batches, self._goal)
        if self._if_exists is not IfExists.FAIL and work.fits(groups):
            return
        with connection.begin():
            self._check_owner(connection, batches)
            if self._if_exists is IfExists.FAIL and not ledger.knows(connection, self.stream):
                # Killed before the first load, the next one finds that the table is ours.
                ledger.mark(connection, self.stream)
            work.fit(groups)

    def _keep_refused(self, connection: Connection, one: Group, quarantine: Quarantine) -> None:
        for batch, rows, reasons in one.refused_by_batch():
            # The batch's own rows, as they came: what is replayed later is what arrived.
            came = batch.table if self._batch_column is None else batch.table.drop_columns([self._batch_column])
            quarantine(batch, came.take(pa.array(rows, pa.int64())), reasons, rows)
            ledger.set_rows(connection, self.stream, batch.batch_id, batch.table.num_rows - len(rows))

    def _check_owner(self, connection: Connection, batches: Sequence[Batch]) -> None:
        """With if_exists="fail": the tables are ours if they aren't there yet or the ledger knows this stream."""
        if self._if_exists is not IfExists.FAIL or ledger.knows(connection, self.stream):
            return
        for name in tables_of(families(batches, self._goal), self._goal, self._dialect.names):
            if self._dialect.columns(connection, name) is not None:
                which = "" if name == self._goal.table else f" {name}"
                raise FatalError(
                    f'the table{which} was there before this stream\'s first load and if_exists="fail"; '
                    'drop or rename the table, or set if_exists="append"'
                )
