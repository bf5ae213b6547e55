"""What differs from database to database: the seam under ``SqlSink``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
from sqlalchemy import URL, Connection, Engine

from api2db.errors import RetryableError, SinkError
from api2db.schema import Field, Kind
from api2db.sinks.conform import Slot
from api2db.sinks.names import NameRules

# In a connection's execution options: its transactions only read.
READS = "api2db.reads"
# A stage's column for the number of each row, counted from 1: the later of two rows wins.
ORDINAL = "_api2db_ordinal"


@dataclass(frozen=True)
class Column:
    """A column of a table as the database's catalog has it.

    kind       what it holds, as far as loading is concerned
    arrow      the exact Arrow type its loader takes; None where that depends on what arrives
    declared   the type's name in the database
    required   NOT NULL
    optional   a row may leave it out: it may be NULL, or it has a default
    max_chars  of a text column that has a limit
    generated  the database computes it and takes no value
    """

    name: str
    kind: Kind
    arrow: pa.DataType | None
    declared: str
    required: bool = False
    optional: bool = True
    max_chars: int | None = None
    generated: bool = False


@dataclass(frozen=True)
class Cause:
    """A driver's error in our words.

    error   what to do about it, as a class
    text    one line; no credentials, no rows beyond one value cut short
    advice  what a person does next; empty where repeating heals it
    lost    the connection is gone, and others to that server likely with it
    column  the one that refused a value, where the driver names it; ``text`` then begins with ``column "…": ``
    doubtful  repeated, but it may be a row's fault: the driver doesn't tell
    """

    error: type[SinkError]
    text: str
    advice: str = ""
    lost: bool = False
    column: str = ""
    doubtful: bool = False


@dataclass(frozen=True)
class MergeRule:
    """Which row wins. Columns of the table, already placed; ``version`` is None where the later row wins."""

    key: tuple[str, ...]
    version: str | None = None


def cursor(connection: Connection) -> AbstractContextManager[Any]:
    """The driver's own cursor: no parameters beside a statement, so a colon or a percent sign in a name is itself."""
    return closing(connection.connection.cursor())


def still_there(columns: tuple[Column, ...] | None) -> tuple[Column, ...]:
    """The columns of a table that was there a moment ago. Raises RetryableError where it is no more."""
    if columns is None:
        raise RetryableError("the table was dropped meanwhile")
    return columns


class Stage(Protocol):
    """Rows on their way into a merge, kept in the database until their transaction ends."""

    def fill(self, chunks: Iterable[pa.RecordBatch]) -> None:
        """Add rows; the last column of the chunks is ``ORDINAL``."""

    def merge(self, first: int, last: int) -> None:
        """As ``Dialect.merge``, the rows with these ordinals."""

    def close(self) -> None:
        """Drop it, in the same transaction."""


# Which of the rows of some chunks, whose last column is ``ORDINAL``, a database would refuse, and why each.
FindRefusals = Callable[
    [Connection, str, Sequence[Slot], Iterable[pa.RecordBatch], MergeRule | None], Iterator[tuple[int, Cause]]
]


class Dialect(Protocol):
    """One database's way. No state of its own; what a connection has learned is in ``connection.info``.

    Methods that take a connection run inside the caller's transaction and raise the driver's errors.

    ddl_commits  CREATE and ALTER commit what is open: they come before the load's transaction, not in it
    adds         what stands before a column's definition in ALTER TABLE
    seeks        rows are found by an index, so a table of children gets one by its links: else it is only in the way
    """

    name: str
    names: NameRules
    max_threads: int | None
    chunk_rows: int
    ddl_commits: bool
    adds: str
    seeks: bool

    @property
    def refusals(self) -> FindRefusals | None:
        """How rows are found that it refuses, where a transaction ends at the first error; None: by savepoints."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """The driver's exceptions, which ``cause`` knows."""

    def engine(self, url: URL, pool_size: int) -> Engine:
        """An engine whose connections commit durably. Raises ConfigError without a driver."""

    def quote(self, name: str) -> str:
        """An identifier for the driver's own cursor, without parameters beside it."""

    def target(self, url: URL) -> str:
        """Where ``url`` leads, without credentials."""

    def cause(self, error: BaseException) -> Cause:
        """The one place that reads this driver's errors."""

    def reading(self, url: URL) -> URL:
        """The URL of connections that only read."""

    def is_there(self, url: URL) -> bool:
        """False where connecting would make the database."""

    def is_missing_database(self, error: BaseException, url: URL) -> bool:
        """Whether connecting failed because there is no such database yet."""

    def create_database(self, url: URL) -> None:
        """Create it; no error if someone else just did. Raises FatalError where that isn't allowed."""

    def declare(self, field: Field, key_columns: int = 0) -> str:
        """The type of a column we create for ``field``; in a key, of so many columns."""

    def table_options(self, connection: Connection | None) -> str:
        """What follows the columns of a table we create. Without a connection: as far as it depends on no server."""

    def define(self, connection: Connection | None, table: str, name: str, field: Field, key_columns: int = 0) -> str:
        """Name and type of a column we create, as CREATE TABLE or ALTER TABLE take it; ``key_columns`` as before.

        Without a connection: of a table that isn't there yet.
        """

    def mark(self, table: str, columns: Sequence[str]) -> Sequence[str]:
        """Statements by which ``made`` knows the integer columns we have created; none where ``define`` marks them."""

    def made(self, connection: Connection, table: str, column: str) -> bool:
        """Whether we created this integer column: only then may it widen."""

    def slot(self, column: Column, field: Field) -> Slot:
        """How ``field`` is loaded into ``column``."""

    def columns(self, connection: Connection, table: str) -> tuple[Column, ...] | None:
        """What the catalog says now; None without such a table."""

    def lock_columns(self, connection: Connection, table: str) -> tuple[Column, ...]:
        """What the catalog says, and goes on saying until this transaction ends."""

    def lock_schema(self, connection: Connection, table: str) -> None:
        """Keep other daemons from creating or altering ``table`` until this transaction ends."""

    def widen(self, table: str, column: str) -> Sequence[str]:
        """The statements that make an integer column a floating one, values kept."""

    def has_unique(self, connection: Connection, table: str, key: Sequence[str]) -> bool:
        """Whether exactly these columns are unique, so that a merge can find its row."""

    def begin_careful(self, connection: Connection) -> None:
        """From here on every refusal shows at its own statement, not at COMMIT."""

    def append(
        self, connection: Connection, table: str, slots: Sequence[Slot], chunks: Iterable[pa.RecordBatch]
    ) -> None:
        """Insert the chunks, whose columns have the slots' types."""

    def merge(
        self,
        connection: Connection,
        table: str,
        slots: Sequence[Slot],
        chunks: Iterable[pa.RecordBatch],
        rule: MergeRule,
    ) -> None:
        """Insert or update by key; later rows of ``chunks`` win ties."""

    def stage(self, connection: Connection, table: str, slots: Sequence[Slot], rule: MergeRule) -> Stage | None:
        """An empty stage for a merge in parts; None where ``merge`` itself takes parts at no cost."""

    def disown(
        self,
        connection: Connection,
        table: str,
        slots: Sequence[Slot],
        chunks: Iterable[pa.RecordBatch],
        key: Sequence[str],
        row: str,
        children: Mapping[str, Sequence[str]],
    ) -> pa.Array:
        """Of rows that were merged, of which the chunks have ``key`` and ``row``: which aren't in the table now?

        By ``row``, which names each of them. Rows of the tables of ``children`` that have the others' keys, in the
        columns given, are deleted.
        """
