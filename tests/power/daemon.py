"""A daemon on a machine whose power is cut, and what must be true of every place in the end."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from tests.http_api import Answer, HttpApi, Record, Request
from tests.mariadb import MariaDB
from tests.power.disk import Cut
from tests.power.machine import Machine
from tests.project_kit import Project, eventually
from tests.servers import Postgres

COLLECTORS = """
    import os
    import requests
    from api2db import Cursor, collector
    from api2db.stream import Stream2Local, Stream2Sql

    away = ["warehouse", *os.environ.get("MORE", "").split()]

    def pages(name, since):
        while True:
            params = {"of": name, "since": since, "page": 1, "size": 5}
            rows = requests.get(os.environ["URL"], params=params, timeout=10).json()
            if not rows:
                return
            yield rows
            since = rows[-1]["id"]

    updated = Stream2Local(
        name="numbers", mode="update", path=os.environ["DISK"] + "/out/numbers.parquet", drop_duplicate_keys=[]
    )

    @collector(every=0.02, to=["database", "files", *away, updated])
    def numbers(since=Cursor("id", start=0)):
        yield from pages("numbers", since)

    @collector(every=0.02, to=["database", *away], key="key", version="id")
    def latest(since=Cursor("id", start=0)):
        yield from pages("latest", since)

    urls = [f"sqlite:///{os.environ['DISK']}/STORE/database.sqlite", *os.environ["URLS"].split()]
    whole = Stream2Local(name="board", mode="replace", path=os.environ["DISK"] + "/out/board.parquet")

    @collector(every=0.2, to=[whole, *(Stream2Sql("board", url=url, if_exists="replace") for url in urls)])
    def board():
        for page in pages("board", 0):
            yield [{"id": row["id"], "key": row["key"]} for row in page]
"""
ROWS_A_CUT = 60
BOARD = 13
"""How many rows, the newest, the board shows: in three items."""
FLUSHES = 200
"""A power cut comes at the latest when a daemon has asked for so many: its start, and about thirty batches."""


def record(number: int) -> Record:
    """Every 50th has text that PostgreSQL can't hold and the others can."""
    text = f"row {number}\0" if number % 50 == 0 else f"row {number}"
    return {"id": number, "key": number % 11, "text": text}


class Source(HttpApi):
    """Remembers how far each collector has said that it is: what is behind that is accepted, as a source sees it."""

    def __init__(self) -> None:
        super().__init__(since_field="id")
        self.count = 0
        self.reached: dict[str, int] = {}
        self.went_back: list[tuple[str, int, int]] = []
        self._seeing = threading.Lock()

    def grow(self, rows: int) -> None:
        self.add(*(record(n) for n in range(self.count + 1, self.count + rows + 1)))
        self.count += rows

    def answer_to(self, request: Request) -> tuple[Answer, list[Record]]:
        name, since = request.params["of"], int(request.params["since"])
        if name == "board":
            newest = str(max(since, self.count - BOARD))
            return super().answer_to(replace(request, params={**request.params, "since": newest}))
        with self._seeing:
            before = self.reached.get(name, 0)
            if since < before:
                self.went_back.append((name, before, since))
            self.reached[name] = max(before, since)
        return super().answer_to(request)


class PoweredProject(Project):
    """Its STORE is on the machine's disk, its code isn't."""

    def __init__(self, folder: Path, disk: Path, *, toml: str, **collectors: str) -> None:
        super().__init__(folder, toml=f'store = "{disk}/STORE"\n{toml}', **collectors)
        self.disk = disk

    @property
    def store(self) -> Path:
        return self.disk / "STORE"


