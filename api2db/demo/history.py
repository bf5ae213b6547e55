"""What the replay remembers across a kill: when it first started, and which questions it answered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from api2db.demo.query import Query
from api2db.files import make_dir, write_atomic


@dataclass(frozen=True)
class Start:
    """At ``wall_s`` (epoch seconds) replay time was ``replay_ms``; it runs ``factor`` times as fast."""

    wall_s: float
    replay_ms: int
    factor: float


class History:
    """A file of lines: the start, then one query each. Lines are appended before the answer is sent.

    A kill tears at most the last line, which is then dropped: its answer was never sent. Safe to use from
    any thread of one process.
    """

    def __init__(self, path: Path, start: Start, *, wall_s: Callable[[], float] = time.time) -> None:
        """Go on with the history in ``path``; where there is none, it begins with ``start``."""
        self._lock = threading.Lock()
        make_dir(path.parent, flush=False)
        if not path.exists():
            write_atomic(path, json.dumps(asdict(start)).encode() + b"\n", flush=False)
        # Only ever appended to: a second daemon, soon to be refused, may open it while the first one writes.
        first, *lines = path.read_bytes().split(b"\n")
        self.start = Start(**json.loads(first))
        self._queries = [Query(**query) for line in lines if (query := _parse(line)) is not None]
        self._file = path.open("a", encoding="utf-8")
        # So that a torn last line doesn't swallow the next one.
        self._separator = "\n" if lines[-1] else ""
        # One look at the wall clock; a step of it while we run doesn't touch replay time.
        self._behind_s = max(0.0, wall_s() - self.start.wall_s)
        self._opened_s = time.monotonic()

    def now_ms(self) -> int:
        """Replay time: it went on while no process ran. Never before the start."""
        gone_s = self._behind_s + time.monotonic() - self._opened_s
        return self.start.replay_ms + int(gone_s * self.start.factor * 1000)

    @property
    def queries(self) -> tuple[Query, ...]:
        with self._lock:
            return tuple(self._queries)

    def append(self, query: Query) -> None:
        """Remember a query, unless it repeats the one before at the same time: that tells nothing new."""
        with self._lock:
            if self._queries and self._queries[-1] == query:
                return
            self._queries.append(query)
            self._file.write(f"{self._separator}{json.dumps(asdict(query))}\n")
            self._file.flush()
            self._separator = ""

    def close(self) -> None:
        self._file.close()


def _parse(line: bytes) -> dict[str, Any] | None:
    """A line's query; None for the end of the file and for a line a kill has torn."""
    try:
        query: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return query
