"""Column names become unique text."""

from hypothesis import given
from hypothesis import strategies as st

from api2db.form.names import column_names


def test_names_that_are_text_and_unique_stay_however_hostile():
    names = ["a", 'quo"te', "semi;colon", "sp ace", "ünï", "x" * 300, "Drop Table", "A"]
    assert column_names(names) == names


def test_what_is_not_text_becomes_text():
    assert column_names([1, None, ("a", "b"), ("a", ""), b"bytes", 2.5]) == ["1", "None", "a_b", "a", "bytes", "2.5"]


def test_empty_names_say_their_position():
    assert column_names(["a", "", ()]) == ["a", "column_2", "column_3"]


def test_a_second_name_takes_the_next_number_no_column_has():
    assert column_names(["a", "a", "a_2", "a", "a"]) == ["a", "a_3", "a_2", "a_4", "a_5"]


def test_nul_and_lone_surrogates_are_replaced():
    assert column_names(["a\0b", "\ud800"]) == ["a�b", "�"]


@given(st.lists(st.one_of(st.text(max_size=3), st.integers(0, 9), st.none(), st.sampled_from(["a", "a_2", "a_3"]))))
def test_names_are_always_unique_text_and_always_the_same(names):
    given_names = column_names(names)
    assert len(set(given_names)) == len(names)
    assert all(name and "\0" not in name and name.encode() for name in given_names)
    assert column_names(names) == given_names
    assert column_names(given_names) == given_names
