"""The seam between delivery and a place: what every sink promises."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import pyarrow as pa

from api2db.batch import Batch, Receipt

if TYPE_CHECKING:
    from api2db.sinks.engines import Engines


class Quarantine(Protocol):
    """Keeps rows that can never load. Durable when it returns; calling it again for a batch replaces the file."""

    def __call__(self, batch: Batch, rows: pa.Table, reasons: Sequence[str], at: Sequence[int] | None = None) -> None:
        """Keep ``rows`` of ``batch``, one reason each.

        at  where they are in its table; None where nobody can tell
        """


class Sink(Protocol):
    """A place. Used by one thread at a time; raises only the errors under ``SinkError``.

    stream         this stream's identity in the ledger, ``<collector>/<stream directory>``
    target         the place's identity for people and for limits: no credentials in it
    server         what has the limits on threads: the same for all tables of one database
    remembers      the place knows which batches it has: one that comes back after a power cut does no harm
    ordered        a younger batch must not overtake an older one
    replaces       what one poll brings replaces what is there: ``load`` is given all of it at once
    max_threads    how many streams may load into this target at once; None leaves it to the settings
    """

    stream: str
    remembers: bool

    @property
    def target(self) -> str: ...

    @property
    def server(self) -> str: ...

    @property
    def ordered(self) -> bool: ...

    @property
    def replaces(self) -> bool: ...

    @property
    def max_threads(self) -> int | None: ...

    def connect(self) -> None:
        """Reach the place, or raise RetryableError or FatalError. Cheap when already connected."""

    def load(self, batches: Sequence[Batch], quarantine: Quarantine) -> list[Receipt]:
        """Load the batches, oldest first, in one transaction; one receipt each, in the same order.

        Idempotent per batch id. On any error nothing of the call is in the place, unless an earlier
        COMMIT's answer was lost: the next call then answers ``duplicate``. Rows the place can't take are
        handed to ``quarantine`` before the rest commits.
        """

    def publish(self, batches: Sequence[Batch]) -> None:
        """Make visible what ``load`` prepared, after the shards are gone. Files need it; databases don't."""

    def close(self) -> None:
        """Give connections back. The sink may be used again afterwards."""


@runtime_checkable
class Ledgered(Protocol):
    """A sink whose place keeps a ledger of batches, and can be asked without anything being made or changed there.

    Raises the errors under ``SinkError``.
    """

    def receipts(self) -> Generator[tuple[str, int], None, None]:
        """(batch id, rows loaded) of every batch of the stream, sorted by id; holds some thousands at a time."""

    def loaded(self, batch_ids: Sequence[str]) -> dict[str, int]:
        """Which of the batches the ledger has, with the rows that were loaded of each. Any thread."""

    def horizon(self) -> int:
        """``created_ns`` before which the ledger may have forgotten batches; 0 while it has them all. Any thread."""


@runtime_checkable
class Forgetful(Protocol):
    """A sink whose ledger can be made to forget, once somebody else remembers.

    horizon_ns  as of the last ``connect``: a batch created before it may be in without the ledger knowing
    """

    @property
    def horizon_ns(self) -> int: ...

    def forget(self, batch_ids: Sequence[str], horizon_ns: int) -> None:
        """Remove entries of batches that are all older than ``horizon_ns``, and move the horizon there, in one
        transaction. Any thread."""


@dataclass(frozen=True)
class Limits:
    """What one load may hold: rows, bytes in memory, batches. A single larger batch is a load by itself."""

    rows: int
    size: int
    shards: int


@runtime_checkable
class Paced(Protocol):
    """A sink that may be loaded only so often, and takes more at a time instead."""

    @property
    def limits(self) -> Limits: ...

    def wait_s(self) -> float:
        """Seconds until it may be loaded again. Any thread."""


@runtime_checkable
class Recountable(Protocol):
    """A sink whose rows can say which batch they came with."""

    def recounted(self) -> Generator[tuple[str, int], None, None] | None:
        """(batch id, rows) as they are in the table itself; None where the rows don't carry it."""

    def counted_since(self) -> int | None:
        """``created_ns`` of the first batch whose rows carry it; None where nobody remembers."""


@runtime_checkable
class Filed(Protocol):
    """A sink that writes files, and can look whether a batch's is there."""

    def published(self, created_ns: int) -> bool | None:
        """Whether the batch is in its file, or its file on the way; None where nothing tells any more."""

    def rows_in_file(self, created_ns: int) -> int | None:
        """The rows of the batch's own file, counted there; None where that can't be told."""


@runtime_checkable
class Traceable(Protocol):
    """A sink that can tell which batches its place has."""

    def lacks(self, shards: Mapping[int, str]) -> set[int]:
        """Of shards (``created_ns`` -> batch id) those that aren't there. Raises SinkError."""


@runtime_checkable
class NewestWins(Protocol):
    """A sink whose merges let the later batch win, so that order matters where nothing else does."""

    newest_wins: bool

    def release(self, batch_ids: Sequence[str]) -> None:
        """Have these loaded again when they come again."""


@runtime_checkable
class NewerWins(Protocol):
    """A sink that may merge by a version: what is older than what is there changes nothing, whenever it comes."""

    newer_wins: bool


@runtime_checkable
class Renewing(Protocol):
    """A target whose way in is in a file, which may have been mended since it was read."""

    def renewed(self) -> Target:
        """The same target, with the file read anew. Raises ConfigError."""


@runtime_checkable
class Removable(Protocol):
    """A sink that can take batches out that are there, so that they are loaded again when they come again."""

    def may_take_out(self, batch_ids: Sequence[str]) -> None:
        """Changes nothing. Raises ConfigError where nobody can tell which rows are theirs, SinkError."""

    def take_out(self, batch_ids: Sequence[str]) -> None:
        """Remove them, in one transaction; where that is better, their rows are replaced once they come."""


@runtime_checkable
class Renewable(Protocol):
    """A sink whose way in may change while it runs: another user, another password."""

    def go_in_as(self, other: Sink) -> bool:
        """Use the credentials of ``other``, a sink of the same place, from now on; whether they are others."""


@runtime_checkable
class Sketching(Protocol):
    """A sink that can say what its first load would make, without reaching its place."""

    def sketch(self, batch: Batch) -> list[str]:
        """A line each, where nothing is there yet; none where no value has a type yet. Raises ConfigError."""


@dataclass(frozen=True)
class Placement:
    """Where a stream stands in a process: what its sink needs to know beyond its own parameters.

    stream   the stream's identity in ledgers, ``<collector>/<stream directory>``
    store    STORE's folder
    staging  the stream's queue directory
    parked   the directory of its shards that failed to upload
    project  the folder relative paths are against
    store_id random, STORE's own: ledgers know by it whose batches they have forgotten
    engines  database connections, shared by all streams of the process; None: the sink has its own
    durable  flush what is written
    """

    stream: str
    store: Path
    staging: Path
    parked: Path
    project: Path
    engines: Engines | None = None
    durable: bool = True
    store_id: str = ""


class Target(Protocol):
    """What a collector's list of streams holds: something with a type and a target that can make its sink."""

    stream_type: str

    def target(self, project: Path, store: Path) -> str:
        """The place's identity, without credentials: two streams of one type differ in it."""

    def sink(self, placement: Placement) -> Sink:
        """The sink, ready for ``connect``. Starts nothing."""
