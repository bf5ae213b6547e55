"""A collector's polls over a real spool, one after the other, without a daemon."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from api2db import Collector
from api2db.journal.journal import Journal
from api2db.runtime.job import Job
from api2db.runtime.poll_context import Shared
from api2db.runtime.run import Run
from api2db.sources.net.fetcher import Fetched, Fetcher
from api2db.sources.rest.ask import Ask
from api2db.spool.collector import CollectorSpool
from tests.spool_kit import make_spool


def get(url: str, **params: str) -> Ask:
    return Ask("GET", url, tuple(params.items()))


class Polls:
    """One collector's job; ``poll`` runs it in this thread. Made anew over the same folder it is a restart."""

    def __init__(self, root: Path, function: Any, *, name: str = "c", replaces: bool = False, **options: Any) -> None:
        self.spool = make_spool(root / "STORE")
        self.shards = CollectorSpool(self.spool, name, ("s",))
        self.shards.remember_streams({"s": "somewhere"})
        self.journal = Journal(self.spool.layout.journal)
        self.stop = threading.Event()
        self.job = Job(
            Collector(name, 1, function, None, None),
            spool=self.spool,
            shards=self.shards,
            streams=("s",),
            replacing=("s",) if replaces else (),
            journal=self.journal,
            accepted=lambda batch: None,
            timeout_s=60,
            shared=options.pop("shared", None) or Shared.of(self.spool.layout, root / "AUTH"),
            **options,
        )

    def poll(self, later_s: int = 0) -> tuple[str, str | None]:
        """Outcome and cause. ``later_s``: by so much its clock is ahead."""
        now = time.monotonic()
        self.job.run = Run(time.time_ns() + later_s * 10**9, now, now)
        self.job.poll(self.stop)
        self.job.run = None
        return self.outcome

    @property
    def outcome(self) -> tuple[str, str | None]:
        """Of the last poll, and its cause."""
        query = "SELECT outcome, cause FROM runs ORDER BY rowid DESC LIMIT 1"
        found: tuple[str, str | None] = self.journal._file.connection.execute(query).fetchone()
        return found

    @property
    def rows(self) -> list[list[dict[str, Any]]]:
        queue = self.shards.queue("s")
        return [queue.read(at, parked=False).table.to_pylist() for at in queue.waiting()]

    def close(self) -> None:
        self.journal.close()


def records(fetched: Fetched) -> Any:
    return None if fetched.answer is None else fetched.answer.json()


def quick(**options: Any) -> Fetcher:
    """A fetcher whose back-off is short."""
    from api2db.sources.net.retries import Retries

    return Fetcher(retry=Retries(**{"base_s": 0.01, **options.pop("retry", {})}), **options)
