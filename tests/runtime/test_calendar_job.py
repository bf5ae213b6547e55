"""What becomes of due times that were missed, that fail, or that come while a poll still runs."""

from __future__ import annotations

import datetime as dt

import pytest

from api2db.due.calendar import Calendar
from api2db.due.schedule import CatchUp
from api2db.due.settled import Settled
from api2db.runtime.cadence import Cadence
from api2db.runtime.calendar_job import AGAIN_S, CalendarJob
from api2db.runtime.run import End

NOON_S = int(dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC).timestamp())
HOUR_S = 3600


class World:
    """A job due at each full hour, its clocks, and what it began."""

    def __init__(self, catch_up, *, until_s=NOON_S, delay_s=0.0):
        self.wall_s, self.steady_s = float(NOON_S), 0.0
        self.busy = False
        self.begun, self.told, self.skips = [], [], 0
        self.settled = Settled(Calendar(["0 * * * *"], dt.UTC), until_s)
        self.cadence = Cadence()
        self.job = CalendarJob(
            "feed",
            self.cadence.scheduler,
            catch_up=CatchUp(catch_up),
            delay_s=delay_s,
            settled=self.settled,
            poll=self._poll,
            skipped=self._skipped,
            changed=self.told.append,
            wall=lambda: self.wall_s,
            steady=lambda: self.steady_s,
        )
        self.job.do(lambda: None)

    def _poll(self, due_s):
        if not self.busy:
            self.begun.append((due_s - NOON_S) / HOUR_S)
        return not self.busy

    def _skipped(self):
        self.skips += 1

    def passes(self, seconds):
        """Time passes, and the main loop looks, at least twice a minute."""
        while True:
            step_s = min(seconds, 30.0)
            self.wall_s += step_s
            self.steady_s += step_s
            self.cadence.run_pending()
            seconds -= step_s
            if seconds <= 0:
                return

    def ends(self, outcome="ok", due=None):
        due_s = NOON_S + int((self.begun[-1] if due is None else due) * HOUR_S)
        self.job.ended(End(outcome, False, due_s))
        self.cadence.run_pending()


@pytest.mark.parametrize("catch_up", ["skip", "once", "all"])
def test_a_due_time_is_polled_once_when_it_comes_and_not_before(catch_up):
    world = World(catch_up, delay_s=30)
    world.passes(HOUR_S + 29)
    assert world.begun == []
    assert world.told[-1] == NOON_S + HOUR_S + 30
    world.passes(2)
    world.ends()
    world.passes(HOUR_S / 2)
    assert world.begun == [1]
    assert world.told[-1] == NOON_S + 2 * HOUR_S + 30


@pytest.mark.parametrize(("catch_up", "begun"), [("skip", []), ("once", [-1]), ("all", [-4, -3, -2, -1])])
def test_due_times_missed_are_left_out_caught_up_once_or_each_in_turn(catch_up, begun):
    world = World(catch_up, until_s=NOON_S - 5 * HOUR_S)
    world.wall_s = NOON_S - 0.5 * HOUR_S
    for _ in range(6):
        world.passes(0)
        if world.begun:
            world.ends()
    assert world.begun == begun
    world.passes(0.5 * HOUR_S)
    assert world.begun == [*begun, 0]


def test_a_due_time_a_moment_ago_is_not_missed():
    world = World("skip", until_s=NOON_S - HOUR_S)
    world.passes(45)
    assert world.begun == [0]


@pytest.mark.parametrize("catch_up", ["skip", "once"])
def test_a_due_time_that_comes_while_a_poll_runs_is_left_out_and_counted(catch_up):
    world = World(catch_up)
    world.busy = True
    world.passes(HOUR_S)
    world.busy = False
    world.passes(10)
    assert (world.begun, world.skips) == ([], 1)
    world.passes(HOUR_S)
    assert world.begun == [2]


def test_where_each_runs_a_due_time_waits_for_a_poll_that_runs_or_was_asked_for():
    world = World("all")
    world.busy = True
    world.passes(3 * HOUR_S)
    world.busy = False
    world.passes(2)
    assert world.begun == [1]
    world.job.ended(End("ok", True, None))  # somebody else's poll
    world.passes(0)
    assert world.begun == [1]
    world.ends()
    assert (world.begun, world.skips) == ([1, 2], 0)


@pytest.mark.parametrize(("outcome", "slower"), [("failed", 2), ("abandoned", 2), ("paused", 1), ("waiting", 1)])
def test_where_each_runs_one_whose_poll_did_not_end_well_is_tried_again_before_later_ones(outcome, slower):
    world = World("all")
    world.passes(2 * HOUR_S)
    first_s, longest_s = AGAIN_S
    for number in range(8):
        world.ends(outcome)
        wait_s = min(longest_s, first_s * slower**number)
        assert world.told[-1] == world.wall_s + wait_s
        world.passes(wait_s - 1)
        assert len(world.begun) == number + 1
        world.passes(2)
    assert set(world.begun) == {1}
    world.ends()
    assert world.begun[-1] == 2
    assert world.settled.until_s == NOON_S + HOUR_S


def test_where_each_runs_one_whose_poll_was_cut_short_by_a_stop_is_not_done_with():
    world = World("all")
    world.passes(HOUR_S)
    world.job.ended(End("stopped", False, NOON_S + HOUR_S))
    world.job.hear()
    assert world.settled.next(world.wall_s) == NOON_S + HOUR_S


@pytest.mark.parametrize("catch_up", ["skip", "once", "all"])
def test_a_clock_that_steps_back_and_forth_repeats_nothing_and_stalls_nothing(catch_up):
    world = World(catch_up)
    for _ in range(3):
        world.passes(HOUR_S)
        world.ends()
    assert world.begun == [1, 2, 3]
    world.wall_s -= 2.5 * HOUR_S  # at half past twelve again
    for _ in range(4):
        world.passes(HOUR_S)
        world.ends(due=4)
    assert world.begun == [1, 2, 3, 4]


@pytest.mark.parametrize("catch_up", ["skip", "once", "all"])
def test_a_clock_that_was_a_year_ahead_for_a_while_does_not_put_off_what_comes_after(catch_up):
    world = World(catch_up)
    world.wall_s += 365 * 24 * HOUR_S
    world.passes(0)
    for due in list(world.begun):
        world.ends(due=due)
    world.wall_s -= 365 * 24 * HOUR_S
    world.passes(0)
    for _ in range(4):
        world.passes(HOUR_S)
        world.ends(due=world.begun[-1])
    assert sorted(due for due in world.begun if due < 5) == [1, 2, 3, 4]


def test_a_calendar_without_a_further_time_is_not_due_and_says_so():
    world = World("once")
    world.settled.calendar.expressions = ()
    world.passes(HOUR_S)
    assert (world.begun, world.told) == ([], [None])
    assert world.cadence.idle_s() == float("inf")
