"""Cron expressions and times of day come when they say, on every day of every zone."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from api2db.due.calendar import Calendar, of_day
from api2db.due.schedule import phase, schedule_of
from api2db.errors import ConfigError

BERLIN = ZoneInfo("Europe/Berlin")
# Each has days on which its clock is changed; by half an hour on Lord Howe, at midnight in Cairo and Havana.
ZONES = [
    *("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Havana"),
    *("Asia/Kathmandu", "UTC"),
]
# Where an expression by time as it passes may leave out an hour on such a day: docs/schedules.md.
HALF_HOURS = ("Australia/Lord_Howe",)
# The day before a change, of each zone that has one in 2026.
CHANGES = {
    "Europe/Berlin": ((2026, 3, 28), (2026, 10, 24)),
    "America/New_York": ((2026, 3, 7), (2026, 10, 31)),
    "Australia/Lord_Howe": ((2026, 4, 4), (2026, 10, 3)),
    "Africa/Cairo": ((2026, 4, 23), (2026, 10, 28)),
    "America/Havana": ((2026, 3, 7), (2026, 10, 31)),
}
WATCHED_S = 27 * 3600
MINUTE_S = 60

minutes = st.one_of(st.just("*"), st.sampled_from(["*/7", "*/30"]), st.integers(0, 59).map(str), st.just("5,20-22"))
hours = st.one_of(st.just("*"), st.sampled_from(["*/2", "*/5"]), st.integers(0, 23).map(str), st.just("0-3"))
days = st.sampled_from(["*", "1-28", "29"])
weekdays = st.sampled_from(["*", "mon-fri", "sat,sun"])


@st.composite
def stretches(draw):
    zone = draw(st.sampled_from(ZONES))
    day = draw(st.sampled_from(CHANGES.get(zone, ((2026, 6, 1), (2028, 2, 28)))))
    return ZoneInfo(zone), dt.datetime(*day, 12)


def moments(calendar, first_s, last_s):
    """Those after ``first_s`` up to ``last_s``, one by one."""
    found, at_s = [], first_s
    while (at_s := calendar.after(at_s)) is not None and at_s <= last_s:
        found.append(at_s)
    return found


def matches(field, value, *, names=(), highest=59):
    if field == "*":
        return True
    if "," in field:
        return any(matches(part, value, names=names, highest=highest) for part in field.split(","))
    if field.startswith("*/"):
        return value % int(field[2:]) == 0
    first, _, last = field.partition("-")
    low, high = (names.index(part) if part in names else int(part) for part in (first, last or first))
    return low <= value <= high


def is_a_match(fields, local):
    minute, hour, day, _, weekday = fields
    week = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
    by_day = matches(day, local.day)
    by_week = matches(weekday, local.isoweekday() % 7, names=week)
    both = day.startswith("*") or weekday.startswith("*")
    on_day = (by_day and by_week) if both else (by_day or by_week)
    return on_day and matches(minute, local.minute) and matches(hour, local.hour)


def expected(expression, zone, first_s, last_s):
    """As the documentation says it, minute by minute."""
    fields = expression.split()
    if fields[0].startswith("*") or fields[1].startswith("*"):
        every = range(first_s + MINUTE_S, last_s + 1, MINUTE_S)
        return [at_s for at_s in every if is_a_match(fields, dt.datetime.fromtimestamp(at_s, zone))]
    found = set()
    naive = dt.datetime.fromtimestamp(first_s - 4 * 3600, zone).replace(tzinfo=None)
    for number in range((last_s - first_s) // MINUTE_S + 8 * 60):
        local = naive + number * dt.timedelta(minutes=1)
        if is_a_match(fields, local):
            aware = local.replace(tzinfo=zone, fold=0)
            while aware.astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None) != aware.replace(tzinfo=None):
                aware += dt.timedelta(minutes=1)  # left out by the change: the moment of the change
            found.add(int(aware.timestamp()))
    return sorted(at_s for at_s in found if first_s < at_s <= last_s)


@settings(max_examples=20, deadline=None)
@given(stretches(), minutes, hours, days, weekdays)
@example((BERLIN, dt.datetime(2026, 3, 28, 12)), "30", "2", "*", "*")
@example((BERLIN, dt.datetime(2026, 10, 24, 12)), "30", "2", "*", "*")
@example((BERLIN, dt.datetime(2026, 10, 24, 12)), "*/15", "2", "*", "*")
def test_a_cron_expression_comes_exactly_when_it_says_also_on_days_whose_clock_is_changed(
    stretch, minute, hour, day, weekday
):
    zone, noon = stretch
    by_time_passing = minute.startswith("*") or hour.startswith("*")
    assume(zone.key not in HALF_HOURS or not by_time_passing)
    expression = f"{minute} {hour} {day} * {weekday}"
    first_s = int(noon.replace(tzinfo=zone).timestamp())
    last_s = first_s + WATCHED_S
    assert moments(Calendar([expression], zone), first_s, last_s) == expected(expression, zone, first_s, last_s)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(ZONES), minutes, hours, st.integers(0, 400 * 86_400), st.integers(0, 86_400))
def test_the_latest_moment_of_a_stretch_is_the_last_that_one_comes_to_step_by_step(zone, minute, hour, start_s, length):
    calendar = Calendar([f"{minute} {hour} * * *"], ZoneInfo(zone))
    after_s = int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()) + start_s
    found = moments(calendar, after_s, after_s + length)
    assert calendar.latest(after_s, after_s + length) == (found[-1] if found else None)


@pytest.mark.parametrize(
    ("day", "comes"),
    [
        ("2026-03-29", ["2026-03-29T03:00:00+02:00"]),  # 2:00 to 3:00 is left out
        ("2026-10-25", ["2026-10-25T02:15:00+02:00"]),  # and comes twice
        ("2026-06-01", ["2026-06-01T02:15:00+02:00"]),
    ],
)
def test_a_time_of_day_comes_once_on_each_day_whatever_the_clock_does_on_it(day, comes):
    schedule = schedule_of(every=None, at=["02:15"], zone="Europe/Berlin")
    first_s = dt.datetime.fromisoformat(day).replace(tzinfo=BERLIN).timestamp()
    found = moments(schedule.calendar, first_s - 1, first_s + 86_399 - 3600)
    assert [dt.datetime.fromtimestamp(at_s, BERLIN).isoformat() for at_s in found] == comes


def test_asked_in_an_hour_that_comes_twice_the_next_moment_is_later_than_that():
    calendar = Calendar(["30 2 * * *"], BERLIN)
    for clock in ("02:10", "02:30", "02:50"):  # when these come for the second time
        at = dt.datetime.fromisoformat(f"2026-10-25 {clock}+01:00")
        found = dt.datetime.fromtimestamp(calendar.after(at.timestamp()), BERLIN)
        assert found.isoformat() == "2026-10-26T02:30:00+01:00"


def test_several_times_of_day_come_in_their_order():
    calendar = Calendar([of_day("18:30"), of_day("6:00")], BERLIN)
    first_s = dt.datetime(2026, 1, 1, tzinfo=BERLIN).timestamp()
    found = [dt.datetime.fromtimestamp(at_s, BERLIN) for at_s in moments(calendar, first_s, first_s + 2 * 86_400)]
    assert [f"{each:%d %H:%M}" for each in found] == ["01 06:00", "01 18:30", "02 06:00", "02 18:30"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"every": None, "cron": "61 * * * *"}, "cron='61 * * * *' can't be read: bad minute"),
        ({"every": None, "cron": "* * * *"}, "must have five fields"),
        ({"every": None, "cron": "0 0 * * * *"}, "for seconds give every="),
        ({"every": None, "cron": "0 0 30 2 *"}, "bad day-of-month"),
        ({"every": None, "cron": 5}, "must be text"),
        ({"every": "5m", "cron": "* * * * *"}, "every= and cron= both say when to poll"),
        ({"every": None, "cron": "* * * * *", "at": "06:00"}, "cron= and at= both say"),
        ({"every": None, "adaptive": ("1s", "1m"), "at": "06:00"}, "at= and adaptive= both say"),
        ({"every": None}, "give every=, cron=, at= or adaptive="),
        ({"every": None, "at": "24:00"}, "at='24:00' is no time of day"),
        ({"every": None, "at": ()}, "at= names no time of day"),
        ({"every": None, "at": 6}, "at=6 is no time of day"),
        ({"every": None, "at": "06:00", "zone": "Europe/Brelin"}, "did you mean 'Europe/Berlin'"),
        ({"every": None, "at": "06:00", "zone": "/etc/passwd"}, "is no time zone"),
        ({"every": "5m", "zone": "UTC"}, "zone= goes with cron= or at="),
        ({"every": "5m", "catch_up": "all"}, "catch_up= goes with cron= or at="),
        ({"every": None, "at": "06:00", "catch_up": "twice"}, 'is none of "skip", "once", "all"'),
        ({"every": None, "adaptive": ("1m", "1s")}, "the shorter duration comes first"),
        ({"every": None, "adaptive": "1m"}, "must be two durations"),
        ({"every": "1m", "jitter": "soon"}, "jitter='soon' is not a duration"),
    ],
)
def test_a_schedule_that_can_not_work_says_why_and_what_to_write(options, told):
    with pytest.raises(ConfigError) as raised:
        schedule_of(**options)
    assert told in str(raised.value)


def test_a_period_of_0_disables_whatever_else_is_said():
    assert schedule_of(every=0, cron="* * * * *", catch_up="all").seconds == 0


def test_phases_are_spread_evenly_and_stay():
    found = [phase(f"collector_{number}", "store") for number in range(1000)]
    assert all(0 <= each < 1 for each in found)
    tenths = [sum(1 for each in found if tenth / 10 <= each < (tenth + 1) / 10) for tenth in range(10)]
    assert min(tenths) > 60
    assert phase("collector_1", "store") == found[1] != phase("collector_1", "another store")
