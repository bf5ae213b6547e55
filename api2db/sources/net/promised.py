"""What is promised of hosts by the APIs that are declared in this process, whether they were asked yet or not."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

from api2db.sources.net.rate import Rate


@dataclass(frozen=True, eq=False)
class Promise:
    """What one API's declaration says of its host: it holds for as long as this object is there.

    at_once  requests under way; None: it doesn't say
    """

    rates: Sequence[Rate] = ()
    at_once: int | None = None


_lock = threading.Lock()
_promises: dict[str, weakref.WeakSet[Promise]] = {}


def promise(host: str, said: Promise) -> None:
    """Have it hold for all who ask ``host`` in this process. Any thread."""
    with _lock:
        _promises.setdefault(host, weakref.WeakSet()).add(said)


def promised(host: str) -> Sequence[Promise]:
    """All that hold now for a host. Any thread."""
    with _lock:
        return tuple(_promises.get(host, ()))
