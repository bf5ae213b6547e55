"""However the clock is turned, no due time comes twice, and none is forgotten that the clock passes."""

from __future__ import annotations

import datetime as dt

from hypothesis import given, settings
from hypothesis import strategies as st

from api2db.due.calendar import Calendar
from api2db.due.pace import Pace
from api2db.due.settled import STRETCHES_KEPT, Settled

START_S = int(dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC).timestamp())
CALENDARS = [Calendar([text], dt.UTC) for text in ("*/15 * * * *", "7 12-14 * * *", "0 6 * * *")]

steps_s = st.lists(
    st.one_of(st.integers(1, 4000), st.integers(-4000, -1), st.sampled_from([-86_400, 86_400, 10 * 366 * 86_400])),
    max_size=15,
)


def passed(known, now_s, *, takes_each):
    """What runs at a look at ``now_s``."""
    ran = []
    while (due := known.next(now_s)) is not None and due <= now_s:
        if not takes_each:
            due = known.latest(now_s)
        ran.append(due)
        known.settle(due, ran=True)
    return ran


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CALENDARS), steps_s)
def test_a_due_time_that_ran_never_comes_again_and_the_next_one_is_not_put_off(calendar, steps):
    known, now_s, ran = Settled(calendar, START_S), START_S, []
    for step_s in steps:
        now_s = max(0, now_s + step_s)
        ran += passed(known, now_s, takes_each=False)
        ahead = known.next(now_s)
        assert ahead is not None
        assert ahead > now_s
        # Nothing is between now and the next one but what has run already.
        between, at_s = [], float(now_s)
        while (at_s := calendar.after(at_s)) < ahead:
            between.append(at_s)
        assert set(between) <= set(ran)
    assert len(ran) == len(set(ran))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(CALENDARS), st.lists(st.integers(-7200, 20_000), max_size=12))
def test_with_each_in_turn_every_due_time_up_to_now_runs_once_and_in_order(calendar, steps):
    known, now_s, ran, furthest = Settled(calendar, START_S), START_S, [], START_S
    for step_s in steps:
        now_s = max(START_S, now_s + step_s)
        furthest = max(furthest, now_s)
        ran += passed(known, now_s, takes_each=True)
    wanted, at_s = [], START_S
    while (at_s := calendar.after(at_s)) <= furthest:
        wanted.append(at_s)
    assert ran == wanted


def test_what_ran_is_kept_as_stretches_of_which_there_are_never_many():
    calendar = CALENDARS[0]
    known, due = Settled(calendar, START_S), START_S
    for number in range(500):
        due = calendar.after(due)
        known.settle(due, ran=number % 3 != 0)
    assert len(known.ran) == STRETCHES_KEPT
    assert known.ran[-1][1] == due
    for _ in range(50):
        due = calendar.after(due)
        known.settle(due, ran=True)
    assert known.ran[-1] == (due - 50 * 900, due)


@given(st.lists(st.booleans(), max_size=200))
def test_a_learned_period_stays_within_its_bounds(changes):
    pace = Pace(10.0, 600.0, 10.0)
    for changed in changes:
        before_s = pace.period_s
        pace.learn(changed)
        assert 10.0 <= pace.period_s <= 600.0
        assert pace.period_s <= before_s if changed else pace.period_s >= before_s


def test_a_period_is_learned_from_how_often_there_is_something_new():
    pace, at_s, seen_s = Pace(1.0, 3600.0, 1.0), 0.0, 0.0
    polls, found = 0, 0
    for _ in range(2000):
        at_s += pace.period_s
        new = int(at_s // 600) > int(seen_s // 600)  # something every ten minutes
        seen_s, polls, found = at_s, polls + 1, found + new
        pace.learn(new)
    assert 0.25 < found / polls < 0.5
