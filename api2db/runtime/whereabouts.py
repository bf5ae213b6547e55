"""Which rows of a kept batch are elsewhere: in quarantine, or in a batch that was made of what was there.

A batch that comes to its place again comes without those. They are by themselves, once: so whatever is replayed,
restored or killed in whatever order, a row is in the batch it came with or in the one it was mended in, never in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from api2db.journal.journal import Again
from api2db.layout import Layout
from api2db.quarantine import ROW, rows_of_batch
from api2db.runtime.delivery import Delivery
from api2db.runtime.works import Works
from api2db.shard import Header
from api2db.sinks.base import Traceable

_ON_THE_WAY = ("waiting", "parked")


@dataclass
class Apart:
    """What of a batch is elsewhere.

    batches     how many of its rows are in which other batch
    refused     how many are in its file in quarantine
    superseded  batches that had rows of it and come back only with it: nobody knows which rows, and they are nowhere
    doubt       why nobody can tell which of its rows to leave out; empty where that is known
    """

    batches: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    superseded: list[str] = field(default_factory=list)
    doubt: str = ""
    _numbers: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def numbers(self) -> list[int]:
        """Of those rows, counted from 0 in the batch."""
        return sorted(self._numbers)

    def add(self, numbers: Sequence[int], header: Header) -> int:
        """These rows of the batch are elsewhere; how many of them weren't known to be."""
        before = len(self._numbers)
        self._numbers.update(number for number in numbers if number < header.rows)
        return len(self._numbers) - before

    def again(self, header: Header) -> Again:
        """The journal's line for the batch, without those rows."""
        return Again(header, self.batches, self.refused, self.superseded)


class Whereabouts:
    """Of one stream's batches. With the delivery's ``turn`` held.

    kept  what the shards in the log say of themselves
    """

    def __init__(self, works: Works, collector: str, delivery: Delivery, kept: Sequence[Header]) -> None:
        layout: Layout = works.kept.spool.layout
        self._folder = layout.quarantine(collector, delivery.stream)
        self._sink = delivery.sink
        self._kept = {one.batch_id for one in kept}
        self._made: dict[str, list[Header]] = {}
        mine = self._folder.relative_to(layout.root)
        for one in kept:
            origin = None if one.origin is None else Path(one.origin)
            if origin is not None and origin.parent == mine:
                self._made.setdefault(origin.stem, []).append(one)
        self._told: dict[str, list[str]] = {}
        self._outcomes: dict[str, str] = {}
        for batch_id, other, outcome in works.kept.journal.replays(collector, delivery.stream):
            self._told.setdefault(batch_id, []).append(other)
            self._outcomes[other] = outcome

    def of(self, header: Header) -> Apart:
        """Where the batch's rows are that don't come with it. Raises SinkError."""
        apart = Apart()
        if self._sink.replaces:
            return apart  # a poll that replaces is replaced with whole
        known = set()
        for one in self._made.get(header.batch_id, ()):
            if one.origin_rows is not None:
                known.add(one.batch_id)
                apart.batches[one.batch_id] = apart.add(one.origin_rows, header)
        for other in self._others(header.batch_id) - known:
            apart.superseded.append(other)
            if self._is_somewhere(other):
                apart.doubt = (
                    f"refused rows of it were replayed as batch {other}, which is there or on its way,"
                    " and nobody can tell which rows they are"
                )
        file = self._folder / f"{header.batch_id}.parquet"
        if file.exists():
            numbers = _numbers_in(file)
            if numbers is None:
                apart.doubt = (
                    f"{file.name} in quarantine doesn't say which rows of it those are ({ROW}):"
                    " give them up, and they come with it: api2db shards purge --in quarantine"
                )
            else:
                apart.refused = apart.add(numbers, header)
        return apart

    def _others(self, batch_id: str) -> set[str]:
        """The batches made of its refused rows, as far as anybody knows."""
        return {*self._told.get(batch_id, ()), *(one.batch_id for one in self._made.get(batch_id, ()))}

    def _is_somewhere(self, batch_id: str) -> bool:
        """Whether rows of that batch, kept or not, are in the place, on their way there, in quarantine or replayed."""
        if self._outcomes.get(batch_id) in _ON_THE_WAY or (self._folder / f"{batch_id}.parquet").exists():
            return True
        if isinstance(self._sink, Traceable) and not self._sink.lacks({0: batch_id}):
            return True
        return any(other in self._kept or self._is_somewhere(other) for other in self._others(batch_id))


def _numbers_in(file: Path) -> tuple[int, ...] | None:
    try:
        return rows_of_batch(pq.read_table(file, columns=[ROW]))
    except (OSError, pa.ArrowInvalid):
        return None
