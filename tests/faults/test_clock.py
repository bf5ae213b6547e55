"""The wall clock steps by an hour, back and forth and across daylight saving; a process stands still for a while.

The clock is libfaketime's: the daemon's, and that of whoever asks how it is. What only measures how long something
takes isn't changed, as on a machine whose clock is set.
"""

from __future__ import annotations

import datetime
import os
import signal
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from api2db.journal.journal import RUNS_KEPT, Journal
from api2db.layout import Layout, StoreLock
from api2db.runtime.status import read_pulse
from tests.http_api import HttpApi
from tests.project_kit import Project, eventually

PERIOD_S = 0.05
HOUR_S = 3600
# In Europe/Berlin: 3:00 becomes 2:00, and 2:00 becomes 3:00.
SUMMER_ENDS = datetime.datetime(2026, 10, 25, 1, tzinfo=datetime.UTC).timestamp()
SUMMER_BEGINS = datetime.datetime(2027, 3, 28, 1, tzinfo=datetime.UTC).timestamp()

COLLECTOR = f"""
    import os
    import requests
    from api2db import Cursor, collector
    from api2db.stream import Stream2Local

    later = Stream2Local(name="numbers", path="later/files")

    @collector(every={PERIOD_S}, to=["database", "files", later])
    def numbers(since=Cursor("id", start=0)):
        yield requests.get(os.environ["URL"], params={{"since": since, "page": 1, "size": 5}}, timeout=10).json()
"""


