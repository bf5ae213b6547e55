"""The daemon killed at one request to BigQuery after the other, and what must be true of the tables in the end.

Three streams at once: rows appended, merged, and replaced by each poll. New rows appear all the time, so that a restart
finds more batches waiting than the group that was under way had.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from google.api_core.exceptions import NotFound

from tests import warm
from tests.bigquery import PROJECT, Emulator
from tests.google_front import Seen, Trouble
from tests.http_api import HttpApi, Record
from tests.project_kit import REPOSITORY, Project, eventually

KEYS = 11
SNAPSHOT_ROWS = 20
# As many as the daemon makes from its start until each stream has loaded once or twice; both sides of each.
REQUESTS = 24
# Of a machine that is busy with others.
KILL_TIMEOUT_S = 300.0
STREAMS = {"numbers": "appended", "latest": "merged", "snapshot": "replaced"}

_COLLECTOR = """
    import os
    import requests
    from api2db import Cursor, collector
    from api2db.stream import Stream2Bigquery

    def table(name, **options):
        return Stream2Bigquery(name, os.environ["KEYS"], {pid!r}, {did!r}, load_every=0, api_endpoint=os.environ["BQ"],
                               **options)

    def page(since):
        answer = requests.get(os.environ["URL"], params={{"since": since, "page": 1, "size": 7}}, timeout=30)
        answer.raise_for_status()
        return answer.json()

    @collector(every=0.1, to=[table("numbers")])
    def numbers(since=Cursor("id", start=0)):
        yield page(since)

    @collector(every=0.1, to=[table("latest", key="key", version="id")])
    def latest(since=Cursor("id", start=0)):
        yield page(since)

    @collector(every=0.1, to=[table("snapshot", if_exists="replace")])
    def snapshot(since=Cursor("poll", start=0)):
        rows = page(since)
        if rows:
            yield [{{"poll": rows[-1]["id"], "n": n}} for n in range({snapshot})]
"""


def record(number: int) -> Record:
    return {"id": number, "key": number % KEYS, "text": f"row {number}"}


class Killed:
    """The project, its API and its tables. ``hits``: what was killed at, how often; ``regroupings``: kills that left
    a frozen group behind while more batches waited than it has. ``rows`` are new in each life.
    """

    def __init__(self, folder: Path, api: HttpApi, bigquery: Emulator, rows: int = 60) -> None:
        self.api = api
        self._rows = rows
        self.bigquery = bigquery
        self.did = bigquery.dataset()
        # The emulator has no answer of Google's for streams that make it at once.
        bigquery.query(f"CREATE SCHEMA {self.did}")
        source = _COLLECTOR.format(pid=PROJECT, did=self.did, snapshot=SNAPSHOT_ROWS)
        self.project = Project(folder, numbers=source)
        self.env = {"URL": api.url, "BQ": bigquery.url, "KEYS": str(bigquery.keys)}
        self.hits: Counter[str] = Counter()
        self.regroupings = 0

    def kill(self, number: int) -> None:
        """One life of the daemon, to its request ``number // 2 % REQUESTS``: before that is passed on, or after."""
        nth, passes = number // 2 % REQUESTS, bool(number % 2)
        self._add(self._rows)
        process = self.project.start(env=self.env)
        lock, seen_so_far = threading.Lock(), [0]
        hit: list[Seen] = []

        def is_it(seen: Seen) -> bool:
            with lock:
                seen_so_far[0] += 1
                if hit or seen_so_far[0] <= nth:
                    return False
                hit.append(seen)
                return True

        front = self.bigquery.front
        front.fail(Trouble(0, passes=passes, also=lambda: process.send_signal(signal.SIGKILL)), is_it)
        try:
            eventually(lambda: self._died(process), KILL_TIMEOUT_S, what=f"request {nth + 1}")
            assert process.wait() == -signal.SIGKILL, self.project.console
        finally:
            front.calm()
        self.hits[f"{'after' if passes else 'before'} {_kind(hit[0])}"] += 1
        self.regroupings += any(self._would_regroup(collector) for collector in STREAMS)
        self.check_snapshot()

    def _died(self, process: subprocess.Popen[str]) -> bool:
        """Whether it has; as long as it lives there are new rows, so that its requests don't end."""
        try:
            process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._add(5)
            return False
        return True

    def _add(self, rows: int) -> None:
        count = self.api.count()
        self.api.add(*(record(n) for n in range(count + 1, count + rows + 1)))

    def _would_regroup(self, collector: str) -> bool:
        folder = self.project.store / "queue" / collector / "bigquery"
        frozen = list(folder.glob("*.job"))
        return bool(frozen) and any(
            int(path.stem) > max(int(job.stem) for job in frozen) for path in folder.glob("*.parquet")
        )

    def deliver(self) -> None:
        """Start once more, undisturbed, until everything is in; stop gracefully."""
        count = self.api.count()
        process = self.project.start(env=self.env)
        for collector in ("numbers", "latest"):
            rows = f"SELECT sum(rows) FROM batches WHERE collector = '{collector}'"
            self._eventually(lambda rows=rows: self.project.journal(rows) == [(count,)], f"{collector} accepted")
        self._eventually(lambda: self.snapshots() == [(count, SNAPSHOT_ROWS)], "the last snapshot")
        self._eventually(lambda: not self._left(), "an empty queue")
        assert self.project.stop(process) == 0, self.project.console

    def check(self) -> None:
        """Row by row against what was served, and by the daemon's own account."""
        served = list(range(1, self.api.count() + 1))
        rows = self.bigquery.query(f"SELECT id, key, text FROM {self.did}.numbers ORDER BY id")
        assert rows == [(n, n % KEYS, f"row {n}") for n in served]
        newest = {n % KEYS: n for n in served}
        merged = self.bigquery.query(f"SELECT key, id, text FROM {self.did}.latest ORDER BY key")
        assert merged == [(key, n, f"row {n}") for key, n in sorted(newest.items())]
        self.check_snapshot()
        done = warm.run(
            [sys.executable, "-c", "from api2db.cli.main import main; main()", "audit"],
            cwd=self.project.folder,
            env={**os.environ, **self.env, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=KILL_TIMEOUT_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def check_snapshot(self) -> None:
        """Rows of one poll and no other, all of them; or there is no table yet."""
        found = self.snapshots()
        assert not found or (len(found) == 1 and found[0][1] == SNAPSHOT_ROWS), found

    def snapshots(self) -> list[tuple[int, int]]:
        """Each poll that the table has rows of, and how many."""
        try:
            counted = self.bigquery.query(
                f"SELECT poll, COUNT(DISTINCT n), COUNT(*) FROM {self.did}.snapshot GROUP BY 1"
            )
        except NotFound:
            return []
        assert all(different == rows for _, different, rows in counted), counted
        return [(poll, rows) for poll, _, rows in counted]

    def _left(self) -> list[Path]:
        return [path for path in self.project.waiting() if path.suffix != ".start"]

    def _eventually(self, condition: object, what: str) -> None:
        assert callable(condition)
        eventually(condition, KILL_TIMEOUT_S, what=f"{what}: {self.project.folder}")


def _kind(seen: Seen) -> str:
    path = re.sub(r"\?.*", "", seen.path)
    if seen.is_load:
        return "a load job's start"
    if seen.is_query:
        return "a merge's start"
    for pattern, name in (("/jobs", "asking for a job"), ("/tables", "a table"), ("/datasets", "a dataset")):
        if pattern in path:
            return f"{seen.method} {name}" if "job" not in name else name
    return f"{seen.method} {path}"
