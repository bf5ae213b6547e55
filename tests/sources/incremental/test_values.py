"""A cursor's values as records hold them, as they are compared, and as an API is asked for them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api2db.errors import ConfigError, SourceError
from api2db.sources.incremental.incremental import Incremental
from api2db.sources.incremental.progress import Progress
from api2db.sources.incremental.times import Times, micros
from api2db.sources.incremental.values import kind_of

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
FORMATS = ("iso", "iso-naive", "date", "s", "ms", "us", "ns", "%Y%m%d", "%d.%m.%Y %H:%M", "%Y-%m-%dT%H:%M:%S.%f%z")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu")


def since(value, **options):
    how = Incremental("at", "since", start=value, **options)
    return how.params(how.start_rank, None)["since"]


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, "2026-03-01T12:00:00Z"),
        ({"format": "iso-naive", "zone": "Europe/Berlin"}, "2026-03-01T13:00:00"),
        ({"format": "date", "zone": "Asia/Kathmandu"}, "2026-03-01"),
        ({"format": "s"}, "1772366400"),
        ({"format": "ms"}, "1772366400000"),
        ({"format": "%d.%m.%Y %H:%M", "zone": "America/New_York"}, "01.03.2026 07:00"),
        ({"format": "%Y-%m-%dT%H:%M:%S%z", "zone": "America/New_York"}, "2026-03-01T07:00:00-0500"),
        ({"inclusive": False}, "2026-03-01T11:59:59Z"),
        ({"inclusive": False, "format": "date"}, "2026-02-28"),
        ({"inclusive": False, "format": "ms"}, "1772366399000"),
    ],
    ids=str,
)
def test_a_time_is_sent_in_the_form_that_was_said(options, sent):
    assert since(NOON, **options) == sent


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("at:s", "1772366400"),
        ("at:ms", "1772366400000"),
        ("at:us", "1772366400000000"),
        ("at:ns", "1772366400000000000"),
        ("at:date", "2026-03-01"),
        ("at:iso", "2026-03-01T12:00:00Z"),
    ],
)
def test_a_field_is_asked_for_as_it_is_read_where_no_format_is_said(field, sent):
    how = Incremental(field, "since", start="2026-03-01T12:00:00Z")
    assert how.params(how.start_rank, None) == {"since": sent}
    assert how.sends_numbers is sent.isdecimal()


def test_numbers_and_texts_are_sent_as_they_are():
    assert since(7) == "7"
    assert since(7, inclusive=False) == "6"
    assert since("abc") == "abc"
    assert Incremental("id", {"q": "id>={since} id<{until}"}, start=7).params(8, 9) == {"q": "id>=8 id<9"}


@pytest.mark.parametrize(
    ("field", "value", "rank"),
    [
        ("at", "2026-03-01T12:00:00Z", micros(NOON)),
        ("at", "2026-03-01T13:00:00+01:00", micros(NOON)),
        ("at", "2026-03-01T12:00:00.000001", micros(NOON) + 1),
        ("at", "2026-03-01", micros(NOON.replace(hour=0))),
        ("at", "Sun, 01 Mar 2026 13:00:00 +0100", micros(NOON)),
        ("at", "Sun, 01 Mar 2026 12:00:00 GMT", micros(NOON)),
        ("at", "2026-02-28T24:00:00Z", micros(NOON.replace(hour=0))),
        ("at", "2026-03-01T12:59:60+01:00", micros(NOON)),
        ("at:s", 1772366400, micros(NOON)),
        ("at:s", 1772366400.25, micros(NOON) + 250_000),
        ("at:ms", "1772366400000", micros(NOON)),
        ("at:ns", 1772366400000000999, micros(NOON)),
    ],
)
def test_times_are_compared_as_microseconds_however_a_record_holds_them(field, value, rank):
    assert Incremental(field, "since", start="2026-01-01").ranks([{"at": value}, {"at": None}, {}]) == [
        rank,
        None,
        None,
    ]


@given(
    st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC)),
    st.sampled_from(FORMATS),
    st.sampled_from(ZONES),
)
def test_what_is_sent_never_leaves_out_what_was_asked_for(moment, format, zone):
    kind = kind_of("ms", format, zone, None)
    assert isinstance(kind, Times)
    rank = micros(moment)
    told = kind.told(rank)
    assert told <= rank
    assert kind.text(told) == kind.text(rank)
    assert kind.told(told) == told
    assert rank <= kind.onward(rank) == kind.told(kind.onward(rank)) <= rank + 26 * 3_600_000_000
    assert kind.taken(kind.kept(rank)) == rank


AUTUMN = {
    "Europe/Berlin": dt.datetime(2025, 10, 26, 1, tzinfo=dt.UTC),
    "America/New_York": dt.datetime(2025, 11, 2, 6, tzinfo=dt.UTC),
    "America/Havana": dt.datetime(2025, 11, 2, 5, tzinfo=dt.UTC),  # back to midnight
    "America/Sao_Paulo": dt.datetime(2018, 2, 18, 2, tzinfo=dt.UTC),  # from midnight back
    "America/St_Johns": dt.datetime(2010, 11, 7, 2, 31, tzinfo=dt.UTC),  # from one minute after it
    "Australia/Lord_Howe": dt.datetime(2025, 4, 5, 15, tzinfo=dt.UTC),  # by half an hour
    "Antarctica/Troll": dt.datetime(2025, 10, 26, 1, tzinfo=dt.UTC),  # by two
}
"""When the clock is put back."""
HOUR_US = 3_600_000_000


def put_back(zone):
    """The clock's change, and all rows around it, one each quarter of an hour: id, moment, local time."""
    change = AUTUMN[zone]
    moments = [change + dt.timedelta(minutes=15 * number) for number in range(-16, 24)]
    return change, [(number, one, one.astimezone(ZoneInfo(zone))) for number, one in enumerate(moments)]


