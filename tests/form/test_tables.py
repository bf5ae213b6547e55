"""Frames and Arrow tables a source returned: every type becomes a canonical one."""

import datetime as dt
import decimal
import struct
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from api2db.errors import ShapeError
from api2db.form import from_arrow, from_frame
from api2db.form.column import JSON_METADATA, is_json
from api2db.form.tables import from_arrow as arrow_home

UTC = pa.timestamp("us", tz="UTC")
NAIVE = pa.timestamp("us")


def shape_array(array):
    shaped = from_arrow(pa.table({"a": array}))
    return shaped.table.schema.field("a"), shaped.table.column("a").to_pylist(), shaped.steps[0]


@pytest.mark.parametrize(
    "kind",
    [
        pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
        pa.uint64(), pa.float32(), pa.float64(), pa.decimal128(10, 3), pa.string(), pa.binary(), pa.date32(),
        pa.time64("us"), NAIVE, UTC, pa.duration("us"),
    ],
)  # fmt: skip
def test_canonical_types_stay(kind):
    assert shape_array(pa.array([None], kind))[0].type == kind


@pytest.mark.parametrize(
    ("array", "kind", "expected"),
    [
        (pa.array([1.5], pa.float16()), pa.float32(), [1.5]),
        (pa.array(["a"], pa.large_string()), pa.string(), ["a"]),
        (pa.array(["a", None], pa.string_view()), pa.string(), ["a", None]),
        (pa.array([b"a"], pa.large_binary()), pa.binary(), [b"a"]),
        (pa.array([b"a"], pa.binary(1)), pa.binary(), [b"a"]),
        (pa.array(["a", "b", "a", None]).dictionary_encode(), pa.string(), ["a", "b", "a", None]),
        (pa.array([dt.datetime(2026, 1, 2)], pa.timestamp("s")), NAIVE, [dt.datetime(2026, 1, 2)]),
        (
            pa.array([dt.datetime(2026, 1, 2, tzinfo=dt.UTC)], pa.timestamp("ms", "Europe/Berlin")),
            UTC,
            [dt.datetime(2026, 1, 2, tzinfo=dt.UTC)],
        ),
        (pa.array([0], pa.date64()), pa.date32(), [dt.date(1970, 1, 1)]),
        (pa.array([61], pa.time32("s")), pa.time64("us"), [dt.time(0, 1, 1)]),
        (pa.array([2], pa.duration("s")), pa.duration("us"), [dt.timedelta(seconds=2)]),
        (pa.array([Decimal("1.5")], pa.decimal256(60, 2)), pa.decimal128(38, 2), [Decimal("1.5")]),
        (pa.array([Decimal("1.5")], pa.decimal32(5, 2)), pa.decimal128(5, 2), [Decimal("1.5")]),
        (pa.array([Decimal(1500)], pa.decimal128(4, -2)), pa.decimal128(38, 0), [Decimal(1500)]),
        (pa.array([uuid.UUID(int=1).bytes], pa.uuid()), pa.string(), [str(uuid.UUID(int=1))]),
        (pa.array([(14, 3, -1500000000)], pa.month_day_nano_interval()), pa.string(), ["P14M3DT-1.5S"]),
        (pa.array([(14, 3, 0)], pa.month_day_nano_interval()), pa.string(), ["P14M3DT0S"]),
    ],
)
def test_other_types_become_the_nearest(array, kind, expected):
    field, values, count = shape_array(array)
    assert field.type == kind
    assert values == expected
    assert (count.nulled, count.replaced) == (0, 0)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([[1, None], [], None]), ["[1,null]", "[]", None]),
        (pa.array([{"a": "x", "b": {"c": 1.5}}]), ['{"a":"x","b":{"c":1.5}}']),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), ['{"k":1}']),
        (pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64())), ['[["k",1],["k",2]]']),
        (pa.array([[1, 2]], pa.list_(pa.int8(), 2)), ["[1,2]"]),
        (pa.array([[dt.date(2026, 1, 2)]]), ['["2026-01-02"]']),
        (pa.array(['{"a":1}'], pa.json_()), ['{"a":1}']),
    ],
)
def test_nested_types_become_json(array, expected):
    field, values, _ = shape_array(array)
    assert values == expected
    assert is_json(field)