class Clock:
    """How far the daemon's clock is off."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.step(0)

    def step(self, seconds: float) -> None:
        renamed = self._file.with_suffix(".new")
        renamed.write_text(f"{seconds:+f}")
        renamed.rename(self._file)

    def set(self, at_s: float) -> None:
        self.step(at_s - time.time())


@pytest.fixture
def clock(tmp_path, monkeypatch):
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("no libfaketime; on Debian: apt-get install faketime")
    clock = Clock(tmp_path)
    monkeypatch.setenv("TZ", "Europe/Berlin")
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(tmp_path / "clock"))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    monkeypatch.setenv("NO_FAKE_STAT", "1")
    return clock


class Watched:
    """A daemon, its source, and how often it may have been asked."""

    def __init__(self, folder: Path) -> None:
        self.api = HttpApi(since_field="id")
        self.project = Project(folder, numbers=COLLECTOR)
        # A file where a folder must be: an error that is tried again, until someone takes it away.
        (self.project.folder / "later").symlink_to("later")
        self.count = 0
        self.process = self.project.start(env={"URL": self.api.url})
        self.project.ready(self.process)

    def close(self) -> None:
        self.project.close()
        self.api.close()

    def new_rows_arrive(self, rows: int = 20) -> None:
        """They are read and loaded; meanwhile there are no more polls than the period has room for."""
        polls, since_s = len(self.api.requests), time.monotonic()
        self.api.add(*({"id": n} for n in range(self.count + 1, self.count + rows + 1)))
        self.count += rows
        loaded = "SELECT count(*) FROM numbers"
        eventually(lambda: self.project.sqlite(loaded) == [(self.count,)], what=f"{self.count} rows")
        self.api.wait_for_requests(polls + 6)
        room = (time.monotonic() - since_s) / PERIOD_S + 2
        assert len(self.api.requests) - polls <= room

    def all_is_well(self) -> bool:
        code, status = self.project.status()
        return code == 0 and status["pid"] == self.process.pid


def rows_by_time(folder: Path) -> list[int]:
    """The rows of published files, these in the order of their names."""
    paths = sorted(folder.glob("*.parquet"), key=lambda path: int(path.stem))
    return [n for path in paths for n in pq.read_table(path).column("id").to_pylist()]


@pytest.fixture
def watched(tmp_path, request):
    if "clock" in request.fixturenames:
        request.getfixturevalue("clock")
    watched = Watched(tmp_path / "project")
    yield watched
    watched.close()


def test_a_clock_that_steps_an_hour_back_and_forth_or_over_daylight_saving_changes_nothing(clock, watched):
    watched.new_rows_arrive()
    clock.step(HOUR_S)
    watched.new_rows_arrive()
    clock.step(-HOUR_S)
    (watched.project.folder / "later").unlink()
    watched.new_rows_arrive()
    for just_before in (SUMMER_ENDS - 0.2, SUMMER_BEGINS - 0.2):
        clock.set(just_before)
        watched.new_rows_arrive(40)
    clock.step(-HOUR_S)
    eventually(lambda: not watched.project.waiting(), what="what failed at first delivered")
    everything = list(range(1, watched.count + 1))
    assert rows_by_time(watched.project.store / "numbers" / "parquet") == everything
    assert sorted(rows_by_time(watched.project.folder / "later" / "files")) == everything
    assert [n for (n,) in watched.project.sqlite("SELECT id FROM numbers ORDER BY id")] == everything
    eventually(watched.all_is_well, what="nothing to complain about")
    assert watched.project.stop(watched.process) == 0
    # Started again an hour before its newest batch: names still grow.
    watched.process = watched.project.start(env={"URL": watched.api.url})
    watched.project.ready(watched.process)
    watched.new_rows_arrive()
    eventually(lambda: not watched.project.waiting(), what="everything delivered")
    assert rows_by_time(watched.project.store / "numbers" / "parquet") == list(range(1, watched.count + 1))


def test_a_process_that_stood_still_goes_on_without_a_burst_and_with_new_connections(tmp_path, postgres, database):
    source = COLLECTOR.replace('"files", later', '"warehouse"')
    toml = f'[places.warehouse]\nurl = "{postgres.url(database)}"\n'
    with HttpApi([{"id": n} for n in range(1, 21)], since_field="id") as api:
        project = Project(tmp_path, toml=toml, numbers=source)
        process = project.start(env={"URL": api.url})
        try:
            project.ready(process)
            rows = "SELECT count(*), count(DISTINCT id) FROM numbers"
            eventually(lambda: _asked(postgres, database, rows) == [(20, 20)], what="the first rows")
            os.kill(process.pid, signal.SIGSTOP)
            polls = len(api.requests)
            postgres.psql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE datname = '{database}' AND pid <> pg_backend_pid()"
            )
            api.add(*({"id": n} for n in range(21, 41)))
            threading.Event().wait(20 * PERIOD_S)  # how long it stands still is what is tried here
            os.kill(process.pid, signal.SIGCONT)
            since_s = time.monotonic()
            eventually(lambda: _asked(postgres, database, rows) == [(40, 40)], what="the rows after it")
            room = (time.monotonic() - since_s) / PERIOD_S + 3
            assert len(api.requests) - polls <= room
            eventually(lambda: project.status()[0] == 0, what="nothing to complain about")
            assert project.stop(process) == 0
            assert "load failed" not in project.console
        finally:
            project.close()


def _asked(postgres, database, sql):
    try:
        return postgres.psql(sql, database)
    except Exception as error:
        if "does not exist" in str(error):
            return []
        raise


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_a_heartbeat_does_not_age_by_a_step_of_the_clock(tmp_path, monkeypatch, jump_s):
    layout = Layout(tmp_path / "STORE")
    layout.prepare()
    lock, journal = StoreLock(layout), Journal(layout.journal)
    try:
        journal.note(heartbeat_ns=time.time_ns() - jump_s * 10**9, heartbeat_steady_ns=time.monotonic_ns())
        assert read_pulse(layout).trouble is None
        journal.note(heartbeat_steady_ns=time.monotonic_ns() - 61 * 10**9)
        assert "heartbeat is 61 s old" in str(read_pulse(layout).trouble)
    finally:
        journal.close()
        lock.close()


def test_runs_written_down_after_a_clock_was_set_back_are_kept_before_those_of_its_future(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    try:
        future_ns = time.time_ns() + HOUR_S * 10**9
        for number in range(RUNS_KEPT + 1):
            started_ns = future_ns + number if number < RUNS_KEPT else time.time_ns()
            journal.run("x", started_ns=started_ns, duration_s=0.0, outcome="ok" if number < RUNS_KEPT else "failed",
                        batches=0, rows=0, cause=None, steps=[], next_run_ns=None)  # fmt: skip
        journal.prune()
        outcomes = journal._file.connection.execute(
            "SELECT outcome, count(*) FROM runs GROUP BY 1 ORDER BY 1"
        ).fetchall()
        assert outcomes == [("failed", 1), ("ok", RUNS_KEPT - 1)]
    finally:
        journal.close()
