"""A cursor is the largest value accepted, handed to the next poll as the API can take it; it never goes back."""

from __future__ import annotations

import datetime
import decimal
import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api2db.errors import ConfigError, SourceError
from api2db.sources.cursor import Cursor


def column(*values, type=None):
    return pa.table({"at": pa.array(values, type)})


def test_the_first_poll_gets_the_start():
    assert Cursor("at", start="2026-01-01", lag="10m").since(None) == "2026-01-01"
    assert Cursor("at").since(None) is None


def test_times_are_handed_over_as_iso_text_in_utc():
    aware = datetime.datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    reached = Cursor("at").after(column(aware, None, type=pa.timestamp("us", "UTC")), None)
    assert Cursor("at").since(reached) == "2026-01-01T10:00:00.000005+00:00"
    naive = Cursor("at").after(column(datetime.datetime(2026, 1, 1), type=pa.timestamp("us")), None)
    assert Cursor("at").since(naive) == "2026-01-01T00:00:00.000000"


def test_a_lag_reads_again_behind_the_cursor():
    reached = json.dumps("2026-01-01T00:05:00.000000+00:00")
    assert Cursor("at", lag="10m").since(reached) == "2025-12-31T23:55:00.000000+00:00"
    assert Cursor("at", lag=10).since("25") == 15


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), min_size=1), min_size=1))
def test_the_cursor_is_the_largest_value_ever_accepted(pages):
    reached = None
    for page in pages:
        reached = Cursor("at").after(column(*page, type=pa.int64()), reached)
    values = [value for page in pages for value in page if value is not None]
    assert Cursor("at").since(reached) == (max(values) if values else None)


def test_rows_without_a_value_leave_the_cursor_where_it_is():
    assert Cursor("at").after(column(None, None), '"x"') == '"x"'
    assert Cursor("at").after(column(None, type=pa.int64()), "3") == "3"


def test_numbers_of_a_decimal_column_compare_as_numbers():
    ten = Cursor("at").after(column(decimal.Decimal(10)), Cursor("at").after(column(decimal.Decimal(9)), None))
    assert Cursor("at").since(ten) == 10


def test_a_column_that_becomes_a_fraction_does_not_take_the_cursor_back():
    reached = Cursor("at").after(column(1_700_000_010), None)
    assert Cursor("at").after(column(1_700_000_009.5), reached) == reached


def test_a_missing_column_is_an_error_that_names_what_there_is():
    with pytest.raises(SourceError, match=r"'when'.*\(at\)"):
        Cursor("when").after(column(1), None)


def test_a_lag_that_does_not_fit_the_values_is_an_error():
    with pytest.raises(ConfigError, match="lag"):
        Cursor("at", lag="10m").since('"abc"')
    with pytest.raises(ConfigError, match="lag"):
        Cursor("at", lag="10m").since("5")