def test_a_column_marked_as_json_stays_marked_and_other_metadata_goes():
    fields = [pa.field("a", pa.large_string(), metadata=JSON_METADATA), pa.field("b", pa.string(), metadata={"k": "v"})]
    table = pa.Table.from_arrays([pa.array(["{}"], pa.large_string()), pa.array(["x"])], schema=pa.schema(fields))
    schema = arrow_home(table).table.schema
    assert is_json(schema.field("a"))
    assert schema.field("b").metadata is None


@pytest.mark.parametrize(
    ("array", "expected", "nulled", "replaced"),
    [
        (pa.array([1001, -1, 2000], pa.timestamp("ns")), [1, -1, 2], 0, 2),
        (pa.array([1001, -1, 2000], pa.duration("ns")), [1, -1, 2], 0, 2),
        (pa.array([1001, 2000], pa.time64("ns")), [1, 2], 0, 1),
        (pa.array([2**62, 0], pa.timestamp("s")), [None, 0], 1, 0),
        (pa.array([2**62, 0], pa.timestamp("us", "UTC")), [None, 0], 1, 0),
        (pa.array([2**62, 1], pa.duration("s")), [None, 1000000], 1, 0),
    ],
)
def test_times_lose_nanoseconds_and_years_beyond_9999_counted(array, expected, nulled, replaced):
    shaped = from_arrow(pa.table({"a": array}))
    assert shaped.table.column("a").cast(pa.int64()).to_pylist() == expected
    assert (shaped.steps[0].nulled, shaped.steps[0].replaced) == (nulled, replaced)


def test_decimals_beyond_38_digits_are_text_with_all_of_them():
    exact = decimal.Context(prec=60).create_decimal("1" * 50 + ".25")
    field, values, count = shape_array(pa.array([exact, None], pa.decimal256(60, 2)))
    assert (field.type, values, count.replaced) == (pa.string(), ["1" * 50 + ".25", None], 1)


def test_nan_stays_nan_in_arrow_and_is_null_in_a_frame():
    assert from_arrow(pa.table({"a": [float("nan")]})).table.column("a").null_count == 0
    assert from_frame(pd.DataFrame({"a": [float("nan"), 1.5]})).table.column("a").to_pylist() == [None, 1.5]


def test_arrow_column_names_become_unique():
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert from_arrow(table).table.column_names == ["a", "a_2"]


def test_big_nested_columns_are_shaped_in_parts():
    table = pa.table({"a": pa.array([[number] for number in range(20_000)])})
    values = from_arrow(table.slice(5)).table.column("a").to_pylist()
    assert values == [f"[{number}]" for number in range(5, 20_000)]


@pytest.mark.parametrize(
    ("series", "kind", "expected"),
    [
        (pd.Series([1, 2], dtype="int16"), pa.int16(), [1, 2]),
        (pd.Series([1, None], dtype="Int64"), pa.int64(), [1, None]),
        (pd.Series([1.5, None], dtype="Float64"), pa.float64(), [1.5, None]),
        (pd.Series([0.5], dtype="float16"), pa.float32(), [0.5]),
        (pd.Series([True, None], dtype="boolean"), pa.bool_(), [True, None]),
        (pd.Series(["a", None]), pa.string(), ["a", None]),
        (pd.Series(["a", None], dtype="string"), pa.string(), ["a", None]),
        (pd.Series(["a", None, "a"], dtype="category"), pa.string(), ["a", None, "a"]),
        (pd.Series([2, 1, 2], dtype="category"), pa.int64(), [2, 1, 2]),
        (pd.Series(["2026-01-02", None], dtype="datetime64[ns]"), NAIVE, [dt.datetime(2026, 1, 2), None]),
        (
            pd.Series(["2026-01-02"], dtype="datetime64[s]").dt.tz_localize("Europe/Berlin"),
            UTC,
            [dt.datetime(2026, 1, 1, 23, tzinfo=dt.UTC)],
        ),
        (pd.Series([pd.Timedelta("2s")]), pa.duration("us"), [dt.timedelta(seconds=2)]),
        (pd.Series([pd.Period("2026-01"), None]), pa.string(), ["2026-01", None]),
        (pd.Series([pd.Interval(0, 1)]), pa.string(), ["(0, 1]"]),
        (pd.Series([1, 0], dtype="Sparse[int]"), pa.int64(), [1, 0]),
        (pd.Series([1.5, None], dtype="float64[pyarrow]"), pa.float64(), [1.5, None]),
        (pd.Series([dt.date(2026, 1, 2), None]), pa.date32(), [dt.date(2026, 1, 2), None]),
        (pd.Series([Decimal("1.5")]), pa.decimal128(38, 1), [Decimal("1.5")]),
        (pd.Series([1, "a"], dtype="object"), pa.string(), ["1", "a"]),
        (pd.Series([[1], None], dtype="object"), pa.string(), ["[1]", None]),
        (pd.Series([1 + 2j]), pa.null(), [None]),
    ],
)
def test_frames_become_canonical_tables_without_their_index(series, kind, expected):
    series.index = range(7, 7 + len(series))
    table = from_frame(series.to_frame("a")).table
    assert table.column("a").type == kind
    assert table.to_pylist() == [{"a": value} for value in expected]


