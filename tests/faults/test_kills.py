"""SIGKILL anywhere: after a restart source, tables and files are equal, row by row, and the journal adds up."""

from __future__ import annotations

import os
import signal
import sys

import psycopg
import pytest
from sqlalchemy import make_url

from api2db.chaos.attack import Attack
from api2db.chaos.faults import KILL, KILL_AT, KILL_STARTING, KILL_STOPPING, schedule
from api2db.chaos.victim import Victim
from api2db.failpoint import POINTS
from tests import warm
from tests.contract.places import MariaDBPlace
from tests.http_api import HttpApi
from tests.project_kit import REPOSITORY, Project, eventually

COLLECTOR = """
    import os
    import requests
    from api2db import Cursor, collector

    @collector(every=0.02, to=["database", "files", "warehouse", "maria"])
    def numbers(since=Cursor("id", start=0)):
        response = requests.get(os.environ["URL"], params={"since": since, "page": 1, "size": 7}, timeout=10)
        yield response.json()

    @collector(every=0.02, to=["database", "warehouse", "maria"], key="key", version="id")
    def latest(since=Cursor("id", start=0)):
        response = requests.get(os.environ["URL"], params={"since": since, "page": 1, "size": 7}, timeout=10)
        yield response.json()
"""
ELSEWHERE = ("sink.children", "spool.parked", "local.copied", "local.moved", "quarantine.held")
ELSEWHERE += ("spool.origin", "replay.linked", "retention.forgot", "composing.frozen", "composing.planned")
ELSEWHERE += ("composing.removed", "token.given", "token.kept", "rebuild.accepted")
ELSEWHERE += tuple(point for point in POINTS if point.startswith("bigquery."))
ELSEWHERE += ("seen.written", "seen.begun")
# While it runs, at named points, in recovery, while it stops.
MIX = {KILL: 6, KILL_AT: 4, KILL_STARTING: 2, KILL_STOPPING: 2}
STREAMS = {
    "numbers": ("sql.sqlite", "local.parquet", "sql.postgresql", "sql.mariadb"),
    "latest": ("sql.sqlite", "sql.postgresql", "sql.mariadb"),
}


def record(number: int) -> dict[str, object]:
    """Every 50th has text that PostgreSQL can't hold and the others can."""
    text = f"row {number}\0" if number % 50 == 0 else f"row {number}"
    return {"id": number, "key": number % 11, "text": text}


class Watched:
    """The project, its API and its databases, and what must be true of them in the end."""

    def __init__(self, folder, api: HttpApi, postgres, database: str, maria: MariaDBPlace) -> None:
        self.api = api
        self.postgres = postgres
        self.database = database
        self.maria = maria
        toml = f'[places.warehouse]\nurl = "{postgres.url(database)}"\n'
        toml += f'[places.maria]\nurl = "{maria.url.render_as_string(hide_password=False)}"\n'
        self.project = Project(folder, toml=toml, numbers=COLLECTOR)
        self.env = {"URL": api.url}

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with self.postgres.connect(self.database) as connection:
            try:
                return connection.execute(sql).fetchall()
            except psycopg.errors.UndefinedTable:
                return []

    def run_until_delivered(self, count: int) -> None:
        """Start once more, undisturbed, until everything is in; stop gracefully."""
        process = self.project.start(env=self.env)
        self.project.ready(process)
        for name in STREAMS:
            rows = f"SELECT sum(rows) FROM batches WHERE collector = '{name}'"
            eventually(
                lambda rows=rows: self.project.journal(rows) == [(count,)], what=f"{count} rows accepted of {name}"
            )
        eventually(lambda: not self.project.waiting(), what="an empty queue")
        assert self.project.stop(process) == 0

    def check(self, count: int) -> None:
        everything = list(range(1, count + 1))
        loadable = [n for n in everything if n % 50]
        newest = {n % 11: n for n in everything}
        newest_loadable = {n % 11: n for n in loadable}
        project = self.project
        assert [n for (n,) in project.sqlite("SELECT id FROM numbers ORDER BY id")] == everything
        assert sorted(project.files("numbers", "id")) == everything
        assert [n for (n,) in self.query("SELECT id FROM numbers ORDER BY id")] == loadable
        assert [n for (n,) in self.maria.query("SELECT id FROM numbers ORDER BY id")] == everything
        assert dict(project.sqlite("SELECT key, id FROM latest")) == newest
        assert dict(self.maria.query('SELECT "key", id FROM latest')) == newest
        assert dict(self.query("SELECT key, id FROM latest")) == newest_loadable
        # Accepted = loaded + quarantined, for each stream, batch by batch and row by row.
        for collector, streams in STREAMS.items():
            for stream in streams:
                ((accepted, loaded, quarantined, open_),) = project.journal(
                    "SELECT sum(b.rows), sum(d.rows), sum(d.quarantined),"
                    " sum(d.outcome NOT IN ('loaded', 'quarantined'))"
                    " FROM batches b LEFT JOIN deliveries d USING (batch_id)"
                    f" WHERE b.collector = '{collector}' AND d.stream = '{stream}'"
                )
                bad = len(everything) - len(loadable) if stream == "sql.postgresql" else 0
                assert (accepted, loaded, quarantined, open_) == (count, count - bad, bad, 0), (collector, stream)
        assert project.waiting() == []


