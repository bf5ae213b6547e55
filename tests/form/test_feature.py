"""A feature: found, cast, or its stand-in; the same for one record as for a page, by path as by function."""

import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pytest

from api2db.errors import ConfigError
from api2db.form import ApiForm, Feature
from api2db.form.column import is_json

ROW = {"id": 1, "name": "Foo", "nest0": {"nest1": {"x": True}, "y": 14.3}}


def column(feature, rows):
    shaped = ApiForm("t", data_features=[feature]).shape(rows)
    return shaped.table.column(0), shaped.steps[-1]


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        (Feature("uuid", lambda x: x["id"], int), 1),
        (Feature("name", lambda x: x["name"], str), "Foo"),
        (Feature("x", lambda x: x["nest0"]["nest1"]["x"], bool), True),
        (Feature("y", lambda x: x["nest0"]["y"], float), 14.3),
        (Feature("y", "nest0.y", float), 14.3),
        (Feature("y", "nest0.y", int), 14),
        (Feature("y", "nest0.y", str), "14.3"),
    ],
)
def test_the_value_is_dtype_of_what_the_function_finds(feature, expected):
    assert feature(ROW) == expected == feature.lam_wrap(ROW)
    assert type(feature(ROW)) is type(expected)
    assert column(feature, [ROW])[0].to_pylist() == [expected]


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ("12", int, 12),
        (" 12 ", int, 12),
        ("x", int, None),
        (2.0, int, 2),
        (True, int, 1),
        (None, int, None),
        (2**63, int, None),
        (-(2**63), int, -(2**63)),
        (float("inf"), int, None),
        ("1.5", float, 1.5),
        (7, float, 7.0),
        (True, float, 1.0),
        ("inf", float, float("inf")),
        ("nan", float, None),
        (float("nan"), float, None),
        ([], float, None),
        ("false", bool, True),
        ("", bool, False),
        (0, bool, False),
        (None, bool, False),
        (None, str, None),
        ("None", str, None),
        ("NaN", str, None),
        ("nIL", str, None),
        ("null", str, None),
        ("nullable", str, "nullable"),
        ("", str, ""),
        (5, str, "5"),
        (True, str, "True"),
        ([1, "a"], str, "[1, 'a']"),
        ("a\0b", str, "a\0b"),
        ("\ud800x", str, "�x"),
        ("2026-01-02", dt.date, dt.date(2026, 1, 2)),
        ("2026-13-02", dt.date, None),
        ("2026-01-02T03:04:05", dt.datetime, dt.datetime(2026, 1, 2, 3, 4, 5)),
        ("2026-01-02T03:04:05+01:00", dt.datetime, dt.datetime(2026, 1, 2, 2, 4, 5, tzinfo=dt.UTC)),
        ("yesterday", dt.datetime, None),
        (12, dt.datetime, None),
        (0.1, Decimal, Decimal("0.1")),
        ("12.50", Decimal, Decimal("12.50")),
        ("twelve", Decimal, None),
        ({"a": [1, None]}, dict, '{"a":[1,null]}'),
        ([1], dict, None),
        ([1], list, "[1]"),
        ("ab", list, None),
    ],
)
def test_one_record_and_a_page_give_the_same(value, dtype, expected):
    by_path, by_function = Feature("v", "v", dtype), Feature("v", lambda row: row["v"], dtype)
    row = {"v": value}
    assert by_path(row) == by_function(row) == expected
    for feature in (by_path, by_function):
        assert column(feature, [row])[0].to_pylist() == [expected]
        assert column(feature, [row, {"v": []}, {}])[0].to_pylist()[0] == expected