class Powered:
    """SQLite and files on the machine, PostgreSQL off it: that one keeps what the machine may forget.

    durability  the daemon's setting
    mariadb     one more server off the machine, whose power isn't cut either
    """

    def __init__(
        self,
        folder: Path,
        postgres: Postgres,
        database: str,
        *,
        seed: int,
        durability: str = "fsync",
        mariadb: MariaDB | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.postgres = postgres
        self.database = database
        self.mariadb = mariadb
        self.maria_database = "" if mariadb is None else mariadb.create_database()
        self.source = Source()
        self.machine = Machine(folder / "disk", seed)
        toml = f'durability = "{durability}"\n[places.warehouse]\nurl = "{postgres.url(database)}"\n'
        urls = [postgres.url(database)]
        if mariadb is not None:
            urls.append(mariadb.url(self.maria_database))
            toml += f'[places.maria]\nurl = "{urls[1]}"\n'
        self.project = PoweredProject(folder / "project", folder / "disk", toml=toml, numbers=COLLECTORS)
        self._env = {"URL": self.source.url, "DISK": str(self.machine.mount), "URLS": " ".join(urls)}
        if mariadb is not None:
            self._env["MORE"] = "maria"

    def close(self) -> None:
        self.project.close()
        self.machine.close()
        self.source.close()

    def cut(self, *, at_flush: int | None = None, point: str | None = None) -> Cut:
        """Start, let new rows appear, cut the power: at a flush, at a point of the code, or as chance has it."""
        self.source.grow(ROWS_A_CUT)
        if at_flush is None and point is None and self.rng.random() < 0.7:
            at_flush = self.rng.randint(1, FLUSHES)
        if at_flush is not None:
            self.machine.cut_at(at_flush)
        process = self.project.start(env={**self._env, **({"API2DB_FAILPOINT": point} if point else {})})
        if at_flush is not None or point is not None:
            eventually(lambda: process.poll() is not None or self._is_idle(process), what="the cut, or nothing to do")
        else:
            ended = lambda: process.poll() is not None or self._is_running(process)  # noqa: E731
            eventually(ended, what="a daemon that runs")
            threading.Event().wait(self.rng.uniform(0.0, 0.4))  # the moment of the cut is what is random here
        if process.poll() is None:
            process.kill()
        assert process.wait(10) == -signal.SIGKILL, self.project.console
        return self.machine.cut()

    def deliver(self) -> None:
        """Start once more, undisturbed, until everything is in; stop gracefully."""
        process = self.project.start(env=self._env)
        self.project.ready(process)
        eventually(lambda: self._is_idle(process), what="everything delivered")
        assert self.project.stop(process) == 0

    def _is_running(self, process: subprocess.Popen[str]) -> bool:
        return f"running as process {process.pid}" in self.project.console

    def _is_idle(self, process: subprocess.Popen[str]) -> bool:
        """The source has been read to its end, and nothing waits any more."""
        everywhere = all(self.source.reached.get(name) == self.source.count for name in ("numbers", "latest"))
        try:
            # The board is polled again and again, so something of it may always wait.
            waits = [path for path in self.project.waiting() if path.parents[1].name != "board"]
            return everywhere and self._is_running(process) and not waits and not self._boards_behind()
        except (OSError, sqlite3.DatabaseError, pa.ArrowException):
            return False  # the power went while this looked

    def audit(self) -> list[str]:
        """Deliver and check; being stuck is wrong too."""
        try:
            self.deliver()
            return self.check()
        except (AssertionError, pa.ArrowException, sqlite3.DatabaseError) as error:
            return [f"{type(error).__name__}: {str(error).splitlines()[0]}"]

    def check(self) -> list[str]:
        """What is wrong with any place, a line each; [] if every row is in each of them once."""
        everything = range(1, self.source.count + 1)
        loadable = [n for n in everything if n % 50]
        refused = [n for n in everything if n % 50 == 0]
        newest = {n % 11: n for n in everything}
        newest_loadable = {n % 11: n for n in loadable}
        sql = "SELECT id FROM numbers"
        found = [f"{name} was told {before} and then {since} of the source" for name, before, since in
                 self.source.went_back]  # fmt: skip
        found += _differences("SQLite", [n for (n,) in self.project.sqlite(sql)], everything)
        found += _differences("shards", self.project.files("numbers", "id"), everything)
        found += _differences("the updated file", self._updated(), everything)
        found += _differences("PostgreSQL", [n for (n,) in self._query(sql)], loadable)
        found += _differences("quarantine of PostgreSQL", self._refused(), refused)
        if dict(self.project.sqlite("SELECT key, id FROM latest")) != newest:
            found.append("SQLite: not the newest row of each key")
        if dict(self._query("SELECT key, id FROM latest")) != newest_loadable:
            found.append("PostgreSQL: not the newest row of each key")
        if self.mariadb is not None:
            found += _differences("MariaDB", [n for (n,) in self._maria(sql)], everything)
            if dict(self._maria("SELECT `key`, id FROM latest")) != newest:
                found.append("MariaDB: not the newest row of each key")
        found += [f"{place}: the board isn't the newest" for place in self._boards_behind()]
        torn = [str(path) for path in (self.project.store / "quarantine").glob("*/*/*.parquet") if path.stem.isdigit()]
        return found + [f"torn shard: {path}" for path in torn]

    def boards(self) -> dict[str, list[int]]:
        """What each place shows that is replaced by every poll."""
        sql, path = "SELECT id FROM board ORDER BY id", self.machine.mount / "out" / "board.parquet"
        found = {
            "SQLite": [n for (n,) in self.project.sqlite(sql)],
            "the replaced file": sorted(pq.read_table(path).column("id").to_pylist()) if path.exists() else [],
            "PostgreSQL": [n for (n,) in self._query(sql)],
        }
        return found if self.mariadb is None else {**found, "MariaDB": [n for (n,) in self._maria(sql)]}

    def half_boards(self) -> list[str]:
        """Those that don't show one whole poll: ``BOARD`` rows that end where the source once ended."""
        return [
            f"{place}: a board of {rows}"
            for place, rows in self.boards().items()
            if rows and (rows[-1] % ROWS_A_CUT or rows != list(range(rows[-1] - BOARD + 1, rows[-1] + 1)))
        ]

    def _boards_behind(self) -> list[str]:
        newest = list(range(self.source.count - BOARD + 1, self.source.count + 1))
        return [place for place, rows in self.boards().items() if rows != newest]

    def _maria(self, sql: str) -> list[tuple[int, ...]]:
        assert self.mariadb is not None
        table = sql.partition(" FROM ")[2].split()[0]
        if not self.mariadb.query(f"SHOW TABLES LIKE '{table}'", self.maria_database):
            return []
        return self.mariadb.query(sql, self.maria_database)

    def _updated(self) -> list[int]:
        path = self.machine.mount / "out" / "numbers.parquet"
        return pq.read_table(path).column("id").to_pylist() if path.exists() else []

    def _refused(self) -> list[int]:
        folder = self.project.store / "quarantine" / "numbers" / "sql.postgresql"
        return [n for path in folder.glob("*.parquet") for n in pq.read_table(path).column("id").to_pylist()]

    def _query(self, sql: str) -> list[tuple[int, ...]]:
        with self.postgres.connect(self.database) as connection:
            try:
                return connection.execute(sql).fetchall()
            except psycopg.errors.UndefinedTable:
                return []


def _differences(place: str, found: list[int], expected: range | list[int]) -> list[str]:
    counts = Counter(found)
    lost = [n for n in expected if n not in counts]
    doubled = [n for n, times in counts.items() if times > 1]
    foreign = sorted(counts.keys() - set(expected))
    kinds = (("lost", lost), ("doubled", doubled), ("foreign", foreign))
    return [f"{place}: {len(rows)} rows {kind}, the first {rows[:5]}" for kind, rows in kinds if rows]
