"""Found types are kept from batch to batch; what can't be of its column's type is held, the rest goes on."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api2db.errors import ShapeError
from api2db.form import InferredForm
from api2db.form.column import is_json

MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5)
AWARE = MOMENT.replace(tzinfo=dt.timezone(dt.timedelta(hours=2)))


def after(*batches):
    """What is known after batches of values of column ``v``, and the last one's shape."""
    known = {}
    for values in batches:
        shaped = InferredForm(known).shape([{"v": value} for value in values])
        known = shaped.types
    return known, shaped


@pytest.mark.parametrize(
    ("first", "later", "word", "kind", "expected"),
    [
        ([1.5], [2, None], "float", pa.float64(), [2.0, None]),
        ([1], [2.5], "float", pa.float64(), [2.5]),
        ([1], [3.0], "int", pa.int64(), [3]),
        ([1], [2**60], "bigint", pa.int64(), [2**60]),
        ([2**60], [1], "bigint", pa.int64(), [1]),
        ([1], [math.inf], "float", pa.float64(), [math.inf]),
        ([1], [2**70, 0.5], "float", pa.float64(), [2.0**70, 0.5]),
        ([1.5], [2**60], "float", pa.float64(), [2.0**60]),
        ([1], [True], "int", pa.int64(), [1]),
        ([True], [0, 1], "bool", pa.bool_(), [False, True]),
        ([2**70], [1], "decimal(0)", pa.decimal128(38, 0), [Decimal(1)]),
        ([Decimal("1.5")], [2, 0.25], "decimal(2)", pa.decimal128(38, 2), [Decimal("2.00"), Decimal("0.25")]),
        ([Decimal("1.55")], [Decimal("2.5")], "decimal(2)", pa.decimal128(38, 2), [Decimal("2.50")]),
        (["a"], [1, 2.5, None], "str", pa.string(), ["1", "2.5", None]),
        (["a"], [{"b": 1}], "str", pa.string(), ['{"b":1}']),
        ([1, "a"], [1], "str", pa.string(), ["1"]),
        ([[{"a": 1}]], ["b", 2, [3]], "json", pa.string(), ['"b"', "2", "[3]"]),
        ([MOMENT.date()], [MOMENT.replace(hour=0, minute=0, second=0)], "date", pa.date32(), [MOMENT.date()]),
        ([MOMENT], [MOMENT.date()], "timestamp", pa.timestamp("us"), [dt.datetime(2026, 1, 2)]),
        ([MOMENT], [AWARE], "timestamp", pa.timestamp("us"), [dt.datetime(2026, 1, 2, 1, 4, 5)]),
        ([AWARE], [MOMENT], "instant", pa.timestamp("us", "UTC"), [MOMENT.replace(tzinfo=dt.UTC)]),
        ([dt.timedelta(1)], [dt.timedelta(2)], "duration", pa.duration("us"), [dt.timedelta(2)]),
        ([b"a"], [b"b"], "bytes", pa.binary(), [b"b"]),
        ([dt.time(1)], [dt.time(2)], "time", pa.time64("us"), [dt.time(2)]),
    ],
)
def test_a_column_keeps_its_type(first, later, word, kind, expected):
    known, shaped = after(first, later)
    assert known == {"v": word}
    assert shaped.held == ()
    assert shaped.table.schema.field("v").type == kind
    assert is_json(shaped.table.schema.field("v")) == (word == "json")
    assert shaped.table.column("v").to_pylist() == expected


FIRSTS = [[1], [2**60], [0.5], [True], ["a"], [[{"a": 1}]], [2**70], [MOMENT], [AWARE], [MOMENT.date()], [dt.time(1)]]


@pytest.mark.parametrize("first", FIRSTS, ids=repr)
def test_a_batch_of_nothing_but_null_has_the_type_that_is_known(first):
    one, other = after(first), after(first, [None, None])
    assert other[0] == one[0]
    assert other[1].table.schema.equals(one[1].table.schema, check_metadata=True)
    assert other[1].table.column("v").to_pylist() == [None, None]


def test_a_column_that_is_missing_stays_missing_and_known():
    shaped = InferredForm({"v": "float"}).shape([{"w": 1}])
    assert shaped.table.column_names == ["w"]
    assert shaped.types == {"v": "float", "w": "int"}


def test_a_column_that_has_only_been_null_waits_for_its_type():
    known, shaped = after([None])
    assert known == {}
    assert shaped.table.schema.field("v").type == pa.null()
    assert after([None], [1.5])[0] == {"v": "float"}


