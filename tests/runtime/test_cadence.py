"""Due times keep their phase, whatever runs take and whoever turns the clock."""

from __future__ import annotations

import datetime
from collections import Counter

import pytest

from api2db.due.pace import Pace
from api2db.runtime import cadence
from api2db.runtime.cadence import Cadence


@pytest.fixture
def clock(monkeypatch):
    """Seconds since the start, turned by the test."""
    start, now = datetime.datetime(2026, 1, 1), [0.0]
    monkeypatch.setattr(cadence, "steady_now", lambda: start + datetime.timedelta(seconds=now[0]))
    return now


def test_a_job_runs_at_once_and_then_in_phase_however_long_its_runs_take(clock):
    ran = []

    def slow():
        ran.append(clock[0])
        clock[0] += 3.3

    jobs = Cadence()
    jobs.add(10, slow)
    while clock[0] < 40:
        clock[0] += jobs.idle_s()
        jobs.run_pending()
    assert ran == pytest.approx([0, 10, 20, 30, 40])


def test_a_stall_causes_one_late_run_and_no_burst(clock):
    ran = []
    jobs = Cadence()
    jobs.add(1, lambda: ran.append(clock[0]))
    jobs.run_pending()
    clock[0] = 3600.5
    for _ in range(5):
        jobs.run_pending()
    assert ran == [0.0, 3600.5]
    assert jobs.idle_s() == pytest.approx(0.5)


def test_a_step_of_the_wall_clock_is_not_noticed(monkeypatch):
    class Stepped(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime(1999, 1, 1, tzinfo=tz)

    ran = []
    jobs = Cadence()
    jobs.add(1000, lambda: ran.append(1))
    jobs.run_pending()
    monkeypatch.setattr("schedule.datetime.datetime", Stepped)
    jobs.run_pending()
    assert ran == [1]
    assert 0 < jobs.idle_s() <= 1000


def test_jobs_of_one_period_are_spread_over_it_and_start_within_ten_seconds(clock):
    first: dict[int, float] = {}
    jobs = Cadence()
    for number in range(300):
        jobs.add(3600 if number % 2 else 5, lambda number=number: first.setdefault(number, clock[0]))
    while len(first) < 300:
        clock[0] += jobs.idle_s()
        jobs.run_pending()
    assert first[0] == 0
    assert max(first.values()) < cadence.SPREAD_S
    at_once = Counter(round(at, 3) for number, at in first.items() if number % 2 == 0)
    assert max(at_once.values()) <= 6  # 150 jobs on 5 s


def test_a_learned_period_counts_from_the_last_run_and_changes_at_once(clock):
    ran = []
    jobs, pace = Cadence(), Pace(1.0, 60.0, 8.0)
    jobs.add_paced(pace, lambda: ran.append(clock[0]), delay_s=5)
    for period_s in (8.0, 4.0, 16.0):
        clock[0] += jobs.idle_s()
        jobs.run_pending()
        pace.period_s = period_s
    assert ran == [5.0, 13.0, 17.0]
    assert jobs.idle_s() == 16.0


def test_an_offset_puts_off_the_first_run_and_keeps_the_period(clock):
    ran = []
    jobs = Cadence()
    jobs.add(10, lambda: ran.append(clock[0]), delay_s=25)
    for _ in range(3):
        clock[0] += jobs.idle_s()
        jobs.run_pending()
    assert ran == [25.0, 35.0, 45.0]


def test_without_jobs_there_is_nothing_to_wait_for():
    assert Cadence().idle_s() is None
