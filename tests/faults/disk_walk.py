"""A project's whole path on a disk that fails, in a process of its own.

``python -m tests.faults.disk_walk <folder> goes-on|crash [fault …]`` lives once for each fault (as ``failpoint`` takes
them, without the folder); without any it first counts the changes to files of a life undisturbed, then lives once for
each of them, failing. With ``crash`` what is in memory is forgotten after each failure. In the end, the disk being good
again, every place is compared with the source. Prints one JSON object.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from api2db import Collector, Cursor, failpoint
from api2db.errors import Api2dbError
from api2db.layout import Layout
from api2db.runtime.assembly import delivery_to, directories_of, opened, place_of, settle
from api2db.runtime.delivery import Delivery
from api2db.runtime.job import Job
from api2db.runtime.run import Run
from api2db.settings import load
from api2db.spool.collector import CollectorSpool
from api2db.stream import Stream2Local, Stream2Sql

COUNT = 9
HELD, REFUSED = 5, 8  # a row whose value isn't of its column's type; one that the table refuses
TURNS = 40


def records() -> list[dict[str, Any]]:
    return [{"id": n, "v": "text" if n == HELD else n * 10} for n in range(1, COUNT + 1)]


def numbers(since: int) -> Iterator[list[dict[str, Any]]]:
    """Three rows a page."""
    rows = [record for record in records() if record["id"] > since]
    for at in range(0, len(rows), 3):
        yield rows[at : at + 3]


def whole() -> list[dict[str, Any]]:
    return [{"id": record["id"]} for record in records()]


class Life:
    """Everything a daemon has in memory, between two starts; ``turn`` is what its threads do, without threads."""

    def __init__(self, folder: Path) -> None:
        settings = load(folder, {"min_free_bytes": "0", "durability": "fsync"}, {})
        layout = Layout(settings.store)
        layout.prepare()
        self.kept = opened(settings, layout)
        self.now = 0.0
        self.outcomes: list[str] = []
        database = f"sqlite:///{folder / 'db.sqlite'}"
        files = [Stream2Local("numbers"), Stream2Local("numbers", mode="update", fmt="csv", drop_duplicate_keys=[])]
        try:
            self._collectors = [
                self._assemble(
                    Collector(
                        "numbers",
                        1,
                        numbers,
                        None,
                        lambda: [Stream2Sql("n", url=database), *files],
                        cursor=Cursor("id", start=0),
                    )
                ),
                self._assemble(
                    Collector("whole", 1, whole, None, lambda: [Stream2Sql("w", url=database, if_exists="replace")])
                ),
            ]
        except BaseException:
            self.close()
            raise

    def _assemble(self, collector: Collector) -> tuple[Job, CollectorSpool, list[Delivery]]:
        targets = list(collector.streams())
        shards = CollectorSpool(self.kept.spool, collector.name)
        directories = directories_of(shards, [place_of(target, self.kept) for target in targets])
        for directory in directories:
            shards.add_stream(directory)
        deliveries = [
            delivery_to(target, directory, shards, self.kept)
            for target, directory in zip(targets, directories, strict=True)
        ]
        for delivery in deliveries:
            delivery.clock = lambda: self.now
            delivery.rng = random.Random(1)
        job = Job(
            collector,
            spool=self.kept.spool,
            shards=shards,
            streams=directories,
            replacing=[each.stream for each in deliveries if each.sink.replaces],
            journal=self.kept.journal,
            accepted=lambda batch: [each.notify(batch) for each in deliveries],
            timeout_s=60,
        )
        return job, shards, deliveries

    def turn(self) -> None:
        """Each collector polls once, each of its streams steps while it has something to do, at most five times."""
        for job, shards, deliveries in self._collectors:
            job.run = Run(time.time_ns(), 0.0, 0.0)
            job.poll(threading.Event())
            job.run = None
            for delivery in deliveries:
                for _ in range(5):
                    due = delivery.due_in_s()
                    if due is None:
                        break
                    self.now += due
                    delivery.step()
            settle(shards)

    def waiting(self) -> list[Path]:
        roots = [self.kept.spool.layout.queues, self.kept.spool.layout.root / "upload_failed"]
        return [path for root in roots for path in root.glob("*/*/*")]

    def is_through(self) -> bool:
        """Whether everything was accepted and nothing waits any more."""
        reached = self._collectors[0][1].cursor
        return reached == str(COUNT) and not self.waiting()

    def close(self) -> None:
        self.kept.engines.close()
        self.kept.journal.close()


def rows(folder: Path) -> dict[str, list[Any]]:
    """What is in each place, and what is kept aside."""
    store = folder / "STORE"
    with closing(sqlite3.connect(folder / "db.sqlite")) as db:
        found = {name: [n for (n,) in db.execute(f"SELECT id FROM {name} ORDER BY id")] for name in ("n", "w")}
    paths = sorted((store / "numbers" / "parquet").glob("*.parquet"))
    found["shards"] = sorted(n for path in paths for n in pq.read_table(path)["id"].to_pylist())
    lines = (folder / "CACHE" / "numbers_static.csv").read_text().splitlines()[1:]
    found["csv"] = sorted(int(line.partition(",")[0]) for line in lines)
    held = (store / "quarantine" / "numbers" / "held").glob("*.jsonl")
    found["held"] = [json.loads(line)["row"]["id"] for path in held for line in path.read_text().splitlines()]
    refused = (store / "quarantine" / "numbers").glob("sql.sqlite/*.parquet")
    found["refused"] = [row["id"] for path in refused for row in pq.read_table(path).to_pylist()]
    temporary = [str(path) for path in folder.rglob("*.tmp")]
    return found | {"temporary": temporary}


def expected() -> dict[str, list[Any]]:
    accepted = [n for n in range(1, COUNT + 1) if n != HELD]
    return {
        "n": [n for n in accepted if n != REFUSED],
        "w": list(range(1, COUNT + 1)),
        "shards": accepted,
        "csv": accepted,
        "held": [HELD],
        "refused": [REFUSED],
        "temporary": [],
    }


def start(folder: Path, problems: list[str]) -> Life:
    """A life that could begin; one that can't must say why in our words."""
    for _ in range(TURNS):
        try:
            return Life(folder)
        except Api2dbError as error:
            problems.append(str(error))
    raise AssertionError(f"never started: {problems[-1]}")