@pytest.mark.parametrize("zone", AUTUMN)
@pytest.mark.parametrize(("knows", "holds"), [("moments", "naive"), ("local times", "naive"), ("local times", "aware")])
@pytest.mark.parametrize(
    ("format", "window"), [("date", "1d"), ("iso-naive", "1h"), ("%Y-%m-%d %H:%M", "30m"), ("iso", "30m")]
)
def test_windows_move_on_where_the_clock_is_put_back_and_miss_no_row(zone, knows, holds, format, window):
    change, rows = put_back(zone)
    how = Incremental(
        "at", "since", start=change - dt.timedelta(hours=26), format=format, zone=zone, window=window, until_param="to"
    )

    def between(moment, local, since, to):
        low, high = (dt.datetime.fromisoformat(text) for text in (since, to))
        if low.tzinfo is None and knows == "moments":
            return low.replace(tzinfo=local.tzinfo) <= moment < high.replace(tzinfo=local.tzinfo)
        if low.tzinfo is None:
            return low <= local.replace(tzinfo=None) < high
        return low <= moment < high

    progress = Progress(how, None, now_us=lambda: micros(change) + 32 * HOUR_US)
    asked, delivered = [], []
    for stretch in progress.stretches():
        since, to = stretch.params["since"], stretch.params["to"]
        assert since < to
        asked.append((since, to))
        page = [
            {"id": number, "at": (local.replace(tzinfo=None) if holds == "naive" else local).isoformat()}
            for number, moment, local in rows
            if between(moment, local, since, to)
        ]
        delivered += [record["id"] for record in progress.take(page, None).records]
        progress.accepted()
    assert sorted(delivered) == [number for number, _, _ in rows]
    assert asked == sorted(asked)


def test_a_cursor_that_stood_still_where_the_clock_is_put_back_goes_on_and_a_window_may_begin_there():
    how = Incremental(
        "at", "since", start="2025-10-26", format="date", zone="Europe/Berlin", window="1d", until_param="to"
    )
    midnight = "2025-10-25T22:00:00+00:00"
    progress = Progress(how, {"floor": midnight, "walk": {"low": midnight, "to": midnight, "at": "2025-11-01"}})
    asked = []
    for stretch in progress.stretches():
        progress.take([], None)
        asked.append((stretch.params["since"], stretch.params["to"]))
        if len(asked) == 3:
            break
    assert asked[1:] == [("2025-10-26", "2025-10-27"), ("2025-10-27", "2025-10-28")]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Antarctica/Troll"])
@pytest.mark.parametrize("lag", [None, "20m"])
@pytest.mark.parametrize("order", ["ascending", "newest_first", None])
@pytest.mark.parametrize("format", ["iso-naive", "iso", "date"])
def test_local_times_without_a_zone_are_read_in_order_through_the_hour_that_comes_twice(zone, lag, order, format):
    _, rows = put_back(zone)
    how = Incremental("at", "since", start="2010-01-01", format=format, zone=zone, order=order, lag=lag)
    delivered, cursor = [], None
    for count in (*range(5, len(rows), 3), len(rows)):
        progress = Progress(how, cursor, now_us=lambda now=rows[count - 1][1]: micros(now))
        for stretch in progress.stretches():
            since = dt.datetime.fromisoformat(stretch.params["since"])
            given = [
                {"id": number, "at": local.replace(tzinfo=None).isoformat()}
                for number, moment, local in rows[:count]
                if (moment if since.tzinfo else local.replace(tzinfo=None)) >= since
            ]
            given = given[::-1] if order == "newest_first" else given
            for begin in range(0, len(given) or 1, 4):
                fresh = progress.take(given[begin : begin + 4], begin + 4 if begin + 4 < len(given) else None)
                delivered += [record["id"] for record in fresh.records]
                cursor = fresh.cursor
                progress.accepted()
                if fresh.enough:
                    break
    assert sorted(delivered) == [number for number, _, _ in rows], "each once"


