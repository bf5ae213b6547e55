"""Columns whose types are found: one documented outcome for every mixture."""

import datetime as dt
import enum
import math
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from api2db.errors import ShapeError
from api2db.form import InferredForm
from api2db.form.column import is_json
from api2db.form.infer import infer_column

AWARE = dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=2)))
NAIVE = dt.datetime(2026, 1, 2, 3, 4, 5, 6)
UTC = pa.timestamp("us", tz="UTC")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Unknown:
    pass


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([None, None], pa.null(), [None, None]),
        ([1, None], pa.int64(), [1, None]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([2**53, 0.5], pa.float64(), [2.0**53, 0.5]),
        ([2**60, 0.5], pa.float64(), [2.0**60, 0.5]),
        ([2**60 + 1, 0.5], pa.decimal128(38, 1), [Decimal(2**60 + 1), Decimal("0.5")]),
        ([2**63 - 1, -(2**63)], pa.int64(), [2**63 - 1, -(2**63)]),
        ([2**63, 1], pa.decimal128(38, 0), [Decimal(2**63), Decimal(1)]),
        ([10**38 - 1], pa.decimal128(38, 0), [Decimal(10**38 - 1)]),
        ([float("inf"), 1], pa.float64(), [math.inf, 1.0]),
        ([True, None], pa.bool_(), [True, None]),
        (["a", None, ""], pa.string(), ["a", None, ""]),
        (["2026-01-02"], pa.string(), ["2026-01-02"]),
        (["a\0b"], pa.string(), ["a\0b"]),
        ([Decimal("1.50"), 2], pa.decimal128(38, 2), [Decimal("1.50"), Decimal(2)]),
        ([dt.date(2026, 1, 2)], pa.date32(), [dt.date(2026, 1, 2)]),
        ([NAIVE], pa.timestamp("us"), [NAIVE]),
        ([AWARE], UTC, [AWARE]),
        ([dt.time(1, 2)], pa.time64("us"), [dt.time(1, 2)]),
        ([dt.timedelta(days=1)], pa.duration("us"), [dt.timedelta(days=1)]),
        ([b"a", bytearray(b"b")], pa.binary(), [b"a", b"b"]),
        ([uuid.UUID(int=1)], pa.string(), ["00000000-0000-0000-0000-000000000001"]),
        ([Colour.RED, "blue"], pa.string(), ["red", "blue"]),
        ([Level.HIGH, 4], pa.int64(), [3, 4]),
        ([np.int32(1), np.uint8(2)], pa.int64(), [1, 2]),
        ([np.float32(0.5), 1], pa.float64(), [0.5, 1.0]),
        ([np.bool_(True)], pa.bool_(), [True]),
        ([np.str_("a")], pa.string(), ["a"]),
        ([pd.NA, 1, pd.NaT], pa.int64(), [None, 1, None]),
        ([pd.Timestamp(NAIVE), pd.NaT], pa.timestamp("us"), [NAIVE, None]),
        ([np.datetime64("2026-01-02T03:04:05.000006")], pa.timestamp("us"), [NAIVE]),
        (
            [pd.Timedelta("1s"), np.timedelta64(2, "s")],
            pa.duration("us"),
            [dt.timedelta(seconds=1)] * 1 + [dt.timedelta(seconds=2)],
        ),
    ],
)
def test_values_that_fit_one_type_have_it_exactly(values, kind, expected):
    column = infer_column(values)
    assert column.array.type == kind
    assert column.array.to_pylist() == expected
    assert (column.nulled, column.replaced, column.json) == (0, 0, False)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([{"a": 1, "b": [None, 2**70]}, None], ['{"a":1,"b":[null,1180591620717411303424]}', None]),
        ([[], {}], ["[]", "{}"]),
        ([{"é": "ü\n"}], ['{"é":"ü\\n"}']),
        ([{"d": NAIVE, "n": Decimal("1.50")}], ['{"d":"2026-01-02T03:04:05.000006","n":"1.50"}']),
        ([{1: 2, None: 3, ("a", "b"): 4}], ['{"1":2,"null":3,"a_b":4}']),
        ([(1, 2), {3}, np.array([4])], ["[1,2]", "[3]", "[4]"]),
        (
            [{"t": pd.Timestamp(NAIVE), "n": pd.NA, "i": np.int64(5), "e": Colour.RED}],
            ['{"t":"2026-01-02T03:04:05.000006","n":null,"i":5,"e":"red"}'],
        ),
    ],
)
def test_nested_values_are_json_columns(values, expected):
    column = infer_column(values)
    assert column.array.to_pylist() == expected
    assert (column.nulled, column.replaced, column.json) == (0, 0, True)