def test_frames_with_any_names_become_tables():
    frame = pd.DataFrame([[1, 2, 3]], columns=["a", "a", 5])
    assert from_frame(frame).table.to_pylist() == [{"a": 1, "a_2": 2, "5": 3}]
    levels = pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")]))
    assert from_frame(levels).table.column_names == ["a_b"]


def test_lone_surrogates_in_a_frame_are_replaced_and_counted():
    frame = pd.DataFrame({"a": pd.Series(["\ud800", "x"], dtype="object")})
    shaped = from_frame(frame)
    assert shaped.table.column("a").to_pylist() == ["�", "x"]
    assert (shaped.steps[0].step, shaped.steps[0].replaced) == ("DataFrame", 1)


def test_nanoseconds_of_a_frame_are_cut_off_and_counted():
    shaped = from_frame(pd.DataFrame({"a": np.array(["2026-01-02T00:00:00.000000001"], dtype="datetime64[ns]")}))
    assert shaped.table.column("a").to_pylist() == [dt.datetime(2026, 1, 2)]
    assert shaped.steps[0].replaced == 1


def test_a_table_no_type_can_be_found_for_says_which_column():
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pytest.raises(ShapeError, match="column 'a'"):
        from_arrow(pa.table({"a": twice}))


@pytest.mark.parametrize(
    ("counts", "kind", "first", "last"),
    [
        (pa.int32(), pa.date32(), -719_162, 2_932_896),
        (pa.int64(), pa.date64(), -719_162 * 86_400_000, 2_932_897 * 86_400_000 - 1),
        (pa.int32(), pa.time32("s"), 0, 86_399),
        (pa.int64(), pa.time64("us"), 0, 86_399_999_999),
    ],
)
def test_days_and_times_that_no_reader_knows_are_null_and_counted(counts, kind, first, last):
    far = 2 ** (counts.bit_width - 1) - 1
    _, values, step = shape_array(pa.array([first, last, first - 1, last + 1, far, -far, None], counts).view(kind))
    assert [value is None for value in values] == [False] * 2 + [True] * 5
    assert step.nulled == 4


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_bytes_that_are_no_text_become_the_replacement_character_and_are_counted(kind):
    width = "q" if kind == pa.large_string() else "i"
    offsets, data = struct.pack(f"<4{width}", 0, 2, 3, 6), "ü".encode() + b"\xff" + b"\xed\xa0\x80"
    array = pa.Array.from_buffers(kind, 3, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    _, values, step = shape_array(array)
    assert values == ["ü", "\ufffd", "\ufffd" * 3]
    assert step.replaced == 2


def test_a_date_with_a_time_of_day_is_its_day_and_counted():
    milliseconds = pa.array([-1, 0, 86_400_001]).view(pa.date64())
    _, values, step = shape_array(milliseconds)
    assert values == [dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date(1970, 1, 2)]
    assert step.replaced == 2
