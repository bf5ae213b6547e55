"""One execution of a poll: what it has brought so far, and how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

import pyarrow as pa

from api2db.form.shaped import StepCounts


@dataclass(frozen=True)
class End:
    """How a poll ended.

    outcome  ok, failed, abandoned, paused, stopped; or waiting: for a file its form merges, or since a server, or a
             budget, wants it later
    changed  whether it brought other rows than the poll before; of a job that watches for that
    due_s    the due time it was for, as seconds since 1970 UTC; None where nobody named one
    """

    outcome: str
    changed: bool
    due_s: int | None


class Abandoned(Exception):
    """This poll was given up while it ran; whatever it still brings is dropped."""


class RowDigest:
    """Tells rows from other rows: of tables one after the other, their schemas included."""

    def __init__(self) -> None:
        self.value = b""  # while there were none

    def add(self, table: pa.Table) -> None:
        digest = blake2b(self.value, digest_size=16)
        with pa.ipc.new_stream(_Digested(digest.update), table.schema) as stream:
            stream.write_table(table)
        self.value = digest.digest()


class _Digested:
    """A file, as far as Arrow needs one: what is written to it goes into a digest."""

    closed = False

    def __init__(self, update: Callable[[bytes], object]) -> None:
        self._update = update

    def write(self, data: bytes) -> int:
        self._update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        self.closed = True


@dataclass
class Run:
    """One poll under way. The polling thread's, but for what is said.

    started_ns    since 1970 UTC; ``started_s`` and ``item_since_s`` are monotonic seconds
    item_since_s  when the item under way was asked for; any thread reads it. What isn't the item's time is added to it
    resets        of the cursor, when this poll read it
    id            not 0 where the source yields its items one by one
    schema        of the last item, where its end is told to streams that replace
    lock          makes accepting an item and abandoning the run exclude each other
    abandoned     set by the main thread, with the lock held, as ``closed``: its end is written down
    due_s         the due time it is for, as seconds since 1970 UTC; None where nobody named one
    digest        of its rows, where it is watched whether they change
    where         what the source asks for now, as people read it; any thread reads it
    """

    started_ns: int
    started_s: float
    item_since_s: float
    resets: int = 0
    id: int = 0
    batches: int = 0
    rows: int = 0
    schema: pa.Schema | None = None
    abandoned: bool = False
    closed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    steps: StepCounts = field(default_factory=StepCounts)
    due_s: int | None = None
    digest: RowDigest = field(default_factory=RowDigest)
    where: str = ""