@pytest.mark.parametrize(
    ("dtype", "nan", "rows", "expected"),
    [
        (int, {"nan_int": -1}, [{"v": 1}, {"v": "x"}, {"v": None}, {}], [1, -1, -1, -1]),
        (float, {"nan_float": 0}, [{"v": 1.5}, {"v": "x"}, {"v": float("nan")}, {}], [1.5, 0.0, 0.0, 0.0]),
        (str, {"nan_str": "?"}, [{"v": "a"}, {"v": "none"}, {"v": None}, {}], ["a", "?", "?", "?"]),
        (bool, {}, [{"v": True}, {"v": None}, {}], [True, False, False]),
        (bool, {"nan_bool": True}, [{"v": False}, {"v": None}, {}], [False, False, True]),
        (bool, {"nan_bool": None}, [{"v": True}, {"v": None}, {}], [True, False, None]),
    ],
)
def test_what_is_missing_or_does_not_fit_becomes_the_stand_in_of_its_type(dtype, nan, rows, expected):
    for lam in ("v", lambda row: row["v"]):
        assert column(Feature("v", lam, dtype, **nan), rows)[0].to_pylist() == expected
        assert [Feature("v", lam, dtype, **nan)(row) for row in rows] == expected


def test_values_that_do_not_fit_are_counted_and_missing_ones_are_not():
    rows = [{"v": "1"}, {"v": "x"}, {"v": None}, {}, {"v": 2**70}, {"v": 2.5}]
    for lam in ("v", lambda row: row["v"]):
        array, count = column(Feature("v", lam, int), rows)
        assert array.to_pylist() == [1, None, None, None, None, 2]
        assert (count.nulled, count.replaced, count.by_column) == (2, 1, (("v", 3),))


def test_an_error_of_the_users_function_is_a_value_that_does_not_fit():
    array, count = column(Feature("v", lambda row: 1 // row["v"], int), [{"v": 1}, {"v": 0}, {}])
    assert array.to_pylist() == [1, None, None]
    assert count.nulled == 1


def test_a_type_of_the_users_own_makes_text_of_what_it_returns():
    class Odd(Exception):
        pass

    def shout(value):
        if value == "bad":
            raise Odd
        return value.upper()

    array, count = column(Feature("v", "v", shout, nan_str="?"), [{"v": "a"}, {"v": "bad"}, {"v": "nil"}, {}])
    assert array.to_pylist() == ["A", "?", "?", "?"]
    assert count.nulled == 2


def test_a_subclass_with_its_own_lam_wrap_is_asked_for_every_row():
    class Twice(Feature):
        def lam_wrap(self, lam_arg):
            return lam_arg["v"] * 2

    assert column(Twice("v", "v", int), [{"v": 1}, {"v": 4}])[0].to_pylist() == [2, 8]


def test_without_a_type_the_column_finds_its_own():
    array, _ = column(Feature("v", "v"), [{"v": 1}, {"v": 2.5}])
    assert array.type == pa.float64()


def test_dict_and_list_columns_are_marked_as_json():
    form = ApiForm("t", data_features=[Feature("d", "d", dict), Feature("j", "d:json"), Feature("s", "d", str)])
    schema = form.shape([{"d": {"a": 1}}]).table.schema
    assert [is_json(field) for field in schema] == [True, True, False]


@pytest.mark.parametrize(
    ("suffix", "values", "expected", "changed"),
    [
        ("s", [0, 1.5, "2", "x", True, None], [0, 1_500_000, 2_000_000, None, None, None], (2, 0)),
        ("ms", [1517966773840, -1, 253402300800000], [1517966773840000, -1000, None], (1, 0)),
        ("us", [1, 2**70, "1.5"], [1, None, 2], (1, 1)),
        ("ns", [1000, 1999, -1], [1, 2, 0], (0, 2)),
    ],
)
def test_epochs_become_instants_in_utc(suffix, values, expected, changed):
    array, count = column(Feature("at", f"v:{suffix}"), [{"v": value} for value in values])
    assert array.type == pa.timestamp("us", tz="UTC")
    assert array.cast(pa.int64()).to_pylist() == expected
    assert (count.nulled, count.replaced) == changed


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["2026-01-02T03:04:05Z", "2026-01-02T05:04:05+02:00"], pa.timestamp("us", tz="UTC")),
        (["2026-01-02T03:04:05", "20260102T030405"], pa.timestamp("us")),
        (["2026-01-02 03:04:05Z", "2026-01-02T03:04:05"], pa.timestamp("us", tz="UTC")),
        (["2026-01-02T03:04:05.000000999Z"], pa.timestamp("us", tz="UTC")),
    ],
)
def test_iso_texts_stay_naive_unless_one_has_a_zone(texts, kind):
    array, _ = column(Feature("at", "v:iso"), [{"v": text} for text in texts])
    assert array.type == kind
    assert set(array.cast(pa.int64()).to_pylist()) == {1767323045000000}


