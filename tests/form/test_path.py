"""Paths: keys, indexes, literal keys, escapes, kinds."""

import pytest

from api2db.errors import ConfigError
from api2db.form import form_from_shape


def read(path, *rows):
    return form_from_shape("t", {"v": path}).shape(list(rows)).table.column("v").to_pylist()


RECORD = {
    "a": {"b": {"c": 1}, "x.y": 2},
    "list": [10, {"k": 20}, [30, 31]],
    "7": {"0": 70},
    "dc:title": "T",
    "back\\slash": 5,
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.b.c", 1),
        (r"a.x\.y", 2),
        ("list.0", 10),
        ("list.1.k", 20),
        ("list.2.-1", 31),
        ("7.0", 70),
        (r"dc\:title", "T"),
        ("back\\\\slash", 5),
        ("a.b.missing", None),
        ("a.b.c.d", None),
        ("list.9", None),
        ("list.k", None),
        ("list.-4", None),
        ("dc\\:title.0", None),
    ],
)
def test_a_path_reads_one_record_and_a_page_alike(path, expected):
    assert read(path, RECORD) == [expected]
    assert read(path, RECORD, {}, {"a": None}, {"list": "text"}, {"a": [1], "list": {}}) == [expected] + [None] * 4


def test_a_key_that_is_the_whole_path_is_tried_first_record_by_record():
    rows = [{"a.b": 1, "a": {"b": 2}}, {"a": {"b": 3}}, {"a.b": 4}]
    assert read("a.b", *rows) == [1, 3, 4]


def test_a_number_is_a_key_where_it_meets_an_object_and_an_index_where_it_meets_a_list():
    assert read("v.0", {"v": [1]}, {"v": {"0": 2}}, {"v": {0: 3}}, {"v": "4"}) == [1, 2, 3, None]


def test_a_dot_is_the_record_itself():
    assert read(".:json", {"a": 1}) == ['{"a":1}']


def test_rows_that_are_lists_have_columns_by_index():
    assert form_from_shape("t", {"v": "1"}, rows="r").shape([{"r": [["a", 1], ["b", 2]]}]).table.column(
        "v"
    ).to_pylist() == [1, 2]


@pytest.mark.parametrize("path", ["", "a..b", ".a", "a.", "a:", "a:mss", "dc:title", "a\\", "a\\nb", "a:ms.b"])
def test_a_path_that_can_not_be_is_refused_with_the_reason(path):
    with pytest.raises(ConfigError, match="path"):
        form_from_shape("t", {"v": path})


def test_an_unknown_kind_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"'mss'.*int, float, bool, str, s, ms, us, ns, iso, date, decimal, json"):
        form_from_shape("t", {"v": "a:mss"})
