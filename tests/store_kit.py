"""A store at work over a folder of files, without a daemon; and in a process of its own that is killed."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from api2db import settings as settings_file
from api2db.audit.project import audit
from api2db.audit.report import Audit
from api2db.collector import Collector
from api2db.failpoint import arm, arm_disk
from api2db.formats import FORMATS
from api2db.layout import Layout
from api2db.runtime.assembly import opened, settle
from api2db.runtime.job import Job
from api2db.runtime.replacement import ReplacingDelivery
from api2db.runtime.run import Run
from api2db.runtime.store_job import StoreCollector
from api2db.runtime.works import deliver_all, prepared
from api2db.store.places import with_stores
from api2db.store.store import Store
from api2db.store.store2sql import Store2Sql
from api2db.stream.places import targets_of
from tests import warm
from tests.project_kit import REPOSITORY

LONG_AGO_S = 1_600_000_000


def write_files(folder: Path, count: int, fmt: str = "parquet", *, rows: int = 10, first: int = 0) -> None:
    """``0.<fmt>``, ``1.<fmt>``, …: each with its own ids, written long ago."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        ids = range(number * rows, (number + 1) * rows)
        table = pa.table({"id": pa.array(ids, pa.int64()), "text": pa.array([f"row {at}" for at in ids])})
        write_file(folder / f"{number}.{fmt}", FORMATS[fmt].encode_table(table))


def write_file(path: Path, data: bytes | memoryview | pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(FORMATS[path.suffix[1:]].encode(data) if isinstance(data, pd.DataFrame) else data)
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))


def sql_store(**options: Any) -> Store2Sql:
    """Into table weather of weather.db, from the folder ``in``."""
    return Store2Sql("weather", 3600, "weather.db", "sqlite", **{"path": "in", **options})


class Shop:
    """A project of one collector with stores. One at a time in a process: it holds STORE.

    ``run`` is one execution of a store, and delivers what it brought.
    """

    def __init__(self, folder: Path, *stores: Store) -> None:
        self.folder = folder
        (folder / "api2db.toml").write_text("min_free_bytes = 0\ndurability = 'process'\n")
        self.settings = settings_file.load(folder)
        self.layout = Layout(self.settings.store)
        self.layout.prepare()
        owner = Collector("weather", 3600, lambda: None, None, None, lambda: list(stores))
        self.collectors = [each for each in with_stores([owner], self.settings) if isinstance(each, StoreCollector)]
        self.kept = opened(self.settings, self.layout)
        self.parts = {each.name: prepared(each, targets_of(each, self.settings), self.kept) for each in self.collectors}
        self.kept.journal.declare(
            [(each.name, each.seconds, None) for each in self.collectors],
            [(d.collector, d.stream, d.sink.target) for part in self.parts.values() for d in part.deliveries],
        )
        self.jobs = {each.name: self._job(each) for each in self.collectors}

    def _job(self, collector: StoreCollector) -> Job:
        part, spool = self.parts[collector.name], self.kept.spool
        (delivery,) = part.deliveries

        def gave_up(run: int) -> None:
            if isinstance(delivery, ReplacingDelivery):
                delivery.give_up(run)

        return Job(
            collector,
            spool=spool,
            shards=part.shards,
            streams=[delivery.stream],
            replacing=[delivery.stream] if delivery.sink.replaces else [],
            journal=self.kept.journal,
            accepted=delivery.notify,
            gave_up=gave_up,
            timeout_s=60,
            source=collector.source(self.layout, self.folder, self.kept.spool.usage, durable=spool.durable),
        )

    def run(self, at: int = 0, *, stop: bool = False, deliver: bool = True) -> tuple[str, str | None]:
        """Outcome and cause; ``stop`` after its first batch."""
        job = self.jobs[self.collectors[at].name]
        now = time.monotonic()
        job.run = Run(time.time_ns(), now, now)
        ending = threading.Event()
        if stop:
            ending.set()
        job.poll(ending)
        job.run = None
        if deliver:
            deliver_all(self.parts[job.name].deliveries)
        query = "SELECT outcome, cause FROM runs ORDER BY rowid DESC LIMIT 1"
        with closing(sqlite3.connect(self.layout.journal)) as db:
            outcome, cause = db.execute(query).fetchone()
        return outcome, cause

    def audit(self) -> Audit:
        return audit(self.settings, self.layout, (self.collectors, []), lambda one: targets_of(one, self.settings))

    def close(self) -> None:
        for part in self.parts.values():
            settle(part.shards)
            for delivery in part.deliveries:
                delivery.sink.close()
        self.kept.engines.close()
        self.kept.journal.close()

    def ids(self) -> list[int]:
        return ids_in(self.folder)


def ids_in(folder: Path) -> list[int]:
    return [row[0] for row in rows_in(folder, "SELECT id FROM weather ORDER BY id")]


def rows_in(folder: Path, query: str) -> list[tuple[Any, ...]]:
    path = folder / "weather.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as db:
        try:
            return db.execute(query).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise


def names_in(folder: Path) -> list[str]:
    """Of the files in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def run_once(folder: Path, options: Mapping[str, Any], fault: str = "", disk: str = "") -> None:
    """One run of a ``sql_store``, in this process; where nothing fails the audit must hold then."""
    os.chdir(folder)
    if fault:
        arm(fault)
    if disk:
        arm_disk(disk)
    shop = Shop(folder, sql_store(**options))
    shop.run()
    assert fault or disk or shop.audit().holds is True
    shop.close()


def run_elsewhere(folder: Path, options: Mapping[str, Any], fault: str = "", disk: str = "") -> int:
    """The same in a process of its own; its exit status, -9 where the fault killed it."""
    code = (
        "import json, sys; from pathlib import Path; from tests.store_kit import run_once; "
        "folder, *given = json.loads(sys.argv[1]); run_once(Path(folder), *given)"
    )
    command = [sys.executable, "-c", code, json.dumps([str(folder), dict(options), fault, disk])]
    return warm.run(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, timeout=60).returncode
