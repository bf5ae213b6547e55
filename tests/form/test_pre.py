"""Pre-processors, each on its own as documented."""

import copy
import re

import pytest

from api2db.errors import ShapeError
from api2db.form import Feature
from api2db.form.pre import RowsAt
from api2db.ingest.pre_process import BadRowSwap, FeatureFlatten, GlobalExtract, ListExtract, Pre


@pytest.mark.parametrize(
    "step",
    [
        ListExtract(lambda x: x["rows"]),
        GlobalExtract("g", lambda x: x["rows"], str),
        FeatureFlatten("rows"),
        BadRowSwap("rows", "other", lambda _: False),
        RowsAt("rows"),
        Feature("f", lambda x: x["rows"], str),
    ],
)
def test_calling_a_step_is_its_lam_wrap(step):
    data = {"rows": [{"a": 1}], "other": 2}
    assert step(data) == step.lam_wrap(data)


def test_list_extract_makes_a_list_of_what_it_finds():
    assert ListExtract(lambda x: x["a"])({"a": ({"b": 1}, {"b": 2})}) == [{"b": 1}, {"b": 2}]


@pytest.mark.parametrize("data", [{}, {"a": None}, {"a": 5}, None, "text"])
def test_list_extract_is_none_on_any_error(data):
    assert ListExtract(lambda x: x["a"])(data) is None


@pytest.mark.parametrize(
    ("data", "dtype", "value"),
    [
        ({"date": "2021-04-19"}, str, "2021-04-19"),
        ({"date": "12"}, int, 12),
        ({"date": "x"}, int, None),
        ({"date": None}, str, None),
        ({}, str, None),
        (None, float, None),
    ],
)
def test_global_extract_gives_the_value_and_its_type_or_none(data, dtype, value):
    assert GlobalExtract("k", lambda x: x["date"], dtype)(data) == {"value": value, "dtype": dtype}


def test_feature_flatten_makes_a_row_of_each_item_and_drops_rows_with_neither_list_nor_object():
    data = [
        {"id": 1, "f": {"x": 5}},
        {"id": 2, "f": [{"x": 6}, {"x": 7}]},
        {"id": 3, "f": []},
        {"id": 4, "f": "text"},
        {"id": 5},
        "no row",
    ]
    before = copy.deepcopy(data)
    assert FeatureFlatten("f")(data) == [
        {"id": 1, "f": {"x": 5}},
        {"id": 2, "f": {"x": 6}},
        {"id": 2, "f": {"x": 7}},
    ]
    assert data == before


def needs_swap(row):
    return re.match(r"[0-9]+\.[0-9]+", row["id"]) is not None


def test_bad_row_swap_swaps_wherever_the_keys_are_nested():
    data = [{"id": "16.53", "place": {"coords": {"latitude": "ID_1", "longitude": "-20.43"}}, "list": [{"z": 1}]}]
    before = copy.deepcopy(data)
    assert BadRowSwap("id", "latitude", needs_swap)(data) == [
        {"id": "ID_1", "place": {"coords": {"latitude": "16.53", "longitude": "-20.43"}}, "list": [{"z": 1}]}
    ]
    assert BadRowSwap("id", "z", needs_swap)(data)[0]["list"] == [{"z": "16.53"}]
    assert data == before


def test_bad_row_swap_drops_rows_without_key_1_and_rows_to_swap_without_key_2():
    data = [{"place": {"latitude": "ID"}}, {"id": "10.21", "place": {}}, {"id": "ID_5", "place": {}}]
    assert BadRowSwap("id", "latitude", needs_swap)(data) == [{"id": "ID_5", "place": {}}]
    assert BadRowSwap("id", "latitude", lambda _: False)(data) == data[1:]


def test_bad_row_swap_swaps_nulls_and_keeps_rows_its_function_can_not_judge():
    assert BadRowSwap("a", "b", lambda row: row["a"] is None)([{"a": None, "b": 1}]) == [{"a": 1, "b": None}]
    assert BadRowSwap("id", "latitude", needs_swap)([{"id": None, "latitude": 1}]) == [{"id": None, "latitude": 1}]


def test_bad_row_swap_drops_a_row_with_one_value_inside_the_other():
    assert BadRowSwap("a", "b", lambda _: True)([{"a": {"b": 1}}]) == []


@pytest.mark.parametrize(
    ("response", "rows"), [({"r": [1, 2]}, [1, 2]), ({"r": {"a": 1}}, {"a": 1}), ({"r": None}, None)]
)
def test_rows_at_takes_the_list_at_its_path(response, rows):
    assert RowsAt("r")(response) == rows


@pytest.mark.parametrize("response", [{"error": "quota"}, {"r": "none"}, []])
def test_rows_at_does_not_take_an_error_for_an_empty_page(response):
    with pytest.raises(ShapeError, match=r"RowsAt\(r\)"):
        RowsAt("r")(response)


def test_a_step_that_overrides_nothing_says_so():
    with pytest.raises(NotImplementedError, match="lam_wrap"):
        Pre()([])