def test_order_is_looked_at_beside_the_hour_that_comes_twice_as_ever():
    how = Incremental("at", "since", start="2010-01-01", zone="Europe/Berlin", order="ascending")
    for times in (("02:50", "03:00", "02:10"), ("02:10", "01:50"), ("03:10", "03:00")):
        with pytest.raises(SourceError, match="aren't 'ascending'"):
            pages_of(how, None, [{"at": f"2025-10-26T{time}:00"} for time in times])


def pages_of(how, cursor, *pages, **options):
    """What one poll takes of pages, and the cursor after it."""
    progress = Progress(how, cursor, **options)
    stretch = next(progress.stretches())
    taken = [progress.take(page, number if page is not pages[-1] else None) for number, page in enumerate(pages)]
    return stretch.params, [record["id"] for fresh in taken for record in fresh.records], taken[-1].cursor


def test_texts_in_an_order_only_the_api_knows_go_on_at_the_last_one():
    how = Incremental("token", "after", format="opaque", order="ascending")
    first = [{"id": 1, "token": "z"}, {"id": 2, "token": "b"}]
    _, ids, cursor = pages_of(how, None, first, [{"id": 3, "token": "k"}])
    assert (ids, cursor["high"]) == ([1, 2, 3], "k")
    asked, ids, cursor = pages_of(how, cursor, [{"id": 3, "token": "k"}, {"id": 4, "token": "a"}])
    assert (asked, ids, cursor["high"]) == ({"after": "k"}, [4], "a")


def test_an_open_page_of_texts_in_an_order_only_the_api_knows_is_known_when_it_is_asked_for_again():
    how = Incremental("token", "after", format="opaque", order="ascending")
    page = [{"id": 1, "token": "z"}, {"id": 2, "token": "b"}]
    progress = Progress(how, None)
    next(progress.stretches())
    cursor = progress.take(page, 2, open_at=None).cursor
    progress = Progress(how, cursor)
    stretch = next(progress.stretches())
    assert (stretch.step, stretch.is_again) == (None, True)
    assert [record["id"] for record in progress.take([*page, {"id": 3, "token": "k"}], 2).records] == [3]


def test_numbers_are_read_again_as_far_behind_as_was_said():
    how = Incremental("n", "above", start=0, lag=5, inclusive=False)
    _, ids, cursor = pages_of(how, None, [{"id": n, "n": n} for n in range(10)])
    assert ids == list(range(10))
    asked, ids, _ = pages_of(
        how, cursor, [{"id": n, "n": n} for n in (4, 5, 6)] + [{"id": 66, "n": 6}, {"id": 10, "n": 10}]
    )
    assert (asked, ids) == ({"above": "3"}, [66, 10])


def test_records_may_hold_times_as_they_are_sent():
    how = Incremental("at", "since", start="2026-03-01", format="%d.%m.%Y")
    assert how.ranks([{"at": "02.03.2026"}]) == [micros(NOON.replace(day=2, hour=0))]


def test_records_may_hold_texts_where_numbers_are_sent():
    how = Incremental("at:iso", "since", start="2026-01-01", format="ms")
    (rank,) = how.ranks([{"at": "2026-03-01T12:00:00.250Z"}])
    assert how.params(rank, None) == {"since": "1772366400250"}


def test_a_stretch_that_is_begun_anew_never_goes_back_before_what_was_asked_for():
    """An API that can't be asked gives everything, also what lies far before."""
    how = Incremental("n", order="ascending", format="number")
    cursor = {"high": 9, "walk": {"low": 9, "reached": 4, "top": 4, "step": 2}}
    progress = Progress(how, cursor)
    stretches = progress.stretches()
    next(stretches)
    progress.lost_step()
    next(stretches)
    assert [record["n"] for record in progress.take([{"n": n} for n in range(11)], None).records] == [9, 10]


@pytest.mark.parametrize("start", ["2026-1-1", "2026-13-01", "2026-02-30T12:00:00Z", "01/02/2026", "2026-01", "now"])
def test_a_start_that_looks_like_a_time_and_is_none_is_a_mistake(start):
    with pytest.raises(ConfigError, match="looks like a time and is none"):
        Incremental("at", "since", start=start)
    assert Incremental("at", "since", start=start, format="text").start_rank == start


