"""What each file format keeps of a frame, value by value and dtype by dtype."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
from decimal import Decimal

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from pandas.testing import assert_frame_equal

from api2db.errors import ConfigError, ShapeError, StoreError
from api2db.formats import FORMATS, dtypes_of, load_dtypes, store_dtypes
from api2db.formats import frame_of as frame_of_table
from api2db.formats.stack import stack

ALL = tuple(FORMATS)
TEXT_FORMATS = ("csv", "json", "orc")

# Whatever Unicode has, NUL, quotes and newlines included; lone surrogates have a test of their own.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", '"', '""', ",", "\r\n", "\n", "\r", "\0", "007", "1.0", "inf", "NaN", "null", "true", " ", "\ufeff", "0x1"]
)
MICROS = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999))
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False)

# dtype -> values; these survive in every format without anyone being told.
OURS = {
    "Int64": INT64,
    "Float64": FLOATS,
    "boolean": st.booleans(),
    "string": TEXTS,
    "datetime64[us]": MICROS,
    "datetime64[us, UTC]": MICROS,
    "datetime64[ns]": st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)),
}
# These survive where the file, or the dtypes argument, says them.
OTHERS = {
    "int64": INT64,
    "int8": st.integers(-128, 127),
    "UInt64": st.integers(0, 2**64 - 1),
    "float64": FLOATS,
    "float32": st.floats(width=32, allow_nan=False),
    "bool": st.booleans(),
    "str": TEXTS,
    "category": TEXTS,
    "object": TEXTS,
    "datetime64[s]": st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 1, 1)).map(
        lambda t: t.replace(microsecond=0)
    ),
    "datetime64[us, Europe/Berlin]": st.datetimes(dt.datetime(1980, 1, 1), dt.datetime(2035, 1, 1)),
    "timedelta64[us]": st.timedeltas(dt.timedelta(-(10**5)), dt.timedelta(10**5)),
    "period[M]": st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)).map(lambda day: day.strftime("%Y-%m")),
}
NO_NULLS = ("int64", "int8", "bool")


def series_of(dtype, values):
    if dtype.startswith("datetime64") and "," in dtype:
        zone = dtype.rpartition(", ")[2].rstrip("]")
        stamps = pd.DatetimeIndex(np.array(values, dtype="datetime64[us]")).tz_localize("UTC").tz_convert(zone)
        return pd.Series(stamps).astype(dtype)
    if dtype.startswith("datetime64"):
        return pd.Series(np.array(values, dtype="datetime64[us]")).astype(dtype)
    return pd.Series(values, dtype=dtype)


@st.composite
def frames(draw, kinds, *, min_rows=0):
    rows = draw(st.integers(min_rows, 4))
    names = draw(st.lists(TEXTS, unique=True, min_size=1, max_size=3))
    columns = {}
    for name in names:
        dtype = draw(st.sampled_from(sorted(kinds)))
        values = kinds[dtype] if dtype in NO_NULLS else st.none() | kinds[dtype]
        columns[name] = series_of(dtype, draw(st.lists(values, min_size=rows, max_size=rows)))
    frame = pd.DataFrame(columns, index=pd.RangeIndex(rows))
    frame.columns = pd.Index(names, dtype=object)
    return frame


def same(found, given, **options):
    assert list(found.columns) == list(given.columns)
    given = given.copy()
    for name in given:
        # Missing is None in a column of objects, whatever it was before.
        if given[name].dtype == object:
            given[name] = pd.Series([None if pd.isna(value) else value for value in given[name]], dtype=object)
    assert_frame_equal(found, given, check_column_type=False, **options)


@pytest.mark.parametrize("fmt", ["parquet", "feather", "pickle"])
@given(frame=frames(OURS | OTHERS))
def test_parquet_feather_and_pickle_keep_every_dtype_by_themselves(fmt, frame):
    same(FORMATS[fmt].decode(FORMATS[fmt].encode(frame)), frame)


@pytest.mark.parametrize("fmt", TEXT_FORMATS)
@given(frame=frames(OURS | OTHERS))
def test_csv_and_json_keep_every_dtype_that_they_are_told(fmt, frame):
    same(FORMATS[fmt].decode(FORMATS[fmt].encode(frame), dtypes_of(frame)), frame)


@pytest.mark.parametrize("fmt", TEXT_FORMATS)
@given(frame=frames(OURS, min_rows=1))
def test_csv_and_json_keep_a_collectors_dtypes_by_themselves(fmt, frame):
    # Told nothing, a column without a value has no type; in JSON one of texts that are times is times,
    # and infinities are known by the numbers among them.
    keep = [name for name in frame if frame[name].notna().any() and not all(frame[name].isin([math.inf, -math.inf]))]
    frame = frame[keep].dropna(axis=1, how="all")
    finite = [name for name in frame if frame[name].dtype != "Float64" or frame[name].abs().min() < math.inf]
    frame = frame[finite]
    if frame.shape[1]:
        same(FORMATS[fmt].decode(FORMATS[fmt].encode(frame)), frame)


@pytest.mark.parametrize("fmt", ALL)
@given(frame=frames(OURS | OTHERS))
def test_bytes_of_a_frame_read_back_write_the_same_bytes(fmt, frame):
    once = FORMATS[fmt].encode(FORMATS[fmt].decode(FORMATS[fmt].encode(frame), dtypes_of(frame)))
    again = FORMATS[fmt].encode(FORMATS[fmt].decode(once, dtypes_of(frame)))
    assert once == again


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("fmt", ["parquet", "feather", "json", "pickle"])
@given(values=st.lists(NESTED, min_size=1, max_size=5))
def test_nested_and_mixed_objects_come_back_as_they_were(fmt, values):
    frame = pd.DataFrame({"o": pd.Series(values, dtype=object)})
    found = FORMATS[fmt].decode(FORMATS[fmt].encode(frame), {"o": "object"})["o"].tolist()
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


@given(values=st.lists(NESTED, min_size=1, max_size=5))
def test_nested_and_mixed_objects_are_json_text_in_csv(values):
    values = [*values, {"nested": [1]}]
    frame = pd.DataFrame({"o": pd.Series(values, dtype=object)})
    found = FORMATS["csv"].decode(FORMATS["csv"].encode(frame))["o"]
    for text, value in zip(found, values, strict=True):
        if value is None:
            assert pd.isna(text)
        else:
            assert (text if isinstance(value, str) else json.loads(text)) == value


def through(fmt, frame, dtypes=None):
    return FORMATS[fmt].decode(FORMATS[fmt].encode(frame), dtypes)


def test_formats_go_by_name():
    assert ALL == ("parquet", "json", "pickle", "csv", "feather", "orc")
    assert [FORMATS[fmt].suffix for fmt in ALL] == [".parquet", ".json", ".pickle", ".csv", ".feather", ".orc"]
    with pytest.raises(ConfigError, match=r"'xml': the formats are parquet, json, pickle, csv"):
        FORMATS["xml"]
    with pytest.raises(TypeError):
        FORMATS["xml"] = FORMATS["csv"]


# None, NaN and NaT are one thing: missing.
@pytest.mark.parametrize("fmt", ["parquet", "json", "csv"])
def test_a_nan_is_missing_and_an_infinity_is_kept(fmt):
    frame = pd.DataFrame(
        {
            "f": [1.5, math.nan, math.inf, -math.inf],
            "F": pd.array([1.0, None, math.inf, -math.inf], dtype="Float64"),
            "o": pd.Series([1.5, math.nan, None, math.inf], dtype=object),
            "t": pd.to_datetime(["2026-01-31", None, pd.NaT, None]),
        }
    )
    found = through(fmt, frame, dtypes_of(frame))
    assert found["f"].isna().tolist() == [False, True, False, False]
    assert found["f"].dropna().tolist() == [1.5, math.inf, -math.inf]
    assert found["F"].tolist() == [1.0, pd.NA, math.inf, -math.inf]
    assert found["t"].isna().tolist() == [False, True, True, True]
    expected = {
        "parquet": [1.5, None, None, math.inf],
        "json": [1.5, None, None, "Infinity"],
        "csv": [1.5, None, None, math.inf],
    }
    assert found["o"].tolist() == expected[fmt]


@pytest.mark.parametrize("fmt", ["parquet", "json", "csv"])
def test_a_lone_surrogate_becomes_the_replacement_character_and_is_reported(fmt, caplog):
    frame = pd.DataFrame(
        {
            "o": pd.Series(["a\ud800b", "ok"], dtype=object),
            "n": pd.Series([{"k\ud800": "\udc00"}, None], dtype=object),
            "c": pd.Categorical(pd.Series(["\ud800", "x"], dtype=object)),
        }
    )
    frame.columns = pd.Index(["o", "n\udfff", "c"], dtype=object)
    found = through(fmt, frame, {"o": "object", "c": "category"})
    assert found["o"].tolist() == ["a\ufffdb", "ok"]
    assert found["c"].tolist() == ["\ufffd", "x"]
    assert list(found.columns) == ["o", "n\ufffd", "c"]
    nested = found["n\ufffd"][0]
    assert (json.loads(nested) if fmt == "csv" else nested) == {"k\ufffd": "\ufffd"}
    assert "values changed column='o' nulled=0 replaced=1" in caplog.text


def test_a_lone_surrogate_survives_in_a_pickle():
    frame = pd.DataFrame({"o": pd.Series(["a\ud800b"], dtype=object)})
    assert through("pickle", frame)["o"].tolist() == ["a\ud800b"]


@pytest.mark.parametrize("fmt", ALL)
def test_whole_numbers_of_any_size_keep_every_digit(fmt):
    numbers = [2**63, -(2**200), 1, None]
    frame = pd.DataFrame({"o": pd.Series(numbers, dtype=object)})
    digits = [None if number is None else str(number) for number in numbers]
    found = [None if pd.isna(value) else value for value in through(fmt, frame)["o"]]
    assert found == (digits if fmt == "orc" else numbers)
    large = pd.DataFrame({"i": pd.array([2**63 - 1, None, -(2**63)], dtype="Int64")})
    same(through(fmt, large), large)


@pytest.mark.parametrize(
    ("value", "in_json", "in_csv"),
    [
        (b"\x00\xff", "AP8=", "AP8="),
        (Decimal("1.50"), "1.50", "1.50"),
        (dt.date(2026, 1, 31), "2026-01-31", "2026-01-31"),
    ],
)
def test_objects_json_has_no_word_for_are_text_there_and_themselves_in_parquet(value, in_json, in_csv):
    frame = pd.DataFrame({"o": pd.Series([value, None], dtype=object)})
    assert through("parquet", frame)["o"].tolist() == [value, None]
    assert through("pickle", frame)["o"].tolist() == [value, None]
    assert through("json", frame, {"o": "object"})["o"].tolist() == [in_json, None]
    assert through("csv", frame, {"o": "object"})["o"].tolist() == [in_csv, None]


@pytest.mark.parametrize("fmt", ["parquet", "json"])
def test_an_infinity_inside_a_nested_value_becomes_null_and_is_reported(fmt, caplog):
    frame = pd.DataFrame({"o": pd.Series([{"a": math.inf, "b": (1, 2)}], dtype=object)})
    assert through(fmt, frame)["o"].tolist() == [{"a": None, "b": [1, 2]}]
    assert "nulled=1" in caplog.text


@pytest.mark.parametrize("fmt", ALL)
def test_a_frame_without_rows_keeps_its_columns_where_they_are_known(fmt):
    frame = pd.DataFrame({"a": pd.array([], dtype="Int64"), "b": pd.Series([], dtype="category")})
    found = through(fmt, frame, dtypes_of(frame))
    assert (list(found.columns), len(found)) == (["a", "b"], 0)
    assert found["a"].dtype == "Int64"
    assert list(through(fmt, frame).columns) == ([] if fmt == "json" else ["a", "b"])


@pytest.mark.parametrize("fmt", ["parquet", "json", "csv"])
@pytest.mark.parametrize("rows", [0, 3])
def test_a_frame_without_columns_comes_back_without_rows(fmt, rows):
    assert through(fmt, pd.DataFrame(index=range(rows))).shape == (0, 0)


@pytest.mark.parametrize("fmt", ["parquet", "json", "csv"])
def test_a_named_index_becomes_a_column_and_an_unnamed_one_is_dropped(fmt):
    named = pd.DataFrame({"v": [1, 2]}, index=pd.Index([7, 8], name="id"))
    assert through(fmt, named).to_dict("list") == {"id": [7, 8], "v": [1, 2]}
    unnamed = pd.DataFrame({"v": [1, 2]}, index=[7, 8])
    found = through(fmt, unnamed)
    assert (list(found.columns), list(found.index)) == (["v"], [0, 1])


def test_a_pickle_keeps_index_and_names_as_they_are():
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"], index=pd.Index([7], name="id"))
    assert_frame_equal(through("pickle", frame), frame)


@pytest.mark.parametrize("fmt", ["parquet", "json", "csv"])
def test_names_of_columns_become_text_and_two_of_one_name_are_refused(fmt):
    assert list(through(fmt, pd.DataFrame({1: [1], ("a", 2): [2]})).columns) == ["1", "('a', 2)"]
    with pytest.raises(ShapeError, match="several columns named 'a'"):
        FORMATS[fmt].encode(pd.DataFrame([[1, 2]], columns=["a", "a"]))


@pytest.mark.parametrize("fmt", ALL)
def test_only_a_frame_can_be_encoded(fmt):
    with pytest.raises(ShapeError, match="not list"):
        FORMATS[fmt].encode([{"a": 1}])


@pytest.mark.parametrize("fmt", TEXT_FORMATS)
@pytest.mark.parametrize(
    ("values", "dtype", "wanted"),
    [
        ([1.5], "Float64", "Int64"),
        ([1.5], "Float64", "int64"),
        (["x"], "string", "Int64"),
        ([" 1"], "string", "Int64"),
        (["x"], "string", "float64"),
        (["yes"], "string", "bool"),
        ([None, True], "boolean", "bool"),
        ([None, 1], "Int64", "int64"),
        ([300], "Int64", "int8"),
        ([-1], "Int64", "UInt64"),
        (["x"], "string", pd.CategoricalDtype(["a", "b"])),
        (["soon"], "string", "datetime64[us]"),
    ],
)
def test_a_value_that_does_not_fit_its_dtype_is_refused_never_changed(fmt, values, dtype, wanted):
    data = FORMATS[fmt].encode(pd.DataFrame({"a": pd.array(values, dtype=dtype)}))
    with pytest.raises(StoreError, match=f"{fmt} file"):
        FORMATS[fmt].decode(data, {"a": wanted})


@pytest.mark.parametrize("fmt", ALL)
def test_dtypes_of_columns_that_are_not_there_say_nothing(fmt):
    frame = pd.DataFrame({"a": pd.array([1], dtype="Int64")})
    found = through(fmt, frame, {"a": "Float64", "other": "Int64"})
    assert dict(found.dtypes) == {"a": pd.Float64Dtype()}


@pytest.mark.parametrize("fmt", ALL)
@given(data=st.data())
def test_a_torn_file_is_an_error_of_ours_or_fewer_rows(fmt, data):
    whole = FORMATS[fmt].encode(pd.DataFrame({"a": ["x", "y,\n"], "b": pd.array([1, None], dtype="Int64")}))
    torn = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        found = FORMATS[fmt].decode(torn)
    except StoreError:
        return
    # CSV has no end that could be missing.
    assert fmt == "csv" or torn.strip() == whole.strip()
    assert len(found) <= 2


@pytest.mark.parametrize("fmt", ["parquet", "json", "csv"])
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_frame_or_an_error_of_ours(fmt, data):
    try:
        found = FORMATS[fmt].decode(data)
    except StoreError:
        return
    assert isinstance(found, pd.DataFrame)


def test_a_pickle_of_something_else_is_refused():
    with pytest.raises(StoreError, match="not a pickled DataFrame but a list"):
        FORMATS["pickle"].decode(b"\x80\x04]\x94.")


def test_pandas_reads_our_csv_and_json():
    frame = pd.DataFrame({"id": [1, 2], "name": ["a", 'say "b",\n'], "f": [1.0, math.inf]})

    assert_frame_equal(pd.read_csv(io.BytesIO(FORMATS["csv"].encode(frame))), frame)
    assert pd.read_json(io.BytesIO(FORMATS["json"].encode(frame.iloc[:, :2]))).to_dict() == frame.iloc[:, :2].to_dict()


def test_the_text_of_csv_and_json_is_as_documented():
    frame = pd.DataFrame(
        {
            "id": pd.array([7, None], dtype="Int64"),
            "zip": pd.array(["007", ""], dtype="string"),
            "at": pd.to_datetime(["2026-01-31T12:00:00Z", None]).astype("datetime64[us, UTC]"),
            "ok": pd.array([True, None], dtype="boolean"),
            "f": pd.array([2.0, math.inf], dtype="Float64"),
        }
    )
    assert FORMATS["csv"].encode(frame).decode() == (
        '"id","zip","at","ok","f"\n7,"007",2026-01-31T12:00:00.000000Z,true,2.0\n,"",,,inf\n'
    )
    assert FORMATS["json"].encode(frame).decode() == (
        '[{"id":7,"zip":"007","at":"2026-01-31T12:00:00.000000Z","ok":true,"f":2.0},\n'
        '{"id":null,"zip":"","at":null,"ok":null,"f":"Infinity"}]\n'
    )


def test_csv_of_other_programs_is_read_without_losing_a_character():
    data = (
        b"\xef\xbb\xbfid,zip,f,ok,big,far,day,name,none\r\n"
        b"1,007,1,True,12345678901234567890123,1.5,2026-01-31,a b,\r\n"
        b"2,123,2.5,False,1,12345678901234567,2026-02-01,c,\r\n"
    )
    found = FORMATS["csv"].decode(data)
    assert {name: str(dtype) for name, dtype in found.dtypes.items()} == {
        "id": "Int64",
        "zip": "string",
        "f": "Float64",
        "ok": "boolean",
        "big": "object",
        "far": "string",
        "day": "string",
        "name": "string",
        "none": "object",
    }
    assert found["zip"].tolist() == ["007", "123"]
    assert found["big"].tolist() == [12345678901234567890123, 1]
    assert found["far"].tolist() == ["1.5", "12345678901234567"]


def test_a_csv_with_two_columns_of_one_name_is_refused():
    with pytest.raises(StoreError, match="two columns of one name"):
        FORMATS["csv"].decode(b"a,a\n1,2\n")


def test_a_cell_may_be_larger_than_a_block_of_the_reader():
    frame = pd.DataFrame({"a": pd.array(["x" * 3_000_000, "y\n" * 1_000_000], dtype="string")})
    same(through("csv", frame), frame)


@pytest.mark.parametrize("fmt", TEXT_FORMATS)
def test_a_frame_of_many_parts_is_one_file(fmt):
    frame = pd.DataFrame({"a": pd.array(range(40_000), dtype="Int64")})
    same(through(fmt, frame), frame)


def test_json_as_pandas_writes_it_is_read():
    frame = pd.DataFrame({"id": [1, 2], "name": ["a", None]})
    assert FORMATS["json"].decode(frame.to_json().encode())["id"].tolist() == [1, 2]
    assert FORMATS["json"].decode(frame.to_json(orient="records").encode())["id"].tolist() == [1, 2]
    with pytest.raises(StoreError, match="neither a list of records"):
        FORMATS["json"].decode(b'["a"]')


@pytest.mark.parametrize(
    "text", ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z", "2026-02-31T12:00:00.000000", "2026-01-31"]
)
@pytest.mark.parametrize("fmt", TEXT_FORMATS)
def test_text_that_is_not_a_time_as_we_write_it_stays_text(fmt, text):
    frame = pd.DataFrame({"a": pd.array([text], dtype="string")})
    same(through(fmt, frame), frame)


def test_a_time_as_we_write_it_is_one_in_json_unless_told_otherwise():
    frame = pd.DataFrame({"a": pd.array(["2026-01-31T12:00:00.000000Z"], dtype="string")})
    assert str(through("json", frame)["a"].dtype) == "datetime64[us, UTC]"
    same(through("json", frame, {"a": "string"}), frame)
    same(through("csv", frame), frame)


def test_parquet_of_other_programs_comes_in_types_that_know_null():
    table = pa.table({"i": [1, 2], "f": [1.5, None], "b": [True, False], "s": ["a", None]})
    out = pa.BufferOutputStream()
    pq.write_table(table, out)
    found = FORMATS["parquet"].decode(out.getvalue().to_pybytes())
    assert [str(dtype) for dtype in found.dtypes] == ["Int64", "Float64", "boolean", "string"]


def test_parquet_keeps_categories_without_rows_and_their_order():
    for categories in (["b", "a", "unused"], [3, 1, 2], pd.to_datetime(["2026-01-31", "2025-01-31"])):
        series = pd.Series(pd.Categorical([categories[1], None], categories=categories, ordered=True))
        found = through("parquet", pd.DataFrame({"c": series}))["c"]
        assert found.dtype == series.dtype
        assert found.cat.ordered
        assert found.tolist()[0] == categories[1]


@given(kinds=st.dictionaries(TEXTS, st.sampled_from(sorted(OURS | OTHERS))))
def test_dtypes_are_kept_in_a_file_by_name(tmp_path_factory, kinds):
    path = tmp_path_factory.mktemp("cache") / "CACHE" / "weather_dtypes.json"
    store_dtypes(path, kinds)
    assert {name: str(dtype) for name, dtype in load_dtypes(path).items()} == kinds
    assert set(json.loads(path.read_text()).values()) <= set(OURS | OTHERS)


@pytest.mark.parametrize("text", ["", "[]", "1", '{"a": "Whole"}', '{"a": 1.5}'])
def test_a_file_that_holds_no_dtypes_is_an_error_that_names_it(tmp_path, text):
    path = tmp_path / "weather_dtypes.json"
    path.write_text(text)
    with pytest.raises(StoreError, match=r"weather_dtypes\.json"):
        load_dtypes(path)


def frame_of(dtype, *values):
    return pd.DataFrame({"a": series_of(dtype, list(values))})


INSTANT = dt.datetime(2026, 1, 31, 12)


@pytest.mark.parametrize(
    ("frames", "dtype", "values"),
    [
        ([frame_of("Int64", 1), frame_of("Int64", None)], "Int64", [1, pd.NA]),
        ([frame_of("int64", 1), frame_of("int64", 2**62)], "int64", [1, 2**62]),
        ([frame_of("int64", 2**62 + 1), frame_of("object", None)], "Int64", [2**62 + 1, pd.NA]),
        ([frame_of("int64", 2**62 + 1), pd.DataFrame({"b": [1]})], "Int64", [2**62 + 1, pd.NA]),
        ([frame_of("bool", True), frame_of("object", None)], "boolean", [True, pd.NA]),
        ([frame_of("bool", True), frame_of("boolean", False)], "boolean", [True, False]),
        ([frame_of("bool", True), frame_of("Int64", 1)], "object", [True, 1]),
        ([frame_of("Int64", 1), frame_of("Float64", 1.5)], "Float64", [1.0, 1.5]),
        ([frame_of("Int64", 2**62 + 1), frame_of("Float64", 1.5)], "object", [2**62 + 1, 1.5]),
        ([frame_of("Int64", 1), frame_of("UInt64", 2**64 - 1)], "UInt64", [1, 2**64 - 1]),
        ([frame_of("Int64", -1), frame_of("UInt64", 2**64 - 1)], "object", [-1, 2**64 - 1]),
        ([frame_of("Int64", 1), frame_of("string", "x")], "object", [1, "x"]),
        ([frame_of("str", "y"), frame_of("string", "x")], "string", ["y", "x"]),
        ([frame_of("object", None), frame_of("string", "x")], "string", [pd.NA, "x"]),
        ([frame_of("object", [1]), frame_of("object", "x")], "object", [[1], "x"]),
        ([frame_of("category", "y"), frame_of("category", "x")], "category", ["y", "x"]),
        (
            [frame_of("datetime64[us]", INSTANT), frame_of("string", "x")],
            "string",
            ["2026-01-31T12:00:00.000000", "x"],
        ),
        (
            [frame_of("datetime64[s]", INSTANT), frame_of("datetime64[ns]", INSTANT)],
            "datetime64[ns]",
            [pd.Timestamp(INSTANT)] * 2,
        ),
        (
            [frame_of("datetime64[us, Europe/Berlin]", INSTANT), frame_of("datetime64[us, UTC]", INSTANT)],
            "datetime64[us, UTC]",
            [pd.Timestamp(INSTANT, tz="UTC")] * 2,
        ),
    ],
)
def test_frames_are_stacked_without_a_value_changing(frames, dtype, values):
    stacked = stack(frames)
    assert str(stacked["a"].dtype) == dtype
    assert str(stacked["a"].tolist()) == str(values)
    assert list(stacked.index) == [0, 1]


def test_more_frames_than_are_stacked_at_once_keep_their_order():
    frames = [pd.DataFrame({"a": [number]}) for number in range(1500)]
    assert stack(iter(frames))["a"].tolist() == list(range(1500))
    assert stack([]).shape == (0, 0)


def test_csv_told_of_objects_takes_numbers_for_numbers_and_times_for_texts():
    data = b'"a","b","c"\n7,2026-01-31T12:00:00.000000,"007"\n'
    found = FORMATS["csv"].decode(data, dict.fromkeys("abc", "object"))
    assert found.iloc[0].tolist() == [7, "2026-01-31T12:00:00.000000", "007"]


@pytest.mark.parametrize("fmt", ALL)
def test_a_batchs_table_comes_back_as_the_same_frame_from_each_format(fmt):
    json_field = pa.field("tags", pa.string(), metadata={b"api2db.kind": b"json"})
    table = pa.table(
        [pa.array([1, None]), pa.array(["x", None]), pa.array(['["a"]', None])],
        schema=pa.schema([pa.field("n", pa.int64()), pa.field("t", pa.string()), json_field]),
    )
    frame = frame_of_table(table)
    assert frame.dtypes.astype(str).to_dict() == {"n": "Int64", "t": "string", "tags": "object"}
    assert frame["tags"].tolist() == [["a"], None]
    expected = frame.assign(tags=pd.Series(['["a"]', None], dtype=object)) if fmt in ("csv", "orc") else frame
    assert_frame_equal(FORMATS[fmt].decode(FORMATS[fmt].encode_table(table), dtypes_of(frame)), expected)


@pytest.mark.parametrize("fmt", TEXT_FORMATS)
@pytest.mark.parametrize(("dtype", "fits", "odd"), [("Float64", 2**53, 2**53 + 1), ("float32", 2**24, 2**24 + 1)])
def test_a_whole_number_that_a_float_would_change_is_refused(fmt, dtype, fits, odd):
    def through(value):
        return FORMATS[fmt].decode(FORMATS[fmt].encode(pd.DataFrame({"n": [0, value]})), {"n": dtype})["n"][1]

    assert through(fits) == fits
    with pytest.raises(StoreError, match="exact"):
        through(odd)


def test_an_orc_file_has_types_of_its_own_and_text_for_the_rest():
    table = pa.table(
        {
            "whole": pa.array([1, None], pa.int32()),
            "unsigned": pa.array([2**40, None], pa.uint64()),
            "huge": pa.array([2**64 - 1, None], pa.uint64()),
            "number": [0.5, None],
            "truth": [True, None],
            "text": ["\0 'x'", None],
            "bytes": [b"\xff", None],
            "decimal": [Decimal("1.50"), None],
            "day": [dt.date(1, 1, 1), None],
            "time": pa.array([dt.time(23, 59, 59, 1), None], pa.time64("us")),
            "at": pa.array([dt.datetime(9999, 12, 31, 23, 59, 59, 999999), None], pa.timestamp("us")),
            "instant": pa.array([dt.datetime(1, 1, 1), None], pa.timestamp("us", "UTC")),
            "nothing": pa.nulls(2),
        }
    )
    found = pyarrow.orc.read_table(pa.BufferReader(FORMATS["orc"].encode_table(table)))
    assert {field.name: str(field.type) for field in found.schema} == {
        "whole": "int32", "unsigned": "int64", "huge": "string", "number": "double", "truth": "bool", "text": "string",
        "bytes": "binary", "decimal": "decimal128(3, 2)", "day": "date32[day]", "time": "string", "at": "string",
        "instant": "string", "nothing": "string",
    }  # fmt: skip
    assert found.to_pylist()[0] == {
        "whole": 1, "unsigned": 2**40, "huge": str(2**64 - 1), "number": 0.5, "truth": True, "text": "\0 'x'",
        "bytes": b"\xff", "decimal": Decimal("1.50"), "day": dt.date(1, 1, 1), "time": "23:59:59.000001",
        "at": "9999-12-31T23:59:59.999999", "instant": "0001-01-01T00:00:00.000000Z", "nothing": None,
    }  # fmt: skip
    assert set(found.to_pylist()[1].values()) == {None}