@pytest.fixture
def watched(tmp_path, postgres, database, mariadb, mariadb_database):
    with HttpApi([record(n) for n in range(1, 201)], since_field="id") as api:
        maria = MariaDBPlace(make_url(mariadb.url(mariadb_database)))
        watched = Watched(tmp_path, api, postgres, database, maria)
        yield watched
        watched.project.close()


@pytest.mark.parametrize("point", [point for point in POINTS if point not in ELSEWHERE])
def test_killed_at_any_point_of_the_path_every_row_is_in_each_place_once(watched, point):
    """At its first pass, where all is new, and again in the life after that, among other batches."""
    for passes in (1, 4):
        process = watched.project.start(env={**watched.env, "API2DB_FAILPOINT": f"{point}:{passes}"})
        assert process.wait(60) == -signal.SIGKILL, f"{point}:{passes} was not reached: {watched.project.console}"
    watched.run_until_delivered(200)
    watched.check(200)


def test_killed_while_parking_every_row_is_in_each_place_once(watched):
    watched.postgres.stop()
    process = watched.project.start(env={**watched.env, "API2DB_FAILPOINT": "spool.parked:1"})
    assert process.wait(100) == -signal.SIGKILL, watched.project.console
    watched.postgres.start()
    watched.run_until_delivered(200)
    watched.check(200)


def attack(watched: Watched, kills: int, seed: str) -> tuple[int, Attack]:
    """Kill it so often, in all ways there are, while new rows appear. How many rows there are then, and the attack."""
    project = watched.project
    env = {**os.environ, **watched.env, "PYTHONPATH": str(REPOSITORY)}
    victim = Victim([sys.executable, "main.py"], project.folder, project.folder / "console.txt", env, warm.Popen)
    attack = Attack(victim)
    count = watched.api.count()
    try:
        for fault in schedule(seed, MIX):
            fresh = 5 + attack.kills % 30
            watched.api.add(*(record(n) for n in range(count + 1, count + fresh + 1)))
            count += fresh
            attack.inflict(fault)
            if attack.kills >= kills:
                return count, attack
        raise AssertionError("a schedule has no end")
    finally:
        victim.close()


@pytest.mark.timeout(300)
def test_killed_thirty_times_in_all_ways_every_row_is_in_each_place_once(watched):
    count, attacked = attack(watched, 30, "thirty")
    watched.run_until_delivered(count)
    watched.check(count)
    assert attacked.helped == 0
    assert set(attacked.tallies) == set(MIX)