def live(folder: Path, fault: str, *, crash: bool) -> tuple[failpoint.DiskFault, dict[str, Any]]:
    """One project from its first start until everything is delivered, and once more after a restart."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / "db.sqlite")) as db:
        db.execute(f"CREATE TABLE n (id INTEGER CHECK (id <> {REFUSED}), v INTEGER)")
        db.commit()
    disk = failpoint.arm_disk(f"{fault}@{folder}")
    said: list[str] = []
    life = start(folder, said)
    for turn in range(TURNS):
        failed = disk.failed
        life.turn()
        if crash and disk.failed > failed:
            life.close()
            life = start(folder, said)
        elif turn and life.is_through():
            break
    left = [str(path.relative_to(folder)) for path in life.waiting()]
    life.close()
    again = start(folder, said)
    again.turn()
    again.close()
    return disk, rows(folder) | {"left": left}


def main(folder: str, crash: str, *faults: str) -> None:
    """Live once for each fault; with none given, once for each point with ENOSPC at that one."""
    logging.disable()
    root, wanted, points = Path(folder), list(faults), 0
    if not wanted:
        points = live(root / "undisturbed", f"ENOSPC@{sys.maxsize - 1}", crash=False)[0].seen
        wanted = [f"ENOSPC@{number}" for number in range(1, points + 1)]
    wrong: dict[str, Any] = {}
    failed = 0
    for fault in wanted:
        try:
            disk, found = live(root / fault, fault, crash=crash == "crash")
            failed += disk.failed
            if found != expected() | {"left": []}:
                wrong[fault] = found
        except Exception as error:  # noqa: BLE001 - told with its fault, and the walk goes on
            wrong[fault] = f"{type(error).__name__}: {error}"
        if fault not in wrong:
            shutil.rmtree(root / fault)
    sys.stdout.write(json.dumps({"points": points, "failed": failed, "wrong": wrong}))


if __name__ == "__main__":
    main(*sys.argv[1:])
