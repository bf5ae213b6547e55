"""Delivery into a place whose content each poll replaces: only the newest whole poll is loaded.

A poll that returns one value is whole with its one batch. One that yields its items is whole once the batch
that ends it is there. A poll that never ended (it failed, or the daemon was killed) replaces nothing: its items
are superseded by what is there. Nothing is parked here: the shards of one replacement stay together, and what was
parked before the stream replaced waits with the others before this is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api2db.batch import Batch, Receipt
from api2db.errors import TornShardError
from api2db.runtime.delivery import Delivery
from api2db.runtime.lanes import Lane, Taken


class _Torn(Exception):
    """A shard of those looked at isn't what was written."""

    def __init__(self, created_ns: int, error: TornShardError) -> None:
        super().__init__(created_ns)
        self.created_ns = created_ns
        self.error = error


@dataclass
class ReplacingDelivery(Delivery):
    """As ``Delivery``; a replacement is read whole, so it needs the memory of all that one poll brought."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Whole polls heard of, and how many of them there were when the shards were last dealt with. At the start
        # there may be one.
        self._heard, self._dealt_with = 1, 0
        self._looking_at = 0
        # Polls that will never be whole: those of before the start, and those that are known to have failed.
        self._over_until_ns = max(self._waiting.shards.all(), default=0)
        self._over: set[int] = set()

    def give_up(self, run: int) -> None:
        """That poll ended without its end: what it yielded replaces nothing."""
        with self._lock:
            self._over.add(run)
            self._heard += 1

    def readmit(self, shards: Sequence[int]) -> None:
        super().readmit(shards)
        with self._lock:
            # A poll that never ended is no more whole for being replayed.
            self._over_until_ns = max([self._over_until_ns, *shards])
            self._heard += 1

    def notify(self, batch: Batch) -> None:
        with self._lock:
            self._waiting.shards.append(batch.created_ns)
            self._heard += not batch.run or bool(batch.ends)

    def due_in_s(self) -> float | None:
        with self._lock:
            idle = self._heard == self._dealt_with and not self._unconnected
        return None if idle else super().due_in_s()

    def _take(self, lane: Lane, shards: list[int]) -> Taken:
        if not shards:
            return Taken([], [])
        while True:
            with self._lock:
                heard, waiting = self._heard, lane.shards.all()
                over, over_until_ns = frozenset(self._over), self._over_until_ns
            try:
                if over or over_until_ns:
                    waiting = self._without_halves(lane, waiting, over, over_until_ns)
                taken = self._newest_whole(waiting)
            except _Torn as torn:
                self._set_aside(lane, torn.created_ns, torn.error)
                continue
            self._looking_at = heard
            if not taken.batches:
                self._dealt_with = heard
            return taken

    def _deliver(self, lane: Lane, taken: Taken) -> list[Receipt]:
        receipts = super()._deliver(lane, taken)
        self._dealt_with = self._looking_at
        return receipts

    def _without_halves(self, lane: Lane, waiting: list[int], over: frozenset[int], over_until_ns: int) -> list[int]:
        """What waits, once the items of polls that never ended are gone: they would fill STORE for nothing."""
        whole: set[int] = set()
        for last in range(len(waiting)):
            first = self._first_of(waiting, last)
            if first is not None:
                whole.update(waiting[first : last + 1])
        halves = [
            created_ns
            for created_ns in waiting
            if created_ns not in whole and (created_ns <= over_until_ns or self._part(created_ns)[0] in over)
        ]
        if halves:
            self.journal.superseded(self.collector, self.stream, halves)
            self.queue.drop(halves, parked=False)
        with self._lock:
            for created_ns in halves:
                lane.shards.remove(created_ns)
            self._over -= over
            self._over_until_ns = 0
        return [created_ns for created_ns in waiting if created_ns not in set(halves)]

    def _newest_whole(self, waiting: list[int]) -> Taken:
        for last in reversed(range(len(waiting))):
            first = self._first_of(waiting, last)
            if first is not None:
                members = waiting[first : last + 1]
                return Taken(members, [self._read(created_ns) for created_ns in members], waiting[:first])
        return Taken([], [])

    def _first_of(self, waiting: list[int], last: int) -> int | None:
        """Where the poll begins that the shard at ``last`` makes whole; None if it doesn't."""
        run, ends = self._part(waiting[last])
        if not run:
            return last
        first = last - ends
        if not ends or first < 0 or any(self._part(each)[0] != run for each in waiting[first:last]):
            return None
        return first

    def _part(self, created_ns: int) -> tuple[int, int]:
        try:
            return self.queue.part(created_ns)
        except TornShardError as error:
            raise _Torn(created_ns, error) from error

    def _read(self, created_ns: int) -> Batch:
        try:
            return self.queue.read(created_ns, parked=False)
        except TornShardError as error:
            raise _Torn(created_ns, error) from error

    def _park(self) -> None:
        """Not here: a replacement in two places could be loaded by halves."""
