"""Where a collector's function is called: in a thread of the daemon, or in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from api2db.collector import Collector


class Source(Protocol):
    """What a job polls. ``poll`` is called by one thread at a time, ``kill`` by any."""

    def poll(self, since: object, begun: Callable[[], None]) -> object:
        """What the collector's function returns, or an iterator over what it yields.

        ``begun`` is called once the function itself is: what comes before isn't its time.
        """

    def limit_s(self, timeout_s: float) -> float:
        """How long what is under way now may take, where an item may take ``timeout_s``."""

    def kill(self, cause: str) -> bool:
        """End the item under way, if that can be done: ``poll`` or its iterator then raises SourceError(cause).

        False if nothing is under way, or it can't be ended.
        """

    def ended(self) -> None:
        """All items of the poll are accepted. What it raises, the poll fails with."""


class InProcess:
    """The function called in the polling thread: nothing ends it but itself."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def poll(self, since: object, begun: Callable[[], None]) -> object:
        begun()
        return self._collector.poll(since)

    def limit_s(self, timeout_s: float) -> float:
        return timeout_s

    def kill(self, cause: str) -> bool:
        return False

    def ended(self) -> None:
        """A function isn't told."""