def test_naive_among_aware_and_digits_cut_off_are_counted():
    rows = [{"v": "2026-01-02T03:04:05Z"}, {"v": "2026-01-02T03:04:05"}, {"v": "2026-01-02T03:04:05.0000001Z"}]
    assert column(Feature("at", "v:iso"), rows)[1].replaced == 2


def test_flags_are_read_as_words_by_the_suffix_alone():
    values = [True, "false", "Yes", 0, 1.0, "maybe", 2, None]
    array, count = column(Feature("f", "v:bool"), [{"v": value} for value in values])
    assert array.to_pylist() == [True, False, True, False, True, None, None, None]
    assert count.nulled == 2


def test_decimals_share_the_scale_that_leaves_room_for_every_whole_part():
    values = ["12345678901234567890.5", "0.1234567890123456789012345", 3, "1e40", True]
    array, count = column(Feature("d", "v:decimal"), [{"v": value} for value in values])
    assert array.type == pa.decimal128(38, 18)
    assert array.to_pylist()[0] == Decimal("12345678901234567890.5")
    assert array.to_pylist()[1] == Decimal("0.123456789012345679")
    assert (count.nulled, count.replaced) == (2, 1)


def test_a_decimal_that_rounds_up_to_another_digit_still_has_room():
    nines = "9" * 20
    array, count = column(Feature("d", "v:decimal"), [{"v": f"{nines}.{'9' * 20}"}, {"v": "9" * 38}, {"v": "0.5"}])
    assert array.to_pylist() == [Decimal(10**20), Decimal("9" * 38), Decimal(0)]
    assert count.replaced == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: Feature("x", 5, int),
        lambda: Feature("x", "v", "int"),
        lambda: Feature("x", "v:ms", int),
        lambda: Feature("x", "v", int, nan_int="none"),
    ],
)
def test_a_feature_that_can_not_be_is_refused_when_it_is_made(make):
    with pytest.raises(ConfigError, match="x"):
        make()


def test_a_suffix_and_a_type_that_say_the_same_may_stand_together():
    assert Feature("x", "v:int", int)({"v": 3}) == 3


def test_nan_as_a_stand_in_is_null():
    assert Feature("x", "v", int, nan_int=float("nan"))({}) is None


def test_the_text_of_an_xml_element_is_its_value_whether_it_has_attributes_or_not():
    rows = [
        {"v": {"@isPermaLink": "false", "#text": "12"}},
        {"v": "13"},
        {"v": {"@isPermaLink": "true"}},
        {"v": None},
    ]
    for path, expected in (("v:int", [12, 13, None, None]), ("v.#text", ["12", "13", None, None])):
        feature = Feature("v", path)
        assert column(feature, rows)[0].to_pylist() == expected == [feature(row) for row in rows]
    assert column(Feature("v", "v:str"), rows)[0].to_pylist() == ["12", "13", '{"@isPermaLink":"true"}', None]


@pytest.mark.parametrize("value", [{"a": [1, None]}, [1, "é"], {"size": "small", "#text": "x"}])
def test_an_object_or_a_list_in_a_column_of_text_is_its_json(value):
    feature = Feature("v", "v:str")
    assert json.loads(feature({"v": value})) == value
    assert column(feature, [{"v": value}, {"v": "none"}, {"v": "a"}])[0].to_pylist()[1:] == [None, "a"]
