"""A stream whose class has its own ``stream(data)``: it is called with each batch, as a frame, and delivers it.

What it hands to ``super().stream(changed)`` is loaded after it returns, in one transaction and under the batch's
own id: once, whatever is killed. What it does itself is done at least once: it is called again for a batch whose
receipt was lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from api2db.batch import Batch, Receipt
from api2db.errors import Api2dbError, FatalError, RetryableError, SinkError
from api2db.form.tables import from_frame
from api2db.formats import frame_of
from api2db.runtime.delivery import GROUP, limits_of
from api2db.secret import redact
from api2db.sinks.base import (
    Forgetful,
    Limits,
    NewestWins,
    Paced,
    Placement,
    Quarantine,
    Renewable,
    Sink,
    Sketching,
    Traceable,
)

if TYPE_CHECKING:
    from api2db.stream.stream import Stream

_under_way: ContextVar[tuple[object, list[pa.Table]] | None] = ContextVar("_under_way", default=None)


def is_overridden(stream: Stream) -> bool:
    """Whether ``stream(data)`` is of a class that isn't ours."""
    owner = next(each for each in type(stream).__mro__ if "stream" in vars(each))
    return not owner.__module__.startswith("api2db.")


def hand_over(stream: Stream, data: pd.DataFrame) -> bool:
    """Inside a delivery of this very stream: take the frame for it. False elsewhere. Raises ShapeError."""
    handed = _under_way.get()
    if handed is None or handed[0] is not stream:
        return False
    handed[1].append(from_frame(data).table)
    return True


@contextmanager
def _delivering(stream: Stream) -> Iterator[list[pa.Table]]:
    tables: list[pa.Table] = []
    token = _under_way.set((stream, tables))
    try:
        yield tables
    finally:
        _under_way.reset(token)


class Overridden:
    """The target of such a stream: the place of the class it extends, or none."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.stream_type = stream.stream_type

    def target(self, project: Path, store: Path) -> str:
        if not self._stream.has_place:
            return f"{type(self._stream).__module__}.{type(self._stream).__qualname__}"
        return self._stream.target(project, store)

    def sink(self, placement: Placement) -> Sink:
        inner = self._stream.sink(placement) if self._stream.has_place else None
        target = self.target(placement.project, placement.store)
        return OverriddenSink(self._stream, placement.stream, target, inner)


class AsItIs:
    """The same place for frames that its ``stream`` has handed on already, outside a delivery: a stream beside it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.stream_type = stream.stream_type

    def target(self, project: Path, store: Path) -> str:
        return f"{self._stream.target(project, store)} as handed on"

    def sink(self, placement: Placement) -> Sink:
        return self._stream.sink(placement)


class OverriddenSink:
    """Calls ``stream(frame)`` for each batch; what that hands on goes to ``inner``, the place it extends."""

    def __init__(self, stream: Stream, name: str, target: str, inner: Sink | None) -> None:
        self.stream = name
        self._called = stream
        self._inner = inner
        self.target = target
        self.server = target if inner is None else inner.server
        self.remembers = inner is not None and inner.remembers
        # In order: user code may well count on it.
        self.ordered = True
        self.replaces = inner is not None and inner.replaces
        self.max_threads: int | None = 1 if inner is None else inner.max_threads
        # What ``stream`` made of batches that aren't in yet: it isn't called again because a later one failed.
        self._changed: dict[str, pa.Table | None] = {}
        self._handed: list[Batch] = []  # what the inner sink has loaded and not published

    def sketch(self, batch: Batch) -> list[str]:
        """Its ``stream`` isn't called: what that does nobody knows beforehand."""
        line = f"{type(self._called).__name__}.stream(data) is called with each batch; what it hands on may differ"
        return [line, *(self._inner.sketch(batch) if isinstance(self._inner, Sketching) else [])]

    def connect(self) -> None:
        if self._inner is not None:
            self._inner.connect()

    def load(self, batches: Sequence[Batch], quarantine: Quarantine) -> list[Receipt]:
        for batch in batches:
            if batch.batch_id not in self._changed:
                self._changed[batch.batch_id] = self._call(batch)
        # What ends a poll has no rows, and the columns of before ``stream`` changed them.
        handed = [
            replace(batch, table=table)
            for batch in batches
            if not batch.ends and (table := self._changed[batch.batch_id]) is not None
        ]
        loaded: dict[str, Receipt] = {}
        if self._inner is not None and handed:

            def keep(batch: Batch, rows: pa.Table, reasons: Sequence[str], at: Sequence[int] | None = None) -> None:
                quarantine(
                    batch, rows, reasons
                )  # where they are in what was handed on isn't where they are in the batch

            loaded = {receipt.batch_id: receipt for receipt in self._inner.load(handed, keep)}
        self._handed = handed
        self._changed.clear()
        # What isn't handed on is wherever ``stream`` has put it.
        return [loaded.get(batch.batch_id) or Receipt(batch.batch_id, batch.table.num_rows) for batch in batches]

    def _call(self, batch: Batch) -> pa.Table | None:
        """What ``stream`` hands on of a batch, None for nothing. Raises RetryableError for whatever it raises."""
        if batch.ends:
            return None
        try:
            with _delivering(self._called) as tables:
                self._called.stream(frame_of(batch.table))
            return pa.concat_tables(tables, promote_options="permissive") if tables else None
        except SinkError:
            raise
        except Exception as error:
            what = str(error) if isinstance(error, Api2dbError) else redact(f"{type(error).__name__}: {error}"[:2000])
            raise RetryableError(f"stream {self.stream}: its own stream(data) failed: {what}") from error

    def publish(self, batches: Sequence[Batch]) -> None:
        if self._inner is not None and self._handed:
            self._inner.publish(self._handed)
            self._handed = []

    @property
    def limits(self) -> Limits:
        return GROUP if self._inner is None else limits_of(self._inner)

    def wait_s(self) -> float:
        return self._inner.wait_s() if isinstance(self._inner, Paced) else 0.0

    @property
    def newest_wins(self) -> bool:
        return isinstance(self._inner, NewestWins) and self._inner.newest_wins

    def release(self, batch_ids: Sequence[str]) -> None:
        if isinstance(self._inner, NewestWins):
            self._inner.release(batch_ids)

    def lacks(self, shards: Mapping[int, str]) -> set[int]:
        """As the place it extends says. What ``stream`` does itself is done again."""
        if not isinstance(self._inner, Traceable):
            raise FatalError(f"stream {self.stream}: its own stream(data) doesn't tell which batches it has delivered")
        return self._inner.lacks(shards)

    @property
    def horizon_ns(self) -> int:
        return self._inner.horizon_ns if isinstance(self._inner, Forgetful) else 0

    def forget(self, batch_ids: Sequence[str], horizon_ns: int) -> None:
        if isinstance(self._inner, Forgetful):
            self._inner.forget(batch_ids, horizon_ns)

    def go_in_as(self, other: Sink) -> bool:
        """Of the place it extends; what ``stream`` itself uses is its own."""
        inner = other._inner if isinstance(other, OverriddenSink) else None
        return inner is not None and isinstance(self._inner, Renewable) and self._inner.go_in_as(inner)

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()
