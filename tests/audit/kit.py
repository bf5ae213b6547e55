"""A STORE with streams into a SQLite file and into files, filled as the daemon fills it, in this process."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from api2db import settings
from api2db.audit import Audit, StreamAudit, audit
from api2db.collector import Collector
from api2db.layout import Layout
from api2db.runtime.assembly import Kept, delivery_to, directories_of, opened, place_of
from api2db.runtime.delivery import Delivery
from api2db.shard import Header
from api2db.sinks.base import Target
from api2db.spool.collector import CollectorSpool
from api2db.stream.stream2local import Stream2Local
from api2db.stream.stream2sql import Stream2Sql
from api2db.upgrade import take_over
from tests.spool_kit import rows

NAME = "numbers"
SQL = "sql.sqlite"


class Store:
    """``accept`` and ``deliver`` are what the daemon does; the audit is the real one."""

    def __init__(self, folder: Path, targets: Sequence[Target] | None = None, *, opened: bool = True) -> None:
        self.folder = folder
        (folder / "api2db.toml").write_text('min_free_bytes = 0\ndurability = "process"\n')
        self.settings = settings.load(folder)
        self.layout = Layout(self.settings.store)
        self.targets = list(targets or [Stream2Sql(NAME, "numbers.db", "sqlite"), Stream2Local(NAME)])
        if opened:
            self.open()

    def open(self) -> None:
        self.layout.prepare()
        take_over(self.layout)
        self.kept: Kept = opened(self.settings, self.layout)
        self.shards = CollectorSpool(self.kept.spool, NAME)
        directories = directories_of(self.shards, [place_of(target, self.kept) for target in self.targets])
        for directory in directories:
            self.shards.add_stream(directory)
        self.streams: dict[str, Delivery] = {
            directory: delivery_to(target, directory, self.shards, self.kept)
            for target, directory in zip(self.targets, directories, strict=True)
        }

    def close(self) -> None:
        self.kept.engines.close()
        self.kept.journal.close()

    def accept(self, *values: int, tell: bool = True) -> str:
        """A batch; ``tell=False`` is a kill before the journal hears of it. Returns its id."""
        batch = self.shards.accept(rows(*values), None)
        if tell:
            self.kept.journal.accepted(
                Header(batch.batch_id, NAME, batch.created_ns, len(values), None, tuple(self.streams))
            )
        for delivery in self.streams.values():
            delivery.notify(batch)
        return batch.batch_id

    def deliver(self, *streams: str) -> None:
        for name in streams or self.streams:
            while self.streams[name].due_in_s() == 0.0:
                self.streams[name].step()

    def audit(self, *names: str, deep: bool = False) -> Audit:
        declared = Collector(NAME, 60, lambda: None, lambda: None, lambda: [], lambda: [])
        return audit(self.settings, self.layout, ([declared], []), lambda collector: self.targets, names, deep=deep)

    def stream(self, name: str = SQL) -> StreamAudit:
        (one,) = [stream for stream in self.audit().streams if stream.stream == name]
        return one

    def database(self, statement: str) -> None:
        with closing(sqlite3.connect(self.folder / "numbers.db")) as db:
            db.execute(statement)
            db.commit()

    def journal(self, statement: str) -> None:
        with closing(sqlite3.connect(self.layout.journal)) as db:
            db.execute(statement)
            db.commit()