@pytest.mark.parametrize(
    ("first", "odd", "why"),
    [
        ([1], "n/a", 'column "v" (int) cannot take text ("n/a"): it isn\'t a number'),
        ([1], "7", 'column "v" (int) cannot take text ("7"): it isn\'t a number'),
        ([1], {"a": 1}, 'column "v" (int) cannot take an object ({"a":1}): it isn\'t a number'),
        ([1], 2**70, f'column "v" (int) cannot take integer ({2**70}): it doesn\'t fit 64 bits'),
        ([2**60], 0.5, 'column "v" (bigint) cannot take float (0.5): it isn\'t a whole number'),
        ([0.5], 2**53 + 1, "a float can't hold that many digits"),
        ([0.5], "x" * 99, '("' + "x" * 40 + '…")'),
        ([True], 2, "it is neither true nor false"),
        ([True], "true", "it is neither true nor false"),
        ([2**70], math.inf, "it isn't finite"),
        ([2**70], 10**38, "it has more than 38 digits"),
        ([10**37], Decimal("0.25"), "with the others it needs 39 digits"),
        ([MOMENT], "2026-01-02T03:04:05", "it isn't a timestamp"),
        ([MOMENT.date()], MOMENT, "it isn't a date"),
        ([dt.time(1)], dt.time(1, tzinfo=dt.UTC), "it isn't a time of day without zone"),
        ([dt.timedelta(1)], 1, "it isn't a duration"),
        ([b"a"], "a", "it isn't bytes"),
    ],
)
def test_a_value_that_can_not_be_of_the_type_holds_its_row_and_the_others_go_on(first, odd, why):
    known, shaped = after(first, [first[0], odd, None, first[0]])
    assert [held.row for held in shaped.held] == [{"v": odd}]
    assert why in shaped.held[0].reason
    assert shaped.table.num_rows == 3
    assert known == after(first)[0]
    assert shaped.table.schema.equals(after(first)[1].table.schema, check_metadata=True)
    assert [(step.step, step.rows_in, step.rows_out) for step in shaped.steps] == [("held", 4, 3), ("infer", 3, 3)]


def test_a_batch_of_nothing_but_odd_values_is_held_whole():
    known, shaped = after([1], ["a", "b"])
    assert shaped.table.num_rows == 0
    assert len(shaped.held) == 2
    assert known == {"v": "int"}


def test_a_held_row_leaves_no_trace_in_the_types_of_other_columns():
    shaped = InferredForm({"a": "int", "b": "int"}).shape([{"a": 1, "b": 2}, {"a": "x", "b": 0.5, "c": True}])
    assert shaped.types == {"a": "int", "b": "int"}
    assert shaped.table.schema.field("b").type == pa.int64()
    assert shaped.held[0].row == {"a": "x", "b": 0.5, "c": True}


def test_a_row_with_several_odd_values_tells_each():
    (held,) = InferredForm({"a": "int", "b": "bool"}).shape([{"a": "x", "b": "y"}]).held
    assert 'column "a" (int)' in held.reason
    assert 'column "b" (bool)' in held.reason


def test_integers_that_a_float_would_change_keep_a_fraction_out_even_in_one_batch():
    known, shaped = after([1], [2**60 + 1, 0.5])
    assert known == {"v": "bigint"}
    assert [held.row for held in shaped.held] == [{"v": 0.5}]


def test_a_fraction_beside_text_still_widens():
    known, shaped = after([1], [2, 0.5, "x"])
    assert known == {"v": "float"}
    assert shaped.table.column("v").to_pylist() == [2.0, 0.5]
    assert len(shaped.held) == 1


def test_columns_are_known_by_the_names_they_have_in_the_table():
    first = InferredForm().shape([{1: 1, "1": "a"}])
    assert first.types == {"1": "int", "1_2": "str"}
    assert InferredForm(first.types).shape([{1: 0.5, "1": 2}]).types == {"1": "float", "1_2": "str"}


def test_keys_that_are_data_do_not_fill_the_memory():
    known = InferredForm().shape([{f"k{number}": 1 for number in range(2_500)}]).types
    assert len(known) == 2_000


def test_a_word_that_is_no_type_says_what_to_write():
    with pytest.raises(ShapeError, match=r"column 'v' as it is remembered: 'intt' is no type of a column"):
        InferredForm({"v": "intt"}).shape([{"v": "x"}])


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(allow_nan=False),
    st.decimals(allow_nan=False, places=3, min_value=-(10**20), max_value=10**20),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
    st.datetimes(),
    st.dates(),
    st.timedeltas(max_value=dt.timedelta(999), min_value=-dt.timedelta(999)),
    st.binary(max_size=2),
)


@given(st.lists(st.lists(VALUES, min_size=1, max_size=4), min_size=2, max_size=4))
def test_whatever_comes_a_type_changes_only_as_promised_and_every_row_is_accepted_or_held(batches):
    known = {}
    for values in batches:
        before, shaped = known, InferredForm(known).shape([{"v": value} for value in values])
        known = shaped.types
        assert shaped.table.num_rows + len(shaped.held) == len(values)
        old, new = before.get("v"), known.get("v")
        if old is not None and old != new:
            assert (old, new) in {("int", "float"), ("int", "bigint")} or (
                old.startswith("decimal") and new.startswith("decimal") and int(old[8:-1]) < int(new[8:-1])
            )
        if shaped.table.num_rows and new is not None:
            # The same rows come back the same: what is known is true of the table.
            again = InferredForm(known).shape(
                [{"v": value} for value in values if {"v": value} not in [h.row for h in shaped.held]]
            )
            assert again.types == known
