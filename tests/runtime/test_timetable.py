"""What is kept of a schedule in STORE: the next daemon uses it, unless it is another schedule's, or damaged."""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import closing

import pytest

from api2db import Collector
from api2db.cli.status_text import as_text
from api2db.journal.journal import Journal
from api2db.layout import StoreLock
from api2db.runtime.cadence import Cadence
from api2db.runtime.job import Job
from api2db.runtime.poller import Poller
from api2db.runtime.status import read_status
from api2db.runtime.timetable import Timetable
from api2db.sources.context import POLL, PutOff
from api2db.spool.collector import CollectorSpool
from tests.project_kit import eventually
from tests.spool_kit import make_spool

DAY_S = 86_400


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


class Store:
    """STORE and the timetables of one daemon after the other."""

    def __init__(self, root):
        self.spool = make_spool(root)
        self.layout = self.spool.layout
        self.layout.make_id()
        self.journal = Journal(self.layout.journal)
        self.stop = threading.Event()
        self.poller = Poller(threads=1, stop=self.stop)

    def timetable(self, **clock):
        return Timetable(Cadence(), self.poller, self.journal, self.layout, lambda: None, durable=False, **clock)

    def job(self, name, source=lambda: None, seconds=None, **schedule):
        collector = Collector(name, seconds, source, None, None, **schedule)
        self.journal.declare([(name, collector.seconds, None)], [])
        shards = CollectorSpool(self.spool, name, ("s",))
        shards.remember_streams({"s": "somewhere"})
        return Job(collector, spool=self.spool, shards=shards, streams=("s",), journal=self.journal,
                   accepted=lambda batch: None, timeout_s=60)  # fmt: skip

    def state(self, name):
        query = "SELECT state, cause, next_run_ns FROM collectors WHERE collector = ?"
        return self.journal._file.connection.execute(query, (name,)).fetchone()

    def kept(self, name):
        return json.loads(self.layout.due(name).read_text())

    def keep(self, name, text):
        self.layout.due(name).parent.mkdir(exist_ok=True)
        self.layout.due(name).write_text(text)

    def close(self):
        self.stop.set()
        self.journal.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schedule": "at 06:00 UTC", "until_s": "x", "ran": []}'])
def test_where_nobody_can_tell_what_was_polled_for_the_collector_is_not_polled_and_says_so(store, text):
    store.keep("feed", text)
    timetable = store.timetable()
    timetable.add(store.job("feed", at="06:00", catch_up="all"))
    state, cause, _ = store.state("feed")
    assert state == "broken"
    assert str(store.layout.due("feed")) in cause
    assert "move it away" in cause
    assert timetable.idle_s() is None
    assert store.layout.due("feed").read_text() == text


def test_what_was_missed_is_of_the_schedule_that_was_in_force(store):
    missed = '{"schedule": "at 06:00 UTC", "until_s": 1000000000, "ran": []}'
    for at, is_due in (("06:00", True), ("05:00", False)):
        store.keep("feed", missed)
        timetable = store.timetable()
        timetable.add(store.job("feed", at=at))
        assert (timetable.idle_s() == 0) is is_due
    timetable.run_pending()
    assert store.kept("feed")["schedule"] == "at 05:00 UTC"
    assert store.kept("feed")["until_s"] > 1000000000


@pytest.mark.parametrize("damaged", [False, True])
def test_a_learned_period_is_kept_for_the_next_daemon_and_learned_anew_where_it_is_lost(store, damaged):
    timetable = store.timetable()
    timetable.add(store.job("feed", adaptive=("1h", "9h")))
    timetable.run_pending()
    eventually(store.layout.due("feed").exists, what="the first poll's end")
    assert store.kept("feed") == {"schedule": "adaptive, 1h to 9h", "period_s": 1.5 * 3600}
    if damaged:
        store.keep("feed", "{")
    job = store.job("feed", adaptive=("1h", "9h"))
    timetable = store.timetable()
    timetable.add(job)
    eventually(lambda: timetable.run_pending() or job.next_run_ns, what="the next daemon's first poll")
    wanted_s = 3600 if damaged else 1.5 * 3600
    text = json.dumps({"schedule": "adaptive, 1h to 9h", "period_s": 1.5 * wanted_s})
    eventually(lambda: store.layout.due("feed").read_text() == text, what="the second poll's end")


@pytest.mark.parametrize(("rows", "period_s"), [([{"id": 1}], 2 * 3600), (None, 6 * 3600)], ids=["new", "nothing"])
def test_a_poll_that_brings_something_new_is_followed_sooner_and_one_that_does_not_later(store, rows, period_s):
    store.keep("feed", json.dumps({"schedule": "adaptive, 1h to 9h", "period_s": 4 * 3600}))
    job = store.job("feed", lambda: rows, adaptive=("1h", "9h"))
    timetable = store.timetable()
    timetable.add(job)
    eventually(lambda: timetable.run_pending() or job.next_run_ns, what="the poll")
    text = json.dumps({"schedule": "adaptive, 1h to 9h", "period_s": float(period_s)})
    eventually(lambda: store.layout.due("feed").read_text() == text, what=f"the period of {period_s} s")


