"""Which shards of a stream are tried, and in which order."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from api2db.batch import Batch


class Waiting:
    """``created_ns`` of shards that wait, oldest first; 8 bytes each, so that a long backlog costs little."""

    def __init__(self, shards: Sequence[int]) -> None:
        self._shards = array("q", shards)
        self._first = 0

    def __len__(self) -> int:
        return len(self._shards) - self._first

    def append(self, created_ns: int) -> None:
        self._shards.append(created_ns)

    def oldest(self, count: int) -> list[int]:
        return self._shards[self._first : self._first + count].tolist()

    def all(self) -> list[int]:
        return self.oldest(len(self))

    def remove(self, created_ns: int) -> None:
        """One, wherever it stands."""
        self._shards.remove(created_ns)

    def drop(self, count: int) -> None:
        self._first += count
        if self._first > 4096 and self._first * 2 > len(self._shards):
            del self._shards[: self._first]
            self._first = 0


@dataclass
class Lane:
    """Shards of one stream that are tried together: the ones that wait, or the parked ones. Each backs off."""

    shards: Waiting
    parked: bool
    failures: int = 0
    due: float = 0.0


@dataclass(frozen=True)
class Taken:
    """What one transaction loads, the oldest of a lane.

    superseded  shards before it that needn't be loaded, since it replaces all they would have brought
    """

    shards: list[int]
    batches: list[Batch]
    superseded: list[int] = field(default_factory=list)