@pytest.mark.parametrize(
    ("values", "expected", "nulled", "replaced"),
    [
        ([1, float("nan")], [1, None], 1, 0),
        (["a", float("nan")], ["a", None], 1, 0),
        ([0.5, float("nan")], [0.5, None], 1, 0),
        ([Decimal("NaN"), Decimal(1)], [None, Decimal(1)], 1, 0),
        ([True, 1], ["true", "1"], 0, 2),
        ([True, 0.5, "x"], ["true", "0.5", "x"], 0, 2),
        (["x", {"a": [1]}, 2**70], ["x", '{"a":[1]}', str(2**70)], 0, 2),
        ([10**38, 1], [str(10**38), "1"], 0, 2),
        ([float("inf"), 2**60 + 1], ["Infinity", str(2**60 + 1)], 0, 2),
        ([Decimal("Infinity"), -math.inf], ["Infinity", "-Infinity"], 0, 2),
        (["x", NAIVE, dt.date(2026, 1, 2), b"ab"], ["x", "2026-01-02T03:04:05.000006", "2026-01-02", "YWI="], 0, 3),
        ([NAIVE, dt.date(2026, 1, 2)], [NAIVE, dt.datetime(2026, 1, 2)], 0, 1),
        ([AWARE, NAIVE], [AWARE, NAIVE.replace(tzinfo=dt.UTC)], 0, 1),
        ([dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))], [None], 1, 0),
        ([dt.time(1, tzinfo=dt.UTC)], ["01:00:00Z"], 0, 1),
        (["\ud800a", "b"], ["�a", "b"], 0, 1),
        ([{"a": "\ud800", "\udfff": 1}], ['{"a":"�","�":1}'], 0, 2),
        ([{"a": [float("nan"), -math.inf]}], ['{"a":[null,null]}'], 2, 0),
        ([{"a": Decimal("Infinity"), "b": Unknown()}], ['{"a":null,"b":null}'], 2, 0),
        ([{"a": 2**70, "b": float("inf")}], ['{"a":1180591620717411303424,"b":null}'], 1, 0),
        ([Unknown(), 1], [None, 1], 1, 0),
        ([pd.Timestamp("2026-01-02T03:04:05.000006999")], [NAIVE], 0, 1),
        ([np.datetime64("12000-01-01")], [None], 1, 0),
        ([10**5000], [None], 1, 0),
    ],
)
def test_values_that_do_not_fit_together_have_a_counted_outcome(values, expected, nulled, replaced):
    column = infer_column(values)
    assert column.array.to_pylist() == expected
    assert (column.nulled, column.replaced) == (nulled, replaced)


@pytest.mark.usefixtures("no_collection")
def test_a_value_nested_deeper_than_the_stack_is_null_and_counted():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    column = infer_column([deep, [1]])
    assert column.array.to_pylist() == [None, "[1]"]
    assert column.nulled == 1


def test_columns_come_in_the_order_their_keys_are_first_seen():
    shaped = InferredForm().shape([{"b": 1}, {"a": 2, "b": 3}, [{"c": None}]])
    assert shaped.table.to_pylist() == [
        {"b": 1, "a": None, "c": None},
        {"b": 3, "a": 2, "c": None},
        {"b": None, "a": None, "c": None},
    ]
    assert shaped.table.schema.field("c").type == pa.null()
    assert [(s.step, s.rows_in, s.rows_out) for s in shaped.steps] == [("infer", 3, 3)]


def test_json_columns_say_so_in_their_field():
    schema = InferredForm().shape([{"a": [1], "t": "{}", "m": []}, {"m": 1}]).table.schema
    assert [is_json(field) for field in schema] == [True, False, False]


def test_objects_become_columns_and_lists_json():
    shaped = InferredForm().shape(
        [
            {"id": 1, "geo": {"lat": 1.5, "at": {"x": [1, 2]}}, "empty": {}, "mixed": 1},
            {"id": 2, "geo": None, "mixed": {"deep": True}},
        ]
    )
    assert shaped.table.to_pylist() == [
        {"id": 1, "geo_lat": 1.5, "geo_at_x": "[1,2]", "empty": None, "mixed": 1, "mixed_deep": None},
        {"id": 2, "geo_lat": None, "geo_at_x": None, "empty": None, "mixed": None, "mixed_deep": True},
    ]
    again = InferredForm(shaped.types).shape([{"id": 3, "geo": {"lat": 2}, "mixed": {"deep": False}}])
    assert again.table.to_pylist() == [{"id": 3, "geo_lat": 2.0, "mixed_deep": False}]


def test_keys_that_are_data_and_objects_too_deep_stay_json():
    wide = {f"k{number}": number for number in range(201)}
    deep: object = 1
    for _ in range(12):
        deep = {"d": deep}
    shaped = InferredForm().shape([{"wide": wide, "deep": deep}])
    assert shaped.table.column_names == ["wide", "deep" + "_d" * 10]
    assert all(map(is_json, shaped.table.schema))


def test_a_column_that_has_a_type_keeps_it_when_an_object_comes():
    (held,) = InferredForm({"v": "int"}).shape([{"v": {"a": 1}}, {"v": 2}]).held
    assert held.row == {"v": {"a": 1}}
    assert InferredForm({"v": "json"}).shape([{"v": {"a": 1}}]).table.to_pylist() == [{"v": '{"a":1}'}]


def test_keys_that_are_not_unique_text_become_it():
    shaped = InferredForm().shape([{1: "a", "1": "b", "": "c", "x\ud800": "d", 'q"; drop': "e"}])
    assert shaped.table.column_names == ["1", "1_2", "column_3", "x�", 'q"; drop']
    assert (shaped.steps[-1].step, shaped.steps[-1].replaced) == ("names", 4)


def test_records_that_are_no_objects_have_one_column():
    assert InferredForm().shape([[1, 2], {"a": "x"}]).table.to_pylist() == [
        {"value": 1, "a": None},
        {"value": 2, "a": None},
        {"value": None, "a": "x"},
    ]


def test_records_without_fields_make_no_rows_and_say_so():
    shaped = InferredForm().shape([{}, {}])
    assert shaped.table.num_rows == 0
    assert (shaped.steps[0].rows_in, shaped.steps[0].rows_out) == (2, 0)


@pytest.mark.parametrize("responses", [["text"], [{"a": 1}, 5], [b"{}"]])
def test_what_is_no_record_is_refused(responses):
    with pytest.raises(ShapeError, match=r"response \d is "):
        InferredForm().shape(responses)