def test_a_poll_that_is_put_off_teaches_nothing_about_how_often_there_is_something_new(store):
    asked = []

    def source():
        asked.append(len(asked))
        if len(asked) == 1:
            raise PutOff("the server wants to be left alone", 0.2)

    job = store.job("feed", source, adaptive=("1h", "9h"))
    timetable = store.timetable()
    timetable.add(job)
    timetable.run_pending()
    eventually(lambda: job.put_off, what="the poll was put off")
    assert not store.layout.due("feed").exists()
    eventually(lambda: timetable.begin_put_off() or store.layout.due("feed").exists(), what="it was polled after all")
    assert store.kept("feed")["period_s"] == 1.5 * 3600
    assert asked == [0, 1]


@pytest.mark.parametrize("schedule", [{"seconds": 3600}, {"adaptive": ("1h", "9h")}, {"at": "06:00"}], ids=str)
def test_one_that_was_told_to_wait_says_so_until_when_and_why_after_a_restart_too(store, schedule):
    def source():
        raise PutOff("the server wants to be left alone", 7200)

    job = store.job("feed", source, **schedule)
    store.poller.start(job)
    eventually(lambda: job.put_off and job.run is None, what="the poll was put off")
    job = store.job("feed", source, **schedule)
    timetable = store.timetable()
    timetable.add(job)
    for _ in range(2):
        state, cause, next_run_ns = store.state("feed")
        assert state == "waiting"
        assert re.fullmatch(
            r"until 20\S+Z, as was said before the daemon started: the server wants to be left alone", cause
        )
        assert next_run_ns >= job.not_before_ns > 0
        timetable.run_pending()
        timetable.begin_put_off()
    assert job.run is None


def test_where_each_due_time_runs_one_that_is_put_off_waits_and_nothing_is_asked_meanwhile(store):
    asked, clock = [], [0.0]

    def source():
        asked.append(time.time())
        if len(asked) < 3:
            raise PutOff("the server wants to be left alone", 0.2 if len(asked) == 1 else 7200)

    store.keep("feed", '{"schedule": "at 06:00 UTC", "until_s": 1000000000, "ran": []}')
    job = store.job("feed", source, at="06:00", catch_up="all")
    timetable = store.timetable(steady=lambda: time.monotonic() + clock[0])
    timetable.add(job)

    def passes(seconds, count):
        for _ in range(count):
            clock[0] += seconds
            timetable.run_pending()

    timetable.run_pending()
    eventually(lambda: job.put_off, what="the poll was put off")
    eventually(lambda: passes(61, 1) or len(asked) == 2, what="asked again once the time was over")
    eventually(lambda: job.put_off and job.run is None, what="the poll was put off once more")
    passes(2, 300)
    assert len(asked) == 2
    assert timetable.idle_s() > 0
    assert store.state("feed")[2] / 1e9 > asked[1] + 7000
    assert store.kept("feed")["until_s"] == 1000000000


def test_collectors_due_at_one_moment_start_one_after_the_other_and_jitter_puts_them_further_apart(store):
    timetable, begins = store.timetable(), {}
    for number in range(30):
        name, jitter = f"feed_{number}", "1h" if number >= 10 else 0
        timetable.add(store.job(name, at="06:00", offset="10m", jitter=jitter))
    timetable.run_pending()
    for number in range(30):
        begins[number] = store.state(f"feed_{number}")[2] / 1e9 % DAY_S - 6 * 3600 - 600
    near = sorted(begins[number] for number in range(10))
    assert near == pytest.approx([number / 10 for number in range(10)], abs=0.01)
    apart = sorted(begins[number] for number in range(10, 30))
    assert apart[0] >= 0
    assert apart[-1] < 3610
    assert apart[-1] - apart[0] > 900


def test_a_program_may_change_the_seconds_of_a_collector_that_it_has_made():
    collector = Collector("feed", 0, lambda: None, None, None)
    collector.seconds = "5m"
    assert (collector.seconds, collector.schedule.text) == (300, "every 5m")


def test_a_poll_that_takes_long_is_told_with_since_when_and_not_once_it_has_ended(store):
    go_on = threading.Event()

    def source():
        POLL.get().reached("since=2026-01-01")
        return [{"ended": go_on.wait()}]

    job = store.job("feed", source, 3600)
    before_ns = time.time_ns()
    store.poller.start(job)
    eventually(lambda: [where for _, where in store.poller.under_way(0).values()] == ["since=2026-01-01"])
    assert store.poller.under_way(3600) == {}
    with closing(StoreLock(store.layout)):
        store.journal.note(polling=json.dumps(store.poller.under_way(0)))
        (feed,) = read_status(store.layout).collectors
        assert feed.polling_since_ns >= before_ns
        assert (
            "feed: due, 0 rows in 0 batches, 0 polls, polling for 0 s (since=2026-01-01), last success never"
            in as_text(read_status(store.layout))
        )
        go_on.set()
        eventually(lambda: store.state("feed")[0], what="the poll ended")
        (feed,) = read_status(store.layout).collectors
        assert feed.polling_since_ns is None
    eventually(lambda: store.poller.under_way(0) == {}, what="nothing is under way")