@pytest.mark.parametrize(
    ("start", "value"), [("5", 7), ("abc", "2026-01-05T00:00:00Z"), (5, "2026-01-05"), ("2026-01-01", 5)]
)
def test_records_of_another_kind_than_start_fail_the_poll(start, value):
    with pytest.raises(SourceError, match="the incremental field 'at' holds"):
        Incremental("at", "since", start=start).ranks([{"at": value}])


def test_a_record_dated_far_ahead_does_not_move_what_is_reached():
    how = Incremental("at", "since", start="2026-01-01")
    far = {"id": 9, "at": "9999-12-31T00:00:00Z"}
    _, ids, cursor = pages_of(how, None, [{"id": 1, "at": "2026-02-01T00:00:00Z"}, far])
    assert (ids, cursor["high"]) == ([1, 9], "2026-02-01T00:00:00+00:00")
    asked, ids, _ = pages_of(how, cursor, [{"id": 2, "at": "2026-02-02T00:00:00Z"}, far])
    assert (asked, ids) == ({"since": "2026-02-01T00:00:00Z"}, [2])


@pytest.mark.parametrize(
    ("order", "pages"),
    [("ascending", ([30, 40], [10, 20])), ("newest_first", ([60, 50], [40, 30], [55, 45]))],
)
def test_pages_that_are_not_sorted_among_each_other_fail_the_poll(order, pages):
    how = Incremental("n", "above", start=0, order=order)
    with pytest.raises(SourceError, match=f"pages aren't '{order}'"):
        pages_of(how, None, *([{"n": n} for n in page] for page in pages))


def test_newest_first_pages_may_begin_later_where_more_than_a_page_appeared_meanwhile():
    how = Incremental("n", "above", start=0, order="newest_first")
    assert pages_of(how, None, [{"id": 4, "n": 4}], [{"id": 6, "n": 6}], [{"id": 3, "n": 3}])[1] == [4, 3]


@pytest.mark.parametrize("others", [0, 30], ids=["in the cursor", "in a file"])
def test_what_changes_back_within_the_lag_is_delivered_again_where_there_is_a_key(tmp_path, others):
    how = Incremental("n", "above", start=0, lag=5)
    more = [{"id": 100 + number, "n": 7} for number in range(others)]
    delivered, cursor = [], None
    for state in ("A", "B", "A", "A", "B"):
        page = [{"id": 1, "n": 7, "state": state}, *more]
        progress = Progress(how, cursor, folder=tmp_path, name="it", key=("id",))
        next(progress.stretches())
        fresh = progress.take(page, None)
        delivered += [record["state"] for record in fresh.records if record["id"] == 1]
        cursor = fresh.cursor
        progress.accepted()
    assert delivered == ["A", "B", "A", "B"]
    assert "file" in cursor["seen"] if others else len(cursor["seen"]["rows"]) == 1


@pytest.mark.parametrize("has_rows", [True, False])
def test_windows_that_a_clock_far_ahead_closed_are_asked_for_again_and_nothing_comes_twice(has_rows):
    how = Incremental("at", "since", start="2026-03-01", window="1d", until_param="until", lag="2h")
    rows = [{"id": 1, "at": "2026-03-01T11:00:00Z"}] if has_rows else []
    cursor, delivered, asked = None, [], []
    for years, late in ((0, []), (1, []), (0, [{"id": 2, "at": "2026-03-01T10:30:00Z"}])):
        now_us = micros(NOON.replace(year=2026 + years))
        progress = Progress(how, cursor, now_us=lambda now_us=now_us: now_us)
        for stretch in progress.stretches():
            asked.append(stretch.params["since"])
            answer = [row for row in rows + late if stretch.params["since"] <= row["at"] < stretch.params["until"]]
            fresh = progress.take(answer, None)
            delivered += [record["id"] for record in fresh.records]
            cursor = fresh.cursor
            progress.accepted()
    assert delivered == ([1, 2] if has_rows else [2])
    assert asked[-1] == ("2026-03-01T09:00:00Z" if has_rows else "2026-03-01T00:00:00Z")


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), "NaN", "1e999"])
@pytest.mark.parametrize("field", ["n", "n:s"])
def test_a_number_without_end_is_an_error_that_names_record_and_field(field, value):
    how = Incremental(field, "above", start=0, format=None if ":" in field else "number")
    with pytest.raises(SourceError, match=f"the incremental field '{field}' holds .* in record 2 of a page"):
        how.ranks([{"n": 1}, {"n": value}])


def test_numbers_of_many_digits_are_never_asked_for_beyond_what_they_are():
    how = Incremental("n", "above", start=0, inclusive=False)
    (rank,) = how.ranks([{"n": "1738000000.123456789012"}])
    assert Decimal(rank) <= Decimal("1738000000.123456789012")
    assert float(how.params(1e17, None)["above"]) < 1e17
